// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

// Settings that mean nothing, outputs over inputs, and what reaches the terminal.

namespace {

namespace fs = std::filesystem;

/// What is wrong with a run that was to be refused and to leave nothing; empty if nothing.
std::string not_refused_run(const Words& flags, const std::vector<std::string>& fragments) {
  const Runs runs;
  const Finished f = program(runs.call("run", Runs::small() + flags));
  if (fs::exists(runs / "run")) return "there is a run";
  return not_refused(f, fragments);
}

/// The exit code of a run that is to be taken.
int taken(const Words& flags) {
  const Runs runs;
  return program(runs.call("run", Runs::small() + flags)).code;
}

}  // namespace

TEST_CASE("a learning rate that ends above its peak is refused") {
  CHECK(not_refused_run({"--method", "sft", "--learning-rate", "1e-4", "--min-learning-rate", "2e-4"},
                        {"--min-learning-rate", "--learning-rate"}) == "");
  CHECK(taken({"--method", "sft", "--learning-rate", "1e-4", "--min-learning-rate", "1e-4"}) == 0);
}

TEST_CASE("a warmup that the run does not outlast is refused") {
  const Words flags{"--method", "sft", "--epochs", "1", "--warmup-steps"};
  CHECK(not_refused_run(flags + Words{"2"}, {"--warmup-steps", "2"}) == "");
  CHECK(not_refused_run(flags + Words{"1", "--max-steps", "1"}, {"--warmup-steps", "1"}) == "");
  CHECK(taken(flags + Words{"1"}) == 0);
}

TEST_CASE("a method that learns nothing from its samples is refused") {
  CHECK(not_refused_run({"--method", "eso", "--temperatures", "1"}, {"--temperatures", "one sample"}) == "");
  CHECK(not_refused_run({"--method", "eso", "--temperatures", "0,0"}, {"--temperatures", "equal"}) == "");
  CHECK(not_refused_run({"--method", "eso", "--temperatures", "0", "--eso-baseline", "greedy"},
                        {"--temperatures"}) == "");
  CHECK(not_refused_run({"--method", "eso", "--eso-batch-reduce", "mean-kept", "--eso-min-mean-reward", "1"},
                        {"--eso-min-mean-reward"}) == "");
  CHECK(not_refused_run({"--method", "unlike", "--temperatures", "1"}, {"--temperatures"}) == "");
  CHECK(not_refused_run({"--method", "unlike", "--unlike-select", "threshold"}, {"--unlike-threshold"}) ==
        "");
  CHECK(not_refused_run({"--method", "rrhf", "--temperatures", "0,0", "--rrhf-include-reference", "false"},
                        {"--temperatures"}) == "");
  CHECK(not_refused_run({"--preset", "authors-code", "--method", "eso", "--temperatures", "1"},
                        {"--temperatures"}) == "");
  CHECK(taken({"--method", "eso", "--temperatures", "1", "--eso-baseline", "greedy"}) == 0);
  CHECK(taken({"--method", "eso", "--temperatures", "0,1"}) == 0);
  CHECK(taken({"--method", "rrhf", "--temperatures", "1"}) == 0);
  CHECK(taken({"--method", "drl", "--temperatures", "1"}) == 0);
}

TEST_CASE("a flag that the optimizer does not read is refused where somebody chose it") {
  for (const char* flag : {"--adam-beta1", "--adam-beta2", "--adam-epsilon"}) {
    CHECK(not_refused_run({"--method", "sft", "--optimizer", "sgd", flag, "0.5"}, {flag, "sgd"}) == "");
  }
  CHECK(not_refused_run({"--method", "sft", "--optimizer", "sgd", "--weight-decay-mode", "l2"},
                        {"--weight-decay-mode", "sgd"}) == "");
  const Runs runs;
  REQUIRE(program(runs.call("run", Runs::small() + Words{"--method", "sft", "--optimizer", "sgd"})).code ==
          0);
  CHECK(program({"train", "--resume", (runs / "run").string()}).code == 0);
  const Finished again = program(
      {"train", "--config", (runs / "run" / "config.toml").string(), "--output", (runs / "again").string()});
  INFO(again.err);
  CHECK(again.code == 0);
}

TEST_CASE("a run that ends far worse than it began and than a uniform model has diverged") {
  const Runs runs;
  const Words flags =
      Runs::small() + Words{"--method", "sft", "--epochs", "5", "--learning-rate", "10", "--clip-norm", "0"};
  const Finished f = program(runs.call("run", flags));
  CHECK(not_refused(f, {"training diverged", "nats per token"}, 1) == "");
  CHECK_FALSE(fs::exists(runs / "run" / "model"));
  const Finished resumed = program({"train", "--resume", (runs / "run").string()});
  CHECK(resumed.code == 1);
  CHECK(resumed.last_error() == f.last_error());
}

TEST_CASE("eval writes over none of its inputs") {
  const Runs runs;
  const TemporaryFolder folder;
  const fs::path model = copy_model("plain", folder), data = folder / "data.jsonl";
  write_file(data, "{\"prompt\":\"a\",\"response\":\"b\"}\n");
  fs::create_symlink(data, folder / "link");
  fs::create_hard_link(data, folder / "hard");
  fs::create_hard_link(model / "model.safetensors", folder / "weights");
  const std::string before = read_file(data), weights = read_file(model / "model.safetensors");
  const auto call = [&](const Words& more) {
    return program(
        Words{"eval", "--model", model.string(), "--data", data.string(), "--format", "prompt-response"} +
        more);
  };
  for (const fs::path& path : {data, folder / "link", folder / "hard", folder / "model" / ".." / "data.jsonl",
                               folder / "weights", model / "config.json", model / "new.json"}) {
    INFO(path.string());
    CHECK(not_refused(call({"--output", path.string()}), {"--output"}) == "");
    CHECK(not_refused(call({"--output", (folder / "o.json").string(), "--predictions", path.string()}),
                      {"--predictions"}) == "");
    CHECK(not_refused(program({"score", "--model", model.string(), "--stats", (model / "s.json").string()}),
                      {"--stats"}) == "");
  }
  CHECK(read_file(data) == before);
  CHECK(read_file(model / "model.safetensors") == weights);
  CHECK_FALSE(fs::exists(folder / "o.json"));
  CHECK(not_refused(program({"convert", "--model", model.string(), "--output", (model / "new").string()}),
                    {"--output"}) == "");
}

TEST_CASE("control characters never reach the terminal raw, and long values are shortened") {
  for (const char* control : {"\x1B", "\x7F", "\xC2\x9B", "\xE2\x80\xAE", "\xE2\x80\xA8", "\x9B"}) {
    const std::string name = std::string("a") + control + "b";
    for (const Words& call : {Words{"score", "--model", name}, Words{name}, Words{"score", "--" + name},
                              Words{"score", "--model", "x", "--batch-size", name},
                              Words{"score", "--model", "x", "--backend", name}}) {
      const Finished f = program(call);
      CHECK(f.code == 2);
      CHECK(f.err.find(control) == std::string::npos);
    }
    CHECK(program({"score", "--model", name}).err.find("\\") != std::string::npos);
  }
  const std::string many(5000, 'x');
  for (const Words& call : {Words{"score", "--model", many}, Words{many}, Words{"score", "--" + many},
                            Words{"score", "--model", "x", "--batch-size", many},
                            Words{"score", "--model", "x", "--backend", many}}) {
    const Finished f = program(call);
    CHECK(f.code == 2);
    CHECK(f.err.size() < 1500);
  }
}

TEST_CASE("a working directory that was deleted is named") {
  const Runs runs;
  Words call = runs.call("run", Runs::small() + Words{"--method", "sft"});
  std::replace(call.begin(), call.end(), (runs / "run").string(), std::string("run"));
  const fs::path gone = runs / "gone";
  fs::create_directory(gone);
  const Finished f = program(call, {}, [&] {
    if (::chdir(gone.c_str()) != 0 || ::rmdir(gone.c_str()) != 0) ::_exit(124);
  });
  CHECK(not_refused(f, {"the working directory"}, 1) == "");
}

TEST_CASE("a closed standard output is an error where it loses a result, closed others are none") {
  const std::string line = "{\"text\":\"a\"}\n";
  const Words call{"tokenize", "--tokenizer", golden_model("plain")};
  const auto closed = [](int stream) { return [stream] { ::close(stream); }; };
  CHECK(not_refused(program(call, line, closed(1)), {"<stdout>"}, 1) == "");
  CHECK(not_refused(program({"--help"}, {}, closed(1)), {"<stdout>"}, 1) == "");
  CHECK(program(call, line, closed(2)).code == 0);
  CHECK(program(call, line, closed(2)).out == program(call, line).out);
  CHECK(program(call, line, closed(0)).code == 0);
}

TEST_CASE("an arm with settings that mean nothing is refused before anything is trained") {
  const Runs runs;
  const auto refused = [&](const Words& more) {
    Words call = runs.call("comparison", Runs::small() + more + Words{"--evaluation-data", runs.data});
    call.front() = "compare";
    const std::string wrong = not_refused(program(call), {"--"});
    return fs::exists(runs / "comparison") ? "there is a comparison" : wrong;
  };
  CHECK(refused({"--methods", "sft,eso", "--temperatures", "1"}) == "");
  CHECK(refused({"--arm", "a: --method sft --optimizer sgd --adam-beta1 0.8"}) == "");
  CHECK(refused({"--methods", "sft", "--optimizer", "sgd", "--adam-beta1", "0.8"}) == "");
  CHECK(refused({"--methods", "sft", "--warmup-steps", "1000"}) == "");
}

TEST_CASE("the table of samples shows control characters as escapes") {
  const Runs runs(R"({"prompt":"a\u009b\u202eb\u007f","response":"e\u001bf"})"
                  "\n");
  const Finished f =
      program(runs.call("run", Runs::small() + Words{"--method", "eso", "--active-epochs", "all",
                                                     "--print-every", "1", "--epochs", "1"}));
  REQUIRE(f.code == 0);
  CHECK(f.err.find("a\\u009B\\u202Eb\\u007F") != std::string::npos);
  for (const char* control : {"\x1B", "\x7F", "\xC2\x9B", "\xE2\x80\xAE"})
    CHECK(f.err.find(control) == std::string::npos);
}
