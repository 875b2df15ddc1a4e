// SPDX-License-Identifier: MIT
#include <fmt/ranges.h>

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

TEST_CASE("a warmup that the run does not outlast is said") {
  const Runs runs;
  const Words flags = Runs::small() + Words{"--method", "sft", "--warmup-steps", "2", "--epochs"};
  const auto said = [&](const std::string& name, const Words& more) {
    const Finished f = program(runs.call(name, flags + more));
    REQUIRE(f.code == 0);
    return f.err.find("never reaches --learning-rate: --warmup-steps is 2") != std::string::npos;
  };
  CHECK(said("whole", {"1"}));
  CHECK(said("cut", {"2", "--max-steps", "2"}));
  CHECK_FALSE(said("longer", {"2"}));
}

TEST_CASE("a method that learns nothing from its samples is refused") {
  const Words eso{"--method", "eso", "--temperatures"}, unlike{"--method", "unlike", "--temperatures"},
      rrhf{"--method", "rrhf", "--temperatures"};
  const Words threshold{"--unlike-select", "threshold"}, gap{"--unlike-weight", "gap"},
      kept{"--eso-batch-reduce", "mean-kept", "--eso-min-mean-reward"},
      alone{"--rrhf-include-reference", "false"};
  for (const auto& [flags, fragment] : std::vector<std::pair<Words, std::string>>{
           {eso + Words{"1"}, "one sample"},
           {eso + Words{"0,0"}, "equal samples"},
           {eso + Words{"0,0", "--eso-baseline", "leave-one-out"}, "equal samples"},
           {eso + Words{"0", "--eso-baseline", "greedy"}, "one sample"},
           {eso + Words{"0,0", "--eso-baseline", "greedy"}, "equal samples"},
           {eso + Words{"1,1"} + kept + Words{"1"}, "--eso-min-mean-reward"},
           {eso + Words{"1", "--preset", "authors-code"}, "one sample"},
           {unlike + Words{"1"}, "one sample"},
           {unlike + Words{"1", "--unlike-select", "lowest"}, "--unlike-select lowest"},
           {unlike + Words{"0,0", "--unlike-select", "all"} + gap, "--unlike-weight gap"},
           {unlike + Words{"1,1"} + threshold, "--unlike-threshold"},
           {rrhf + Words{"0,0"} + alone, "--rrhf-include-reference false"}}) {
    INFO(fmt::format("{}", fmt::join(flags, " ")));
    CHECK(not_refused_run(flags, {"learns nothing", fragment}) == "");
  }
  for (const Words& flags :
       {eso + Words{"1", "--eso-baseline", "greedy"}, eso + Words{"1,1", "--eso-baseline", "leave-one-out"},
        eso + Words{"0,1"}, eso + Words{"0", "--eso-lambda", "0"}, eso + Words{"1,1"} + kept + Words{"0.99"},
        unlike + Words{"1", "--unlike-select", "all"},
        unlike + Words{"1", "--unlike-threshold", "0.5"} + threshold,
        unlike + Words{"0", "--unlike-lambda", "0"}, rrhf + Words{"1"},
        rrhf + Words{"1", "--rrhf-best-weight", "1"} + alone, rrhf + Words{"0", "--rrhf-weight", "0"} + alone,
        Words{"--method", "drl", "--temperatures", "0"}}) {
    INFO(fmt::format("{}", fmt::join(flags, " ")));
    CHECK(taken(flags + Words{"--max-steps", "1"}) == 0);
  }
}

TEST_CASE("a flag that the optimizer does not read is refused where somebody chose it") {
  const Words sgd{"--method", "sft", "--optimizer", "sgd"};
  for (const char* flag : {"--adam-beta1", "--adam-beta2", "--adam-epsilon"}) {
    CHECK(not_refused_run(sgd + Words{flag, "0.5"}, {flag, "sgd"}) == "");
  }
  CHECK(not_refused_run(sgd + Words{"--weight-decay-mode", "l2"}, {"--weight-decay-mode", "sgd"}) == "");
  const TemporaryFolder folder;
  write_file(folder / "file.toml", "optimizer = \"sgd\"\nadam-beta1 = 0.8\n");
  write_file(folder / "adam.toml", "adam-beta1 = 0.8\nadam-beta2 = 0.999\n");
  const Words file{"--method", "sft", "--config", (folder / "file.toml").string()},
      adam{"--config", (folder / "adam.toml").string()};
  CHECK(not_refused_run(file, {"--adam-beta1", "sgd"}) == "");
  CHECK(not_refused_run(file + Words{"--adam-beta1", "0.9"}, {"--adam-beta1", "sgd"}) == "");
  CHECK(taken(file + Words{"--optimizer", "adamw"}) == 0);
  CHECK(taken(sgd + adam) == 0);
}

TEST_CASE("what a run recorded begins another run, with sgd and a preset for Adam too") {
  const Runs runs;
  for (const char* preset : {"paper", "literal", "authors-code", "recommended"}) {
    const std::string name = preset;
    const fs::path run =
        runs.train(name, Runs::small() + Words{"--method", "sft", "--optimizer", "sgd", "--preset", preset});
    CHECK(program({"train", "--resume", run.string()}).code == 0);
    const fs::path again = runs / (name + "-again");
    const Finished f =
        program({"train", "--config", (run / "config.toml").string(), "--output", again.string()});
    INFO(f.err);
    REQUIRE(f.code == 0);
    CHECK(difference(run, again) == "");
  }
}

TEST_CASE("a run with settings that no new run may have is resumed") {
  const Runs runs;
  const fs::path run = runs.train("run", Runs::active() + Words{"--epochs", "1", "--temperatures", "1,1"});
  std::string config = read_file(run / "config.toml");
  const auto change = [&](const std::string& flag, const std::string& value) {
    const std::size_t line = config.find("\n" + flag + " = ") + 1;
    REQUIRE(line > 0);
    config.replace(line, config.find('\n', line) - line, flag + " = " + value);
  };
  change("min-learning-rate", "1.0");
  change("temperatures", "[1.0]");
  change("optimizer", "\"sgd\"");
  change("adam-beta1", "0.5");
  change("eso-min-mean-reward", "0.5");
  change("warmup-steps", "1000");
  const fs::path old = runs / "old";
  fs::create_directory(old);
  write_file(old / "config.toml", config);
  const Finished resumed = program({"train", "--resume", old.string()});
  INFO(resumed.err);
  CHECK(resumed.code == 0);
  CHECK(not_refused(program({"train", "--config", (old / "config.toml").string(), "--output",
                             (runs / "new").string()}),
                    {"--"}) == "");
  CHECK_FALSE(fs::exists(runs / "new"));
}

TEST_CASE("a run that ends far worse than it began and than a uniform model has diverged") {
  const Runs runs(R"({"prompt":"a","response":"b","chosen":"b","rejected":"c"})"
                  "\n"
                  R"({"prompt":"c","response":"d","chosen":"d e","rejected":"f"})"
                  "\n");
  for (const Words& method : {Words{"sft"}, Words{"sft", "--sft-reduction", "sequence-sum-prompt-mean"},
                              Words{"dpo"}, Words{"slic"}}) {
    INFO(fmt::format("{}", fmt::join(method, " ")));
    const std::string name = fmt::format("{}", fmt::join(method, ""));
    Words call = runs.call(name, Runs::small() +
                                     Words{"--epochs", "5", "--learning-rate", "10", "--clip-norm", "0",
                                           "--schedule", "constant", "--method"} +
                                     method);
    if (name == "dpo" || name == "slic")
      std::replace(call.begin(), call.end(), std::string("prompt-response"), std::string("preference"));
    const Finished f = program(call);
    CHECK(not_refused(f, {"training diverged", "nats per token"}, 1) == "");
    CHECK_FALSE(fs::exists(runs / name / "model"));
    const Finished resumed = program({"train", "--resume", (runs / name).string()});
    CHECK(resumed.code == 1);
    CHECK(resumed.last_error() == f.last_error());
  }
}

TEST_CASE("targets of very different lengths make no run that has diverged") {
  const Runs runs(json_line("a", "b") + json_line("c", "l u t e l u t e l u t e l u t e l u t e l u t e"));
  const Words flags{"--method",
                    "sft",
                    "--no-shuffle",
                    "--batch-size",
                    "1",
                    "--max-response-tokens",
                    "60",
                    "--sft-reduction",
                    "sequence-sum-prompt-mean",
                    "--learning-rate",
                    "0",
                    "--threads",
                    "1"};
  CHECK(program(runs.call("run", flags)).code == 0);
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
  for (const fs::path& path :
       {data, folder / "link", folder / "hard", folder / "model" / ".." / "data.jsonl", folder / "weights",
        model / "config.json", model / "merges.txt", model / "added_tokens.json"}) {
    INFO(path.string());
    CHECK(not_refused(call({"--output", path.string()}), {"--output"}) == "");
    CHECK(not_refused(call({"--output", (folder / "o.json").string(), "--predictions", path.string()}),
                      {"--predictions"}) == "");
  }
  for (const char* command : {"score", "generate"}) {
    CHECK(not_refused(program({command, "--model", model.string(), "--stats", (folder / "weights").string()}),
                      {"--stats"}) == "");
    CHECK(not_refused(program({command, "--model", model.string(), "--stats", data.string()}, {},
                              [&] { open_as(0, data, O_RDONLY); }),
                      {"--stats", "standard input"}) == "");
    CHECK(not_refused(program({command, "--model", model.string(), "--stats", (folder / "out").string()}, {},
                              [&] { open_as(1, folder / "out", O_WRONLY | O_CREAT); }),
                      {"--stats", "standard output"}) == "");
    CHECK(program({command, "--model", model.string(), "--stats", "/dev/null"}, {}, [] {
            open_as(0, "/dev/null", O_RDONLY);
          }).code == 0);
  }
  CHECK(read_file(data) == before);
  CHECK(read_file(model / "model.safetensors") == weights);
  CHECK_FALSE(fs::exists(folder / "o.json"));
  const fs::path results = model / "results.json";
  for (int time = 0; time < 2; ++time)
    CHECK(call({"--output", results.string(), "--max-response-tokens", "4"}).code == 0);
}

TEST_CASE("train writes over none of its inputs") {
  const Runs runs;
  fs::create_symlink(runs.data, runs / "link");
  fs::create_hard_link(runs.data, runs / "hard");
  for (const char* name : {"data.jsonl", "link", "hard"})
    CHECK(not_refused(program(runs.call(name, Words{"--method", "sft"})), {"--output", "--data"}) == "");
  CHECK(read_file(runs.data) == training_data);
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

TEST_CASE("a working directory that was deleted is named where something needs it") {
  const Runs runs;
  const Words flags = Runs::small() + Words{"--method", "sft", "--epochs", "1"};
  const auto from_gone = [&](const Words& call) {
    const fs::path gone = runs / "gone";
    fs::create_directory(gone);
    return program(call, {}, [&] {
      if (::chdir(gone.c_str()) != 0 || ::rmdir(gone.c_str()) != 0) ::_exit(124);
    });
  };
  const auto relative = [&](Words call, const std::string& path) {
    std::replace(call.begin(), call.end(), (runs / path).string(), path);
    return call;
  };
  const Words compare = [&] {
    Words call = runs.call("comparison", flags + Words{"--evaluation-data", runs.data, "--methods", "sft,eso",
                                                       "--temperature", "0", "--seeds", "1"});
    call.front() = "compare";
    return call;
  }();
  const Words eval{"eval",
                   "--model",
                   golden_model("plain"),
                   "--data",
                   runs.data,
                   "--format",
                   "prompt-response",
                   "--output",
                   (runs / "e.json").string(),
                   "--temperature",
                   "0",
                   "--max-response-tokens",
                   "4"};
  for (const auto& [call, path] :
       {std::pair(runs.call("run", flags), "run"), {compare, "comparison"}, {eval, "e.json"}}) {
    INFO(call.front());
    CHECK(not_refused(from_gone(relative(call, path)), {"the working directory"}, 1) == "");
    const Finished f = from_gone(call);
    INFO(f.err);
    CHECK(f.code == 0);
  }
  CHECK(from_gone({"train", "--resume", (runs / "run").string()}).code == 0);
  CHECK(from_gone({"report", (runs / "run").string()}).code == 0);
  CHECK(from_gone({"convert", "--model", golden_model("plain"), "--output", (runs / "new").string()}).code ==
        0);
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
  CHECK(refused({"--optimizer", "sgd", "--arm", "a: --method sft --adam-beta1 0.8"}) == "");
}

TEST_CASE(
    "an arm may change the optimizer that flags of the whole comparison are for, or weigh its method 0") {
  const Runs runs;
  Words call = runs.call(
      "comparison", Runs::small() + Words{"--epochs", "1", "--adam-beta1", "0.8", "--evaluation-data",
                                          runs.data, "--temperature", "0", "--seeds", "1", "--arm",
                                          "adam: --method sft", "--arm", "sgd: --method sft --optimizer sgd",
                                          "--arm", "none: --method eso --eso-lambda 0 --temperatures 1"});
  call.front() = "compare";
  const Finished f = program(call);
  INFO(f.err);
  CHECK(f.code == 0);
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
