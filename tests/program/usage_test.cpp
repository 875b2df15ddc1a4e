// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "run_program.hpp"

namespace {

const std::string line = "{\"prompt\":\"!\",\"response\":\"!\"}\n";

void refuse(const std::vector<std::string>& arguments, const std::vector<std::string>& fragments) {
  INFO(fmt::format("{}", fmt::join(arguments, " ")));
  CHECK(not_refused(program(arguments, line), fragments) == "");
}

std::vector<std::string> with_model(const std::string& command, std::vector<std::string> more) {
  more.insert(more.begin(), {command, "--model", golden_model("plain")});
  return more;
}

}  // namespace

TEST_CASE("every subcommand has help that names its flags, units and defaults") {
  const std::pair<const char*, std::vector<const char*>> flags[] = {
      {"score",
       {"--backend", "--model", "--temperature", "--no-eos", "--head", "--batch-size", "--stats", "--threads",
        "--config"}},
      {"generate",
       {"--temperature", "--samples", "--seed", "--top-k", "--top-p", "--max-response-tokens", "--batch-size",
        "=128"}},
      {"eval",
       {"--data", "--format", "--temperature", "--seeds", "--output", "--predictions", "--examples",
        "10,20,30,40,50"}},
      {"tokenize", {"--tokenizer", "--decode"}},
      {"rouge", {"--stemmer"}},
      {"convert", {"--model", "--output", "--precision", "bfloat16"}},
      {"train", {"--resume", "--method", "--plan"}},
      {"compare", {"--methods"}},
      {"report", {}}};
  const Finished all = program({"--help"});
  CHECK(all.code == 0);
  for (const auto& [command, names] : flags) {
    CHECK(all.out.find(command) != std::string::npos);
    const Finished f = program({command, "--help"});
    CHECK(f.code == 0);
    for (const char* name : names) {
      INFO(command << " " << name);
      CHECK(f.out.find(name) != std::string::npos);
    }
  }
  CHECK(program({"--version"}).code == 0);
}

TEST_CASE("bad usage is refused with exit code 2 and one line that names the flag") {
  refuse({}, {"subcommand"});
  refuse({"scores"}, {"scores"});
  refuse({"score"}, {"--model", "required"});
  refuse({"generate"}, {"--model", "required"});
  refuse({"score", "--model"}, {"--model"});
  refuse(with_model("score", {"--samples", "2"}), {"--samples"});
  refuse(with_model("score", {"--head"}), {"--head", "score.weight"});
  refuse(with_model("score", {"--temperature", "0"}), {"--temperature", "0"});
  refuse(with_model("score", {"--temperature", "nan"}), {"--temperature", "nan"});
  refuse(with_model("score", {"--temperature", "hot"}), {"--temperature", "hot"});
  refuse(with_model("score", {"--batch-size", "0"}), {"--batch-size", "0"});
  refuse(with_model("score", {"--batch-size", "010x"}), {"--batch-size", "010x"});
  refuse(with_model("score", {"--batch-size", "99999999999999999999"}), {"--batch-size"});
  refuse(with_model("score", {"--batch-size", "2", "--batch-size", "3"}), {"--batch-size"});
  refuse(with_model("score", {"--threads", "-1"}), {"--threads", "-1"});
  refuse(with_model("score", {"--backend", "ggml"}), {"--backend", "ggml"});
  refuse(with_model("score", {"--backend", "jax"}), {"--backend", "jax"});
  refuse(with_model("score", {"--device", "cuda"}), {"--device", "cuda"});
  refuse(with_model("score", {"--device", "tpu"}), {"--device", "tpu"});
  refuse(with_model("score", {"--precision", "bfloat16"}), {"--precision", "bfloat16"});
  refuse(with_model("generate", {"--temperature", "-1"}), {"--temperature", "-1"});
  refuse(with_model("generate", {"--temperature", "inf"}), {"--temperature", "inf"});
  refuse(with_model("generate", {"--top-p", "0"}), {"--top-p", "0"});
  refuse(with_model("generate", {"--top-p", "1.5"}), {"--top-p", "1.5"});
  refuse(with_model("generate", {"--top-p", "nan"}), {"--top-p", "nan"});
  refuse(with_model("generate", {"--top-k", "-1"}), {"--top-k", "-1"});
  refuse(with_model("generate", {"--samples", "0"}), {"--samples", "0"});
  refuse(with_model("generate", {"--samples", "2.5"}), {"--samples", "2.5"});
  refuse(with_model("generate", {"--max-response-tokens", "0"}), {"--max-response-tokens", "0"});
  refuse(with_model("generate", {"--seed", "-1"}), {"--seed", "-1"});
  refuse(with_model("generate", {"--seed", "18446744073709551616"}), {"--seed"});
}

TEST_CASE("a file of statistics that cannot be written is refused before anything is computed") {
  const TemporaryFolder folder;
  for (const std::string& path : {(folder / "none" / "stats.json").string(), folder.path().string()}) {
    const Finished f = program(with_model("score", {"--stats", path}), line);
    CHECK(not_refused(f, {"--stats", folder.path().string()}) == "");
    CHECK(f.out.empty());
  }
  write_file(folder / "kept.json", "kept");
  CHECK(not_refused(program(with_model("score", {"--stats", (folder / "kept.json").string()}), "[]"),
                    {"<stdin>:1:"}) == "");
  CHECK(read_file(folder / "kept.json") == "kept");
}

TEST_CASE("flags may stand in a TOML file, and a flag of the call beats it") {
  const TemporaryFolder folder;
  const std::string config = (folder / "flags.toml").string();
  write_file(config, fmt::format("model = \"{}\"\ntemperature = 2\nno-eos = true\n", golden_model("plain")));
  const Finished file = program({"score", "--config", config}, line);
  CHECK(file.code == 0);
  CHECK(file.out == program(with_model("score", {"--temperature", "2", "--no-eos"}), line).out);
  CHECK(program({"score", "--config", config, "--temperature", "1"}, line).out ==
        program(with_model("score", {"--no-eos"}), line).out);
  const auto refuse_file = [&](const std::string& content, const std::vector<std::string>& fragments) {
    write_file(config, content);
    CHECK(not_refused(program({"score", "--config", config}, line), fragments) == "");
  };
  refuse_file("samples = 3\n", {config, "samples"});
  refuse_file("batch-size = \"many\"\n", {config, "batch-size"});
  refuse_file("batch-size = 1.5\n", {config, "batch-size"});
  refuse_file("temperature = \"1\"\n", {config, "temperature"});
  refuse_file("head = 1\n", {config, "head"});
  refuse_file("x = = 3\n", {config + ":1"});
  refuse({"score", "--config", config + "x"}, {config + "x"});
}

TEST_CASE("a standard output that takes nothing more is an error of the machine") {
  if (!std::filesystem::exists("/dev/full")) {
    WARN("skipped: there is no /dev/full");
    return;
  }
  const TemporaryFolder folder;
  write_file(folder / "in", line);
  const std::string command =
      fmt::format("{} score --model {} < {} > /dev/full 2> {}", ESO_PROGRAM_PATH, golden_model("plain"),
                  (folder / "in").string(), (folder / "err").string());
  const int status = std::system(command.c_str());
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(read_file(folder / "err").find("eso: error: <stdout>") != std::string::npos);
}

TEST_CASE("a signal ends a command that waits for input with 128 + n") {
  for (const int signal : {SIGINT, SIGTERM}) {
    int in[2], out[2];
    REQUIRE(::pipe(in) == 0);
    REQUIRE(::pipe(out) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(in[0], 0), ::dup2(out[1], 1);
      for (const int file : {in[0], in[1], out[0], out[1]}) ::close(file);
      ::execl(ESO_PROGRAM_PATH, "eso", "rouge", nullptr);
      ::_exit(126);
    }
    ::close(in[0]), ::close(out[1]);
    const std::string lines(1 << 17,
                            '\n');  // more than a pipe holds: once it is taken, the program is reading
    CHECK(::write(in[1], lines.data(), lines.size()) == static_cast<ssize_t>(lines.size()));
    CHECK(::kill(child, signal) == 0);
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + signal);
    ::close(in[1]), ::close(out[0]);
  }
}
