// SPDX-License-Identifier: MIT
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <thread>

#include <catch2/catch.hpp>

#include "train_run.hpp"

// Weights files that somebody cuts, overwrites or replaces while the program uses them.

namespace {

namespace fs = std::filesystem;

const std::string line = "{\"prompt\":\"the\",\"response\":\"a\"}\n";

/// The program with an input that comes piece by piece.
class Fed {
 public:
  explicit Fed(const Words& words) {
    ::mkfifo((folder_ / "in").c_str(), 0600);
    input_ = ::open((folder_ / "in").c_str(), O_RDWR | O_CLOEXEC);  // a reader too: nobody waits for another
    child_ = start_program(words, folder_ / "in", folder_ / "out", folder_ / "err");
  }
  ~Fed() {
    ::close(input_);
    if (child_ > 0) ::kill(child_, SIGKILL), ::waitpid(child_, nullptr, 0);
  }

  void feed(const std::string& text) { REQUIRE(::write(input_, text.data(), text.size()) > 0); }

  void wait_for_lines(std::int64_t count) const {
    for (int i = 0; i < 6000; ++i) {
      const std::string out = read_file(folder_ / "out");
      if (std::count(out.begin(), out.end(), '\n') >= count) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL("no answer came: " << read_file(folder_ / "err"));
  }

  /// Whether the file lies in its memory, waited for.
  bool maps(const fs::path& file) const {
    for (int i = 0; i < 6000; ++i) {
      if (read_file(fmt::format("/proc/{}/maps", child_)).find(file.string()) != std::string::npos)
        return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  Finished finish() {
    ::close(std::exchange(input_, -1));
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
    child_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(folder_ / "out"),
            read_file(folder_ / "err")};
  }

 private:
  TemporaryFolder folder_;
  int input_ = -1;
  pid_t child_ = -1;
};

void cut(const fs::path& file) { fs::resize_file(file, 0); }

void overwrite(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::ofstream out(file, std::ios::binary | std::ios::in);
  out.seekp(static_cast<std::streamoff>(bytes.size() / 2));
  out << bytes.substr(bytes.size() / 4, bytes.size() / 4);
}

/// As `cp` writes over a file: cut first, then as long as it was.
void copy_over(const fs::path& file) {
  const std::string bytes = read_file(file);
  write_file(file, bytes.substr(0, bytes.size() / 2) + bytes.substr(0, bytes.size() - bytes.size() / 2));
}

void replace(const fs::path& file) {
  write_file(file.string() + ".new", "something else");
  fs::rename(file.string() + ".new", file);
}

using Harm = void (*)(const fs::path&);

/// What `words` answer to two lines when the weights meet `harm` between them.
Finished between(Words words, const Harm harm) {
  const TemporaryFolder folder;
  const fs::path model = copy_model("plain", folder);
  Fed fed(words + Words{"--model", model.string(), "--batch-size", "1", "--threads", "1"});
  fed.feed(line + line);  // `score` answers a prompt when another comes
  fed.feed("{\"prompt\":\"Q\",\"response\":\"a\"}\n");
  fed.wait_for_lines(2);
  harm(model / "model.safetensors");
  fed.feed(line);
  Finished finished = fed.finish();
  const auto at = finished.err.find((model / "model.safetensors").string());
  if (finished.code == 1 && at == std::string::npos) finished.err = "another file is named: " + finished.err;
  return finished;
}

}  // namespace

TEST_CASE("weights that change while score and generate use them end the call, by the name of their file") {
  for (const char* command : {"score", "generate"}) {
    const Words words{command};
    for (const Harm harm : {cut, overwrite, copy_over}) {
      const Finished f = between(words, harm);
      INFO(command);
      CHECK(not_refused(f, {"model.safetensors: was c"}, 1) == "");
      CHECK(f.lines().size() >= 2);
    }
    const Finished f = between(words, replace);
    CHECK(f.code == 0);
    CHECK(f.lines().size() == 4);
  }
}

TEST_CASE("weights that change while eval uses them end the call without results") {
  for (const Harm harm : {cut, overwrite}) {
    const TemporaryFolder folder;
    const fs::path model = copy_model("plain", folder);
    std::string data;
    for (int i = 0; i < 3000; ++i) data += line;
    write_file(folder / "data.jsonl", data);
    Fed fed({"eval", "--model", model.string(), "--data", (folder / "data.jsonl").string(), "--format",
             "prompt-response", "--output", (folder / "eval.json").string(), "--threads", "1"});
    REQUIRE(fed.maps(model / "model.safetensors"));
    harm(model / "model.safetensors");
    const Finished f = fed.finish();
    CHECK(not_refused(f, {(model / "model.safetensors").string() + ": was c"}, 1) == "");
    CHECK(!fs::exists(folder / "eval.json"));
  }
}

TEST_CASE("train has weights of its own: what happens to the files of its model changes nothing") {
  const Runs runs;
  const auto flags = [&](const std::string& model) {
    return Words{"--epochs", "12"} + Runs::active() + Words{"--model", model};
  };
  const auto call = [&](const std::string& name, const std::string& model) {
    return Words{"train",
                 "--data",
                 runs.data,
                 "--format",
                 "prompt-response",
                 "--output",
                 (runs / name).string()} +
           flags(model);
  };
  const TemporaryFolder folder;
  REQUIRE(program(call("whole", golden_model("plain"))).code == 0);
  for (const Harm harm : {cut, overwrite}) {
    const fs::path model = copy_model("plain", folder);
    Fed fed(call("harmed", model.string()));
    for (int i = 0; i < 6000 && !fs::exists(runs / "harmed" / "metrics.jsonl"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    harm(model / "model.safetensors");
    const Finished f = fed.finish();
    INFO(f.err);
    REQUIRE(f.code == 0);
    CHECK(weights_of(runs / "harmed") == weights_of(runs / "whole"));
    fs::remove_all(runs / "harmed");
  }
}

TEST_CASE("eso generate draws many samples in parts of bounded memory") {
  const Words call{"generate", "--model", golden_model("plain"), "--threads", "1", "--max-response-tokens",
                   "3"};
  const std::string input = "{\"prompt\":\"the\"}\n{\"prompt\":\"Q\"}\n";
  const auto many = program(call + Words{"--samples", "1100"}, input).lines();
  const auto few = program(call + Words{"--samples", "2"}, input).lines();
  REQUIRE(many.size() == 2200);
  REQUIRE(few.size() == 4);
  for (std::size_t i = 0; i < many.size(); ++i) {
    CHECK(many[i]["prompt"] == i / 1100);
    CHECK(many[i]["sample"] == i % 1100);
  }
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(many[i / 2 * 1100 + i % 2]["response_ids"] == few[i]["response_ids"]);
}

TEST_CASE("eso eval answers with a batch larger than a part of the sampler as with a small one") {
  const TemporaryFolder folder;
  std::string data;
  for (int i = 0; i < 600; ++i) data += line;
  write_file(folder / "data.jsonl", data);
  const auto results = [&](const char* size) {
    const std::string output = (folder / size).string();
    REQUIRE(program({"eval", "--model", golden_model("plain"), "--data", (folder / "data.jsonl").string(),
                     "--format", "prompt-response", "--output", output, "--threads", "1", "--batch-size",
                     size, "--temperature", "1", "--seeds", "1", "--max-response-tokens", "3"})
                .code == 0);
    return Json::parse(read_file(output))["results"];
  };
  CHECK(results("1000")[0]["length"] == results("100")[0]["length"]);
}

TEST_CASE("a small stack is enough, whatever the files hold") {
  const rlimit small{65536, 65536};
  const auto with = [&](const Words& words, const std::string& input = {}) {
    return program(words, input, [&] { ::setrlimit(RLIMIT_STACK, &small); });
  };
  const Finished scored = with({"score", "--model", golden_model("plain"), "--threads", "2"}, line);
  CHECK(scored.code == 0);
  CHECK(scored.out == program({"score", "--model", golden_model("plain"), "--threads", "2"}, line).out);
  CHECK(with({"generate", "--model", golden_model("opt/after")}, line).code == 0);
  const Runs runs;
  CHECK(with(runs.call("out", Runs::active() + Words{"--epochs", "1"})).code == 0);
  CHECK(with({"report", (runs / "out").string()}).code == 0);
  std::string deep;
  for (int i = 0; i < 31'000; ++i) deep += ".a";
  write_file(runs / "flags.toml", "a" + deep + " = 1\n");
  CHECK(not_refused(with(runs.call("other", {"--config", (runs / "flags.toml").string()})),
                    {"flags.toml:1: a key has more than 8 parts"}) == "");
  const TemporaryFolder folder;
  const std::string brackets(100'000, '[');
  for (const char* file : {"config.json", "tokenizer.json", "model.safetensors.index.json"}) {
    const fs::path model = copy_model("plain", folder);
    if (file != std::string("config.json"))
      fs::remove(model / (file[0] == 't' ? "vocab.json" : "model.safetensors"));
    write_file(model / file, "{\"a\":" + brackets);
    CHECK(not_refused(with({"score", "--model", model.string()}, line), {file, "nested too deep"}) == "");
  }
}
