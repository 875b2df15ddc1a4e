// SPDX-License-Identifier: MIT
#include <zlib.h>
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

/// Calls of `eso train` that must be refused: exit code 2, the error line with its fragments, nothing
/// written.
struct Refusals : Runs {
  std::string output = (folder / "out").string();

  using Runs::Runs;

  void refuse_call(const Words& arguments, const Words& fragments) const {
    INFO(fmt::format("{}", fmt::join(arguments, " ")));
    const auto before = snapshot(folder.path());
    const auto names = folder.names();
    const Finished f = program(arguments);
    CHECK(not_refused(f, fragments) == "");
    CHECK(f.out.empty());
    CHECK(folder.names() == names);
    const bool unchanged = snapshot(folder.path()) == before;
    CHECK(unchanged);
    if (!names.contains("out")) std::filesystem::remove_all(output);  // the next case is another matter
  }
  /// With these flags and then those of a good call that they do not give themselves.
  void refuse(const Words& more, const Words& fragments) const {
    const std::pair<std::string, Words> good[] = {{"--model", {golden_model("plain")}},
                                                  {"--data", {data}},
                                                  {"--format", {"prompt-response"}},
                                                  {"--method", {"sft"}},
                                                  {"--output", {output}}};
    Words arguments = Words{"train"} + more;
    for (const auto& [flag, values] : good) {
      if (std::find(more.begin(), more.end(), flag) == more.end())
        arguments = arguments + Words{flag} + values;
    }
    refuse_call(arguments, fragments);
  }
  /// With this content of the data file.
  void refuse_data(const std::string& content, Words fragments) const {
    INFO(content);
    write_file(data, content);
    refuse({}, fragments);
  }
  void write(const std::string& name, const std::string& content) const {
    write_file(folder / name, content);
  }
};

std::string gzip(const std::string& text) {
  const TemporaryFolder folder;
  const gzFile file = ::gzopen((folder / "x").c_str(), "wb");
  ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  ::gzclose(file);
  return read_file(folder / "x");
}

const std::string good_line = json_line("a", "b");

}  // namespace

TEST_CASE("train refuses a call without what it needs") {
  const Refusals r;
  const std::string model = golden_model("plain"), d = r.data, o = r.output;
  r.refuse_call({"train"}, {"--"});
  r.refuse_call({"train", "--data", d, "--format", "debsum", "--method", "sft", "--output", o},
                {"--model", "required"});
  r.refuse_call({"train", "--model", model, "--format", "debsum", "--method", "sft", "--output", o},
                {"--data", "required"});
  r.refuse_call({"train", "--model", model, "--data", d, "--method", "sft", "--output", o}, {"--format"});
  r.refuse_call({"train", "--model", model, "--data", d, "--format", "debsum", "--output", o},
                {"--method", "required"});
  r.refuse_call({"train", "--model", model, "--data", d, "--format", "debsum", "--method", "sft"},
                {"--output", "required"});
}

TEST_CASE("train refuses methods, backends, presets and formats that are not there or not there yet") {
  const Refusals r;
  for (const char* method : {"ppo", "reward-model", "nes", "SFT", "grpo"})
    r.refuse({"--method", method}, {"--method", method});
  for (const char* backend : {"ggml", "jax"}) r.refuse({"--backend", backend}, {"--backend", backend});
  for (const char* preset : {"best", "Paper"}) r.refuse({"--preset", preset}, {"--preset", preset});
  for (const char* format : {"alpaca", "HH"}) r.refuse({"--format", format}, {"--format", format});
  r.refuse({"--reward", "model:" + golden_model("plain")}, {"--reward", "model:"});
  r.refuse({"--reward", "bleu"}, {"--reward", "bleu"});
  r.refuse({"--precision", "bfloat16"}, {"--precision", "bfloat16", "--backend torch"});
  r.refuse({"--precision", "float16"}, {"--precision", "float16"});
  r.refuse({"--device", "cuda"}, {"--device", "cuda", "--backend torch"});
  r.refuse({"--checkpoint-activations"}, {"--checkpoint-activations", "--backend torch"});
  r.refuse({"--shard-optimizer"}, {"--shard-optimizer", "--backend torch"});
  r.refuse({"--lora-rank", "8"}, {"--lora-rank", "--backend torch"});
  r.refuse({"--lora-rank", "-1"}, {"--lora-rank"});
  r.refuse({"--lora-alpha", "0"}, {"--lora-alpha", "above 0"});
  r.refuse({"--lora-dropout", "1"}, {"--lora-dropout", "below 1"});
  r.refuse({"--lora-targets", "c_attn"}, {"--lora-targets", "--lora-rank"});
  for (const char* rate : {"1", "-0.1", "0.1x", "nan", "inf", "", "configs", "0x0.1"})
    r.refuse({"--dropout", rate}, {"--dropout", rate});
  r.refuse({"--optimizer", "lion"}, {"--optimizer", "lion"});
  r.refuse({"--schedule", "step"}, {"--schedule", "step"});
  r.refuse({"--eso-baseline", "median"}, {"--eso-baseline", "median"});
  r.refuse({"--eso-advantage-norm", "mad"}, {"--eso-advantage-norm", "mad"});
  r.refuse({"--active-epochs", "first"}, {"--active-epochs", "first"});
  r.refuse({"--active-epochs", "from:0"}, {"--active-epochs", "from:0"});
  r.refuse({"--active-epochs", "from:2x"}, {"--active-epochs", "from:2x"});
  r.refuse({"--active-epochs", "from:6"}, {"--active-epochs", "from:6"});
}

TEST_CASE("train refuses flags that it has not and flags given twice") {
  const Refusals r;
  for (const char* flag : {"--lora-ranks", "--answers", "--ppo-clip", "--epoch", "-e"})
    r.refuse({flag, "1"}, {flag});
  r.refuse({"stray"}, {"stray"});
  r.refuse({"--epochs", "1", "--epochs", "2"}, {"--epochs"});
  r.refuse({"--no-shuffle", "yes"}, {"yes"});
  r.refuse({"--epochs"}, {"--epochs"});
}

TEST_CASE("train refuses numbers that are none or out of range, naming the flag") {
  const Refusals r;
  for (const char* flag : {"--epochs", "--max-prompt-tokens", "--max-response-tokens", "--batch-size"}) {
    for (const char* value : {"0", "-1", "1.5", "1e2", "many", "", "99999999999999999999", "0x10", "5 "})
      r.refuse({flag, value}, {flag});
  }
  for (const char* flag : {"--micro-batch-size", "--warmup-steps", "--max-steps", "--save-every",
                           "--keep-checkpoints", "--log-every", "--log-completions", "--threads"}) {
    for (const char* value : {"-1", "1.5", "many"}) r.refuse({flag, value}, {flag});
  }
  r.refuse({"--threads", "100000"}, {"--threads"});
  for (const char* flag : {"--learning-rate", "--min-learning-rate", "--weight-decay", "--clip-norm",
                           "--adam-beta1", "--adam-beta2", "--adam-epsilon", "--temperatures"}) {
    for (const char* value : {"-0.5", "nan", "inf", "1e999", "warm", "1,5x"}) {
      if (flag == std::string("--adam-epsilon") && value[0] != '-' && value[0] != 'n' && value[0] != 'w')
        continue;
      r.refuse({flag, value}, {flag});
    }
  }
  r.refuse({"--adam-beta1", "1"}, {"--adam-beta1"});
  r.refuse({"--adam-beta2", "1"}, {"--adam-beta2"});
  r.refuse({"--adam-epsilon", "0"}, {"--adam-epsilon"});
  for (const char* value : {"nan", "inf", "-inf", "big"}) r.refuse({"--eso-lambda", value}, {"--eso-lambda"});
  r.refuse({"--eso-sigma", "0"}, {"--eso-sigma"});
  for (const char* value : {"-1", "18446744073709551616", "1.0", "x"})
    r.refuse({"--seed", value}, {"--seed"});
  for (const Words& needs_two :
       {Words{"--eso-baseline", "leave-one-out"}, Words{"--eso-advantage-norm", "std"}})
    r.refuse(Words{"--method", "eso", "--temperatures", "1"} + needs_two, {"--temperatures"});
  r.refuse({"--method", "pretrain", "--window-tokens", "1"}, {"--window-tokens"});
  r.refuse({"--method", "pretrain", "--window-tokens", "21"}, {"--window-tokens", "20"});
}

TEST_CASE("train refuses bad lines with their file and line") {
  const Refusals r;
  const std::string second = r.data + ":3:";
  const auto refuse = [&](const std::string& line, const Words& fragments) {
    r.refuse_data(good_line + "\n" + line + "\n" + good_line, Words{second} + fragments);
  };
  refuse("{\"prompt\":\"a\",\"response\":\"b\"", {"JSON"});
  refuse("{\"prompt\":\"a\",\"response\":\"b\"} x", {"JSON"});
  refuse("[\"a\",\"b\"]", {"object"});
  refuse("{\"prompt\":\"a\"}", {"\"response\"", "missing"});
  refuse("{\"response\":\"a\"}", {"\"prompt\"", "missing"});
  refuse("{\"prompt\":\"a\",\"response\":null}", {"\"response\""});
  refuse("{\"prompt\":1,\"response\":\"b\"}", {"\"prompt\""});
  refuse("{\"prompt\":\"a\",\"response\":\"\xC3(\"}", {"UTF-8"});
  refuse("{\"prompt\":\"a\",\"response\":\"\xED\xA0\x80\"}", {"UTF-8"});
  refuse(std::string("{\"prompt\":\"a\",\"response\":\"\0\"}", 29), {"NUL"});
  refuse(std::string(5000, '[') + std::string(5000, ']'), {"found an array", "one JSON object per line"});
  write_file(r.data, good_line + json_line("a", ""));
  r.refuse({"--bad-rows", "refuse"}, {r.data + ":2: a row with an empty response"});
  write_file(r.data, good_line);
  r.write("more.jsonl", good_line + "{}\n");
  r.refuse({"--data", r.data, (r / "more.jsonl").string()}, {(r / "more.jsonl").string() + ":2:"});
  r.refuse({"--format", "debsum"}, {r.data + ":1:", "\"document\""});
}

TEST_CASE("train refuses data files that hold nothing or cannot be read") {
  const Refusals r;
  r.refuse_data("", {r.data});
  r.refuse_data("\n \n\r\n", {r.data});
  r.refuse({"--data", r.data + "x"}, {r.data + "x"});
  r.refuse({"--data", r.folder.path().string()}, {r.folder.path().string(), "directory"});
  const Finished dropped = [&] {
    write_file(r.data, json_line(std::string(40, '!'), "b") + json_line("!!!", "b"));
    return program(r.call("out", {"--method", "sft", "--max-prompt-tokens", "2"}));
  }();
  CHECK(not_refused(dropped, {r.data, "no example"}) == "");
  CHECK(lines_with(dropped.err, "dropped 2 examples") == 1);
  CHECK(!std::filesystem::exists(r.output));
}

TEST_CASE("train refuses broken gzip files by name") {
  const Refusals r;
  const std::string file = (r / "data.jsonl.gz").string();
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += json_line(fmt::format("{}", i), fmt::format("{}", i * i));
  const std::string whole = gzip(lines);
  const auto refuse = [&](const std::string& content) {
    write_file(file, content);
    r.refuse({"--data", file}, {file});
  };
  refuse(training_data);                      // none
  refuse("");                                 // none
  refuse(whole.substr(0, whole.size() / 2));  // truncated
  refuse(whole.substr(0, whole.size() - 4));  // within its end
  std::string changed = whole;
  changed[changed.size() - 8] = static_cast<char>(changed[changed.size() - 8] ^ 1);  // the checksum
  refuse(changed);
  changed = whole;
  changed[changed.size() - 1] = static_cast<char>(changed[changed.size() - 1] ^ 1);  // the length
  refuse(changed);
  refuse(whole + "more");
  write_file(file, whole + gzip("{}\n"));
  r.refuse({"--data", file}, {file + ":301:"});
}

TEST_CASE("train refuses models that it cannot use, naming what is wrong") {
  const Refusals r;
  r.refuse({"--model", (r / "none").string()}, {(r / "none").string()});
  r.refuse({"--model", r.data}, {r.data});
  const auto model = copy_model("plain", r.folder);
  const auto refuse = [&](const Words& fragments, const Words& more = {}) {
    r.refuse(Words{"--model", model.string()} + more, fragments);
    copy_model("plain", r.folder);
  };
  std::filesystem::rename(model / "model.safetensors", model / "pytorch_model.bin");
  refuse({model.string(), "safetensors"});
  std::filesystem::rename(model / "model.safetensors", model / "pytorch_model.bin");
  refuse({model.string(), "safetensors"}, {"--method", "pretrain"});
  std::filesystem::remove(model / "model.safetensors");
  refuse({model.string()});
  std::filesystem::resize_file(model / "model.safetensors", 40000);
  refuse({"model.safetensors"});
  std::filesystem::remove(model / "vocab.json");
  refuse({"vocab.json"});
  for (const char* name : {"vocab.json", "merges.txt"}) std::filesystem::remove(model / name);
  refuse({model.string(), "tokenizer"});
  write_file(model / "config.json", "{\"model_type\":\"t5\"}");
  refuse({"config.json", "t5"});
}

TEST_CASE("train refuses an unknown key or a wrong value in --config, naming file and key") {
  const Refusals r;
  const std::string config = (r / "flags.toml").string();
  const auto refuse = [&](const std::string& content, const Words& fragments) {
    INFO(content);
    write_file(config, content);
    r.refuse({"--config", config}, fragments);
  };
  refuse("epoch = 3\n", {config, "epoch"});
  refuse("resume = \"x\"\n", {config, "resume"});
  refuse("config = \"x\"\n", {config, "config"});
  refuse("[train]\nepochs = 3\n", {config, "train"});
  refuse("epochs = \"3\"\n", {config, "epochs"});
  refuse("epochs = 3.0\n", {config, "epochs"});
  refuse("epochs = true\n", {config, "epochs"});
  refuse("epochs = 0\n", {"epochs"});
  refuse("seed = -1\n", {config, "seed"});
  refuse("temperatures = [1, \"x\"]\n", {config, "temperatures"});
  refuse("no-shuffle = 1\n", {config, "no-shuffle"});
  refuse("schedule = [\"cosine\"]\n", {config, "schedule"});
  refuse("epochs = 1\nepochs = 2\n", {config + ":2"});
  refuse("epochs = \n", {config + ":1"});
  refuse("schedule = \"\xFF\"\n", {config});
  r.refuse({"--config", config + "x"}, {config + "x"});
}

TEST_CASE("train leaves an output folder alone that is not empty, and what is no folder") {
  const Refusals r;
  std::filesystem::create_directory(r.output);
  r.write("out/note", "kept");
  r.refuse({}, {r.output, "not empty"});
  CHECK(read_file(r / "out/note") == "kept");
  std::filesystem::remove_all(r.output);
  r.train("out", {"--method", "sft", "--max-steps", "1"});
  r.refuse({}, {r.output, "--resume"});
  std::filesystem::remove_all(r.output);
  r.write("out", "kept");
  r.refuse({}, {r.output});
  CHECK(read_file(r.output) == "kept");
}

TEST_CASE("train refuses an end of sequence outside the vocabulary before it makes anything") {
  const Refusals r;
  const auto model = copy_model("plain", r.folder);
  std::string config = read_file(model / "config.json");
  config.replace(config.find("\"eos_token_id\": 7"), 17, "\"eos_token_id\": 500");
  write_file(model / "config.json", config);
  for (const char* method : {"sft", "pretrain", "eso"})
    r.refuse({"--model", model.string(), "--method", method}, {"config.json", "eos_token_id"});
}

TEST_CASE("train refuses numbers that only the library minds before it makes anything") {
  const Refusals r;
  r.refuse({"--epochs", "4294967296"}, {"--epochs"});
  const Words eso{"--method", "eso", "--active-epochs", "all"};
  r.refuse(eso + Words{"--eso-sigma", "inf"}, {"--eso-sigma"});
  r.refuse(eso + Words{"--eso-min-mean-reward", "nan"}, {"--eso-min-mean-reward"});
}

TEST_CASE("train refuses paths that its config.toml cannot hold") {
  const Refusals r;
  r.refuse({"--output", (r / "caf\xE9").string()}, {"--output", "UTF-8"});
  write_file(r / "caf\xE9.jsonl", good_line);
  r.refuse({"--data", (r / "caf\xE9.jsonl").string()}, {"--data", "UTF-8"});
}

TEST_CASE("eso train --data takes a file whose name has a comma") {
  const Runs runs;
  std::filesystem::rename(runs.data, runs / "a,b.jsonl");
  Words call = runs.call("run", {"--method", "sft", "--max-steps", "1"});
  call[4] = (runs / "a,b.jsonl").string();
  const Finished f = program(call);
  INFO(f.err);
  CHECK(f.code == 0);
}

TEST_CASE("more checkpoints to keep than there will ever be keep all") {
  const Runs runs;
  for (const char* keep : {"2147483648", "4294967295", "4294967297"}) {
    INFO(keep);
    const auto run = runs.train(std::string("run") + keep,
                                Runs::small() + Words{"--method", "sft", "--save-every", "1", "--max-steps",
                                                      "3", "--keep-checkpoints", keep});
    CHECK(TemporaryFolder::names_in(run / "checkpoints").size() == 3);
  }
}

TEST_CASE("a run that diverged does not end as if its model were one") {
  const Runs runs;
  const Finished f = program(runs.call("run", {"--method", "sft", "--learning-rate", "1e300"}));
  if (f.code != 0) return;  // said aloud
  CHECK(program({"score", "--model", (runs / "run" / "model").string()}, good_line).code == 0);
}
