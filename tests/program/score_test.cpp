// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>

#include "run_program.hpp"

namespace {

std::vector<std::string> call(const std::string& model, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"score", "--backend", "eigen", "--model", golden_model(model)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string ids_line(const nlohmann::json& text) {
  return nlohmann::json{{"prompt_ids", text["prompt_ids"]}, {"response_ids", text["response_ids"]}}.dump() +
         "\n";
}

/// The largest difference of the log-probabilities of two answers; infinite where they do not fit.
double difference(const std::vector<nlohmann::json>& a, const std::vector<nlohmann::json>& b) {
  double worst = a.size() == b.size() && !a.empty() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i]["response_ids"] != b[i]["response_ids"] || a[i]["logp"].size() != b[i]["logp"].size())
      return INFINITY;
    for (std::size_t t = 0; t < a[i]["logp"].size(); ++t) {
      worst = std::max(worst, std::abs(a[i]["logp"][t].get<double>() - b[i]["logp"][t].get<double>()));
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("eso score gives the log-probabilities of transformers at any temperature") {
  const nlohmann::json expected = golden_answers();
  for (const std::string& model : models_of_all_families) {
    std::string input;
    for (const auto& text : expected[model]["score"]) input += ids_line(text);
    for (const auto& [temperature, field] : {std::pair{"1", "logp"}, {"0.7", "logp_0.7"}}) {
      const Finished f = program(call(model, {"--temperature", temperature}), input);
      REQUIRE(f.code == 0);
      const auto lines = f.lines();
      REQUIRE(lines.size() == expected[model]["score"].size());
      for (std::size_t i = 0; i < lines.size(); ++i) {
        const auto& text = expected[model]["score"][i];
        CHECK(lines[i].size() == 3);
        CHECK(lines[i]["response_ids"] == text["response_ids"]);
        REQUIRE(lines[i]["logp"].size() == text[field].size());
        double sum = 0;
        for (std::size_t t = 0; t < text[field].size(); ++t) {
          CHECK(std::abs(lines[i]["logp"][t].get<double>() - text[field][t].get<double>()) < 1e-5);
          sum += lines[i]["logp"][t].get<double>();
        }
        CHECK(lines[i]["sum"].get<double>() == Approx(sum));
      }
    }
  }
}

TEST_CASE("eso score appends the end of sequence to text, and to nothing else") {
  const std::string text = "{\"prompt\":\"!(\",\"response\":\"th\"}\n";
  const std::string ids = "{\"prompt_ids\":[0,8],\"response_ids\":[97]}\n";
  const auto with = program(call("plain"), text).lines(),
             without = program(call("plain", {"--no-eos"}), text).lines();
  const auto given = program(call("plain"), ids + "{\"prompt_ids\":[0,8],\"response_ids\":[97,7]}\n").lines();
  REQUIRE(with.size() == 1);
  REQUIRE(given.size() == 2);
  CHECK(with[0]["response_ids"] == nlohmann::json{97, 7});
  CHECK(difference(without, {given[0]}) < 1e-6);
  CHECK(difference(with, {given[1]}) < 1e-6);
  const auto empty = program(call("plain"), "{\"prompt\":\"!\",\"response\":\"\"}\n").lines();
  REQUIRE(empty.size() == 1);
  CHECK(empty[0]["response_ids"] == nlohmann::json{7});
  const auto ended = program(call("plain"), "{\"prompt\":\"!\",\"response\":\"th<|endoftext|>\"}\n").lines();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0]["response_ids"] == nlohmann::json{97, 7});
}

TEST_CASE("eso score takes ids before text, and an added token in text") {
  const auto lines =
      program(call("plain"),
              "{\"prompt\":\"zz\",\"prompt_ids\":[0,7],\"response\":\"zz\",\"response_ids\":[97]}\n"
              "{\"prompt\":\"!<|endoftext|>\",\"response\":\"zz\",\"response_ids\":[97]}\n"
              "{\"prompt\":\"!<|endoftext|>\",\"prompt_ids\":null,\"response_ids\":[97]}\n")
          .lines();
  REQUIRE(lines.size() == 3);
  CHECK(difference({lines[0], lines[0]}, {lines[1], lines[2]}) < 1e-6);
}

TEST_CASE("eso score gives the same whatever is computed together and on however many threads") {
  const nlohmann::json texts = golden_answers()["untied"]["score"];
  std::string input;
  for (const auto& text : texts) input += ids_line(text) + ids_line(text);
  input += "\n{\"prompt\":\"!\",\"response\":\"(\"}\n{\"prompt\":\"!\",\"response\":\"()\"}\n";
  const auto expected = program(call("untied", {"--threads", "1"}), input).lines();
  REQUIRE(expected.size() == 12);
  for (const char* size : {"1", "2", "3", "1000"}) {
    for (const char* threads : {"1", "3"}) {
      CHECK(difference(program(call("untied", {"--batch-size", size, "--threads", threads}), input).lines(),
                       expected) < 1e-5);
    }
  }
  CHECK(program(call("untied", {"--threads", "2"}), input).out ==
        program(call("untied", {"--threads", "2"}), input).out);
}

TEST_CASE("eso score --stats counts a prompt of consecutive lines once") {
  const TemporaryFolder folder;
  const std::string stats = (folder / "stats.json").string();
  const std::string input =
      "{\"prompt_ids\":[1,2,3],\"response_ids\":[4]}\n{\"prompt_ids\":[1,2,3],\"response_ids\":[4,5]}\n"
      "{\"prompt_ids\":[1],\"response_ids\":[4]}\n{\"prompt_ids\":[1,2,3],\"response_ids\":[4]}\n";
  REQUIRE(program(call("plain", {"--stats", stats, "--batch-size", "1"}), input).code == 0);
  const auto written = nlohmann::json::parse(read_file(stats));
  CHECK(written.size() == 5);
  CHECK(written["prompt_tokens"] == 7);
  CHECK(written["response_tokens"] == 5);
  for (const char* name : {"load_time", "run_time", "total_time"}) CHECK(written[name].get<double>() >= 0);
  CHECK(folder.names() == std::set<std::string>{"stats.json"});
}

TEST_CASE("eso score without a line writes nothing and exits with 0") {
  for (const char* input : {"", "\n \n"}) {
    const Finished f = program(call("plain"), input);
    CHECK(f.code == 0);
    CHECK(f.out.empty());
  }
}

TEST_CASE("eso score tells of tensors that it ignores in one line") {
  const Finished f = program(call("general"), "{\"prompt_ids\":[1],\"response_ids\":[4]}\n");
  CHECK(f.code == 0);
  CHECK(std::count(f.err.begin(), f.err.end(), '\n') == 1);
  CHECK(f.err.find("h.0.attn.bias") != std::string::npos);
}

TEST_CASE("eso score needs no tokenizer for ids") {
  const TemporaryFolder folder;
  const auto model = copy_model("plain", folder);
  for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json"})
    std::filesystem::remove(model / name);
  const std::string ids = "{\"prompt_ids\":[0,8],\"response_ids\":[97,7]}\n";
  const Finished f = program({"score", "--model", model.string()}, ids);
  CHECK(f.out == program(call("plain"), ids).out);
  CHECK(not_refused(
            program({"score", "--model", model.string()}, ids + "{\"prompt\":\"a\",\"response_ids\":[1]}"),
            {"<stdin>:2:", "\"prompt\"", "no tokenizer", model.string()}) == "");
}

TEST_CASE("eso score refuses bad lines with their place") {
  struct Case {
    std::string line;
    std::vector<std::string> fragments;
  };
  const std::string twenty = "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]";  // as long as the context
  const Case cases[] = {
      {"{\"prompt\":\"a\"", {"JSON"}},
      {"\"prompt\"", {"object"}},
      {"{\"response\":\"a\"}", {"\"prompt\"", "\"prompt_ids\"", "missing"}},
      {"{\"prompt\":\"a\"}", {"\"response\"", "\"response_ids\"", "missing"}},
      {"{\"prompt\":1,\"response\":\"a\"}", {"\"prompt\"", "a number"}},
      {"{\"prompt\":\"a\",\"response\":[1]}", {"\"response\"", "an array"}},
      {"{\"prompt_ids\":\"a\",\"response\":\"a\"}", {"\"prompt_ids\"", "a string"}},
      {"{\"prompt_ids\":[1,true],\"response\":\"a\"}", {"\"prompt_ids\"", "a boolean"}},
      {"{\"prompt_ids\":[1.0],\"response\":\"a\"}", {"\"prompt_ids\"", "1.0"}},
      {"{\"prompt_ids\":[-1],\"response\":\"a\"}", {"\"prompt_ids\"", "-1"}},
      {"{\"prompt_ids\":[1],\"response_ids\":[4294967296]}", {"\"response_ids\"", "4294967296"}},
      {"{\"prompt_ids\":[101],\"response_ids\":[1]}", {"prompt", "101", "0 to 100"}},
      {"{\"prompt_ids\":[1],\"response_ids\":[1,101]}", {"response", "101", "0 to 100"}},
      {"{\"prompt\":\"\",\"response\":\"a\"}", {"prompt is empty"}},
      {"{\"prompt_ids\":[],\"response\":\"a\"}", {"prompt is empty"}},
      {"{\"prompt\":\"a\",\"response_ids\":[]}", {"response is empty"}},
      {"{\"prompt_ids\":[1],\"response_ids\":" + twenty + "}", {"context", "21 tokens", "at most 20"}},
      {"{\"prompt_ids\":" + twenty + ",\"response_ids\":[1]}", {"context", "21 tokens", "at most 20"}},
      {"{\"prompt\":\"" + std::string(19, '!') + "\",\"response\":\"!\"}", {"context", "21 tokens"}},
      {"{\"prompt\":\"\xC3(\",\"response\":\"a\"}", {"UTF-8", "byte 12"}},
      {std::string("{\"prompt\":\"a\",\"response\":\"\0\"}", 29), {"NUL"}},
      {std::string(100, '[') + std::string(100, ']'), {"object", "an array"}},
  };
  const std::string good = "{\"prompt\":\"!\",\"response\":\"!\"}\n";
  for (const Case& c : cases) {
    INFO(c.line);
    std::vector<std::string> fragments = c.fragments;
    fragments.push_back("eso: error: <stdin>:4:");
    CHECK(not_refused(program(call("plain"), good + "\n" + good + c.line + "\n" + good), fragments) == "");
  }
  CHECK(not_refused(program(call("plain", {"--no-eos"}), "{\"prompt\":\"!\",\"response\":\"\"}"),
                    {"<stdin>:1:", "response is empty"}) == "");
}

TEST_CASE("eso score takes a text that fills the context") {
  const auto lines =
      program(call("plain"), "{\"prompt\":\"" + std::string(18, '!') + "\",\"response\":\"!\"}").lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0]["logp"].size() == 2);
}
