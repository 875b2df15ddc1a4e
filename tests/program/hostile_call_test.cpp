// SPDX-License-Identifier: MIT
#include <zlib.h>

#include "hostile_input.hpp"

// Lines of input, data files and flags that are bad in themselves.

namespace {

namespace fs = std::filesystem;

const std::string good_line = "{\"prompt\":\"a\",\"response\":\"b\"}\n";

std::string gzip(const std::string& text, std::size_t times = 1) {
  const TemporaryFolder folder;
  const gzFile file = ::gzopen((folder / "x").c_str(), "wb");
  for (std::size_t i = 0; i < times; ++i) ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  ::gzclose(file);
  return read_file(folder / "x");
}

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// --- lines ---------------------------------------------------------------------------------------------

/// A line of standard input after a good one.
HostileCase line(const std::string& name, Words call, const std::string& good, const std::string& bad,
                 const std::string& message) {
  return {fmt::format("{}: {}", call[0], name), [=](const Place&) { return call; }, "<stdin>:2: " + message,
          2, good + bad};
}

HostileCase data(const std::string& name, const std::string& file, const std::string& content,
                 const std::string& message, const Words& more = {}) {
  return {
      "data: " + name,
      [=](const Place& place) { return train(place, Words{"--data", place.write(file, content)} + more); },
      fmt::format("@/{}{}", file, message)};
}

std::vector<HostileCase> line_cases() {
  const std::string plain = golden_model("plain");
  const auto tokenize = [&](const std::string& name, const std::string& bad, const std::string& message) {
    return line(name, {"tokenize", "--tokenizer", plain}, "{\"text\":\"a\"}\n", bad, message);
  };
  const auto score = [&](const std::string& name, const std::string& bad, const std::string& message) {
    return line(name, {"score", "--model", plain, "--threads", "1"}, good_line, bad, message);
  };
  const std::string malformed = "malformed JSON at byte ", utf8 = "malformed UTF-8 at byte ";
  const std::string broken = gzip(training_data);
  return {
      tokenize("cut", "{\"text\":\"b", malformed),
      tokenize("no JSON", "text", "is not a JSON object, found text that is not JSON"),
      tokenize("a NaN", "{\"text\":NaN}", malformed),
      tokenize("two objects", "{\"text\":\"a\"}{}", malformed),
      tokenize("half a surrogate", "{\"text\":\"\\ud800\"}",
               "field \"text\" holds a surrogate without its partner"),
      tokenize("a raw control character", "{\"text\":\"a\x01\"}", malformed),
      tokenize("no UTF-8", "{\"text\":\"\xC3(\"}", utf8 + "10"),
      tokenize("a surrogate in UTF-8", "{\"text\":\"\xED\xA0\x80\"}", utf8 + "10"),
      tokenize("an overlong spelling", "{\"text\":\"\xC0\xAF\"}", utf8 + "10"),
      tokenize("UTF-16", std::string("\xFF\xFE{\0", 4), utf8 + "1"),
      tokenize("a NUL", std::string("{\"text\":\"\0\"}", 12), "a NUL at byte 10"),
      line("nested too deep", {"tokenize", "--tokenizer", plain, "--decode"}, "{\"ids\":[1]}\n",
           "{\"ids\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
           "field \"ids\" is nested too deep, expected at most 64"),
      tokenize("a list", "[]", "is not a JSON object, found an array, expected one JSON object per line"),
      tokenize("a missing field", "{\"texts\":\"a\"}", "field \"text\" is missing"),
      tokenize("a wrong type", "{\"text\":5}",
               "field \"text\" has the wrong type, found a number, expected a string"),
      tokenize("a line of 65 MiB", "{\"text\":\"" + std::string(std::size_t{65} << 20U, 'a'),
               "the line is longer than 67108864 bytes"),
      line("an id that is none", {"tokenize", "--tokenizer", plain, "--decode"}, "{\"ids\":[1]}\n",
           "{\"ids\":[1,-1]}", "field \"ids\" holds no token id at 1, found -1"),
      line("null", {"rouge"}, "{\"target\":\"a\",\"prediction\":\"b\"}\n",
           "{\"target\":null,\"prediction\":\"b\"}", "field \"target\" has the wrong type, found null"),
      line("a prompt as long as the context", {"generate", "--model", plain, "--threads", "1"},
           "{\"prompt\":\"a\"}\n", "{\"prompt\":\"" + std::string(20, '!') + "\"}",
           "the prompt leaves no room for a response in the context, found 20 tokens, expected at most 19"),
      score("an id beyond the vocabulary", "{\"prompt_ids\":[101],\"response\":\"a\"}",
            "the prompt has an id outside the vocabulary, found 101, expected 0 to 100"),
      score("an empty prompt", "{\"prompt\":\"\",\"response\":\"a\"}", "the prompt is empty"),
      score("no response", "{\"prompt\":\"a\",\"response_ids\":[]}", "the response is empty"),
      score("longer than the context", "{\"prompt\":\"a\",\"response\":\"" + std::string(20, '!') + "\"}",
            "prompt and response exceed the context, found 22 tokens, expected at most 20"),
      data("empty", "x.jsonl", "", ": no example in it"),
      data("blank lines", "x.jsonl", "\n \r\n\n", ": no example in it"),
      data("cut", "x.jsonl", good_line + good_line.substr(0, 20), ":2: " + malformed),
      data("old line ends", "x.jsonl",
           "{\"prompt\":\"a\",\"response\":\"b\"}\r{\"prompt\":\"a\",\"response\":\"b\"}\r",
           ":1: " + malformed),
      data("gzip without its name", "x.jsonl", broken,
           ": is not a text file, found gzip data, whose name must end in .gz, expected lines in UTF-8"),
      data("text with the name of gzip", "x.jsonl.gz", training_data, ": is not gzip data"),
      data("cut gzip", "x.jsonl.gz", broken.substr(0, broken.size() / 2), ": gzip data end too early"),
      data("a wrong checksum", "x.jsonl.gz",
           broken.substr(0, broken.size() - 8) + "abcd" + broken.substr(broken.size() - 4),
           ": broken gzip data: incorrect data check"),
      data("gzip with more behind", "x.jsonl.gz", broken + "more", ": other data follow the gzip data"),
      data("a line of 100 MB in 100 KB", "x.jsonl.gz", gzip(std::string(1'000'000, 'a'), 100),
           ":1: the line is longer than 67108864 bytes"),
      data("another format", "x.jsonl", good_line, ":1: field \"document\" is missing",
           {"--format", "debsum"}),
      data("too little to pretrain on", "x.jsonl", "{\"text\":\"\"}\n",
           ": no example is left of 1: 1 with an empty response",
           {"--method", "pretrain", "--format", "text"}),
      {"data: a folder", [](const Place& place) { return train(place, {"--data", place.path()}); },
       "@: is a directory, expected a file"},
      {"data: nothing there", [](const Place& place) { return train(place, {"--data", place / "none"}); },
       "@/none: cannot be opened: No such file or directory"},
      {"data: no end of zeros", [](const Place& place) { return train(place, {"--data", "/dev/zero"}); },
       "/dev/zero:1: the line is longer than 67108864 bytes"},
  };
}

// --- flags ---------------------------------------------------------------------------------------------

HostileCase flags(const Words& more, const std::string& message) {
  return {fmt::format("train {}", fmt::join(more, " ")),
          [=](const Place& place) { return train(place, more); }, message};
}

/// Flags in a file.
HostileCase toml(const std::string& content, const std::string& message) {
  return {"--config: " + content.substr(0, 40),
          [=](const Place& place) { return train(place, {"--config", place.write("flags.toml", content)}); },
          message};
}

HostileCase call(const std::string& name, const Words& words, const std::string& message) {
  return {name, [=](const Place&) { return words; }, message};
}

std::vector<HostileCase> flag_cases() {
  const std::string key = "@/flags.toml: ", nested = std::string(10'000, '[');
  const auto generate = [](const Words& more, const std::string& message) {
    return call(fmt::format("generate {}", fmt::join(more, " ")),
                Words{"generate", "--model", golden_model("plain")} + more, message);
  };
  return {
      call("no command", {}, "A subcommand is required"),
      call("an unknown command", {"scores"}, "\"scores\": no such command; eso --help lists them"),
      call("nothing but score", {"score"}, "--model: is required"),
      call("a command too many", {"rouge", "tokenize"}, "\"tokenize\" is not expected"),
      flags({"--bogus", "7"}, "--bogus: no such flag; eso train --help lists them"),
      flags({"--bogus=5"}, "--bogus: no such flag; eso train --help lists them"),
      flags({"stray"}, "\"stray\" is not expected"),
      flags({"--epochs", "1", "--epochs", "2"}, "--epochs: At Most 1 required but received 2"),
      flags({"--epochs", "0"}, "--epochs: is too small, found 0, expected at least 1"),
      flags({"--epochs", "1e3"}, "--epochs: 1e3 is no integer, or out of range"),
      flags({"--epochs", ""}, "--epochs: is empty"),
      flags({"--seed", "18446744073709551616"},
            "--seed: 18446744073709551616 is no integer, or out of range"),
      flags({"--learning-rate", "nan"}, "--learning-rate: is out of range, found nan"),
      flags({"--learning-rate", ""}, "--learning-rate: is empty"),
      flags({"--learning-rate", "0x1"}, "--learning-rate: 0x1 is no number, or out of range"),
      flags({"--temperatures", ""}, "--temperatures: is empty"),
      flags({"--temperatures", "1,hot"}, "--temperatures: hot is no number, or out of range"),
      flags({"--threads", "99999"}, "--threads: is out of range, found 99999, expected 0 to 4096"),
      flags({"--method", "ppo"}, "--method: ppo is not there yet"),
      flags({"--format", "text"}, "--format: has no prompts, which --method sft needs, found text"),
      flags({"--method", "eso", "--temperatures", "1", "--eso-baseline", "leave-one-out"},
            "--temperatures: too few samples a prompt for this baseline, found 1, expected at least 2"),
      flags({"--active-epochs", "from:9"},
            "--active-epochs: begins after the last epoch, found from:9, expected at most from:5"),
      flags({"--data", ""}, "--data: is empty"),
      flags({"--config", ""}, "--config: is empty"),
      toml("epoch = 3\n", key + "epoch: is no flag of this command"),
      toml("epochs = 3.0\n", key + "epochs: is not an integer"),
      toml("learning-rate = inf\n", "--learning-rate: is out of range, found inf"),
      toml("epochs = 1\nepochs = 2\n", "@/flags.toml:2: "),
      toml("x = " + nested, "@/flags.toml:1: brackets nest deeper than 8"),
      toml("epochs = 3 # [[[[[[[[[.\nx = " + repeated("{a=", 10'000),
           "@/flags.toml:2: brackets nest deeper than 8"),
      toml("a" + repeated(".a", 31'000) + " = 1\n", "@/flags.toml:1: a key has more than 8 parts"),
      toml("\n[\"x\"" + repeated(" . 'a'", 31'000) + "]\n", "@/flags.toml:2: a key has more than 8 parts"),
      toml("\n[[a" + repeated(".a", 31'000) + "]]\n", "@/flags.toml:2: a key has more than 8 parts"),
      toml("x = { a" + repeated(".a", 31'000) + " = 1 }\n", "@/flags.toml:1: a key has more than 8 parts"),
      toml("dropout = \"0.1.2.3.4.5.6.7.8.9.[[[[[[[[[[\"\ntemperatures = [0.5, 1.5, 2.5, 0.5, 0.5, 0.5, 0.5, "
           "0.5, "
           "0.5, 0.5]\nunknown = \"\"\"\n\"[[[[[[[[[[\"\"\"\n",
           key + "unknown: is no flag of this command"),
      toml("\"a\\nb\" = 1\n", key + "a b: is no flag of this command"),
      {"--config: a terabyte",
       [](const Place& place) {
         fs::resize_file(place.write("flags.toml", ""), 1ULL << 40U);
         return train(place, {"--config", place / "flags.toml"});
       },
       "@/flags.toml: is larger than 16777216 bytes"},
      generate({"--top-p", "0"}, "--top-p: is out of range, found 0, expected above 0, at most 1"),
      generate({"--temperature", "-1"}, "--temperature: is out of range, found -1"),
      generate({"--samples", "16777217"}, "--samples: is out of range, found 16777217"),
      generate({"--stats", ""}, "--stats: is empty"),
      call("--resume of nothing", {"train", "--resume", ""}, "--resume: is required"),
      call("--resume of no run", {"train", "--resume", "/nonexistent"},
           "/nonexistent: no such run directory"),
      call("--resume with a flag", {"train", "--resume", "/nonexistent", "--epochs", "9"},
           "--epochs: cannot be given together with --resume"),
      call("report of no run", {"report", "/nonexistent"}, "/nonexistent: no such directory"),
  };
}

}  // namespace

TEST_CASE("lines and data files that cannot be meant are refused by their place") {
  check_all(line_cases(), 35);
}

TEST_CASE("flags that are unknown, out of range or contradict each other are refused by name") {
  check_all(flag_cases(), 35);
}
