// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "run_program.hpp"

namespace {

std::vector<std::string> call(std::vector<std::string> more = {}, const std::string& model = "plain") {
  std::vector<std::string> arguments{"generate", "--model", golden_model(model)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

using Key = std::pair<std::int64_t, std::int64_t>;  // line and sample

/// The answers by line and sample, but for those of them that depend on the line's number alone.
std::map<Key, nlohmann::json> by_key(const Finished& f) {
  REQUIRE(f.code == 0);
  std::map<Key, nlohmann::json> answers;
  for (const nlohmann::json& line : f.lines()) {
    const Key key{line["prompt"].get<std::int64_t>(), line["sample"].get<std::int64_t>()};
    REQUIRE(answers.emplace(key, line).second);
  }
  return answers;
}

void check_same(const nlohmann::json& a, const nlohmann::json& b) {
  CHECK(a["response_ids"] == b["response_ids"]);
  CHECK(a["response"] == b["response"]);
  REQUIRE(a["logp"].size() == b["logp"].size());
  for (std::size_t t = 0; t < a["logp"].size(); ++t) {
    CHECK(std::abs(a["logp"][t].get<double>() - b["logp"][t].get<double>()) < 1e-5);
  }
}

const std::string five =
    "{\"prompt\":\"!\"}\n{\"prompt\":\"the\"}\n{\"prompt_ids\":[3,99,0,50]}\n{\"prompt\":\"Q\"}\n{\"prompt\":"
    "\"!\"}\n";

}  // namespace

TEST_CASE("eso generate at temperature 0 continues as transformers does") {
  const auto expected = golden_answers();
  for (const std::string& model : models_of_all_families) {
    std::string input;
    for (const auto& text : expected[model]["greedy"])
      input += nlohmann::json{{"prompt_ids", text["prompt_ids"]}}.dump() + "\n";
    const auto lines = program(call({"--temperature", "0"}, model), input).lines();
    REQUIRE(lines.size() == expected[model]["greedy"].size());
    for (std::size_t n = 0; n < lines.size(); ++n) {
      const auto& text = expected[model]["greedy"][n];
      CHECK(lines[n]["response_ids"] == text["response_ids"]);
      CHECK(lines[n]["finish"] == (text["response_ids"].back() == 7 ? "eos" : "length"));
    }
  }
}

TEST_CASE("eso generate writes a line for each response, sorted, with all fields") {
  const Finished f =
      program(call({"--samples", "3", "--temperature", "1.5", "--batch-size", "2"}), "\n" + five);
  REQUIRE(f.code == 0);
  const auto lines = f.lines();
  REQUIRE(lines.size() == 15);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const nlohmann::json& line = lines[i];
    CHECK(line.size() == 7);
    CHECK(line["prompt"] == 1 + i / 3);  // the blank line is counted
    CHECK(line["sample"] == i % 3);
    CHECK(line["temperature"].get<double>() == 1.5);
    const auto ids = line["response_ids"].get<std::vector<int>>();
    REQUIRE(!ids.empty());
    CHECK(line["logp"].size() == ids.size());
    CHECK(line["finish"] == (ids.back() == 7 ? "eos" : "length"));
    CHECK(std::count(ids.begin(), ids.end(), 7) == (ids.back() == 7 ? 1 : 0));
    CHECK(line["response"].get<std::string>().find("<|endoftext|>") == std::string::npos);
  }
}

TEST_CASE("eso generate gives a response that does not depend on what is drawn beside it") {
  const auto all = by_key(program(call({"--samples", "4", "--seed", "9"}), five));
  REQUIRE(all.size() == 20);
  for (const auto& settings : std::vector<std::vector<std::string>>{
           {"--batch-size", "1"}, {"--batch-size", "3"}, {"--threads", "1"}, {"--threads", "3"}}) {
    std::vector<std::string> more{"--samples", "4", "--seed", "9"};
    more.insert(more.end(), settings.begin(), settings.end());
    const auto other = by_key(program(call(more), five));
    REQUIRE(other.size() == 20);
    for (const auto& [key, answer] : all) check_same(answer, other.at(key));
  }
  const auto fewer = by_key(program(call({"--samples", "2", "--seed", "9"}), five));
  REQUIRE(fewer.size() == 10);
  for (const auto& [key, answer] : fewer) check_same(answer, all.at(key));
  // The third line alone: blank lines keep its number.
  const auto alone =
      by_key(program(call({"--samples", "4", "--seed", "9"}), "\n\n{\"prompt_ids\":[3,99,0,50]}\n"));
  REQUIRE(alone.size() == 4);
  for (const auto& [key, answer] : alone) check_same(answer, all.at(key));
}

TEST_CASE("eso generate draws anew for another seed, line or sample, and the same for the same") {
  const Finished first = program(call({"--samples", "4"}), five);
  CHECK(first.out == program(call({"--samples", "4", "--seed", "0", "--temperature", "1"}), five).out);
  CHECK(first.out != program(call({"--samples", "4", "--seed", "1"}), five).out);
  CHECK(first.out != program(call({"--samples", "4", "--seed", "18446744073709551615"}), five).out);
  const auto answers = by_key(first);
  CHECK(answers.at({0, 0})["response_ids"] != answers.at({0, 1})["response_ids"]);
  CHECK(answers.at({0, 0})["response_ids"] != answers.at({4, 0})["response_ids"]);  // the same prompt
}

TEST_CASE("eso generate gives log-probabilities at temperature 1 that eso score gives") {
  for (const auto& settings : std::vector<std::vector<std::string>>{{"--temperature", "2"},
                                                                    {"--temperature", "0.5", "--top-k", "5"},
                                                                    {"--top-p", "0.8"},
                                                                    {"--temperature", "0"}}) {
    const auto drawn = program(call(settings), five).lines();
    REQUIRE(drawn.size() == 5);
    for (const auto& [n, prompt] : {std::pair<std::size_t, std::string>{0, "[0]"}, {2, "[3,99,0,50]"}}) {
      const std::string line =
          "{\"prompt_ids\":" + prompt + ",\"response_ids\":" + drawn[n]["response_ids"].dump() + "}";
      const auto scored = program({"score", "--model", golden_model("plain")}, line).lines();
      REQUIRE(scored.size() == 1);
      REQUIRE(scored[0]["logp"].size() == drawn[n]["logp"].size());
      for (std::size_t t = 0; t < scored[0]["logp"].size(); ++t) {
        CHECK(std::abs(scored[0]["logp"][t].get<double>() - drawn[n]["logp"][t].get<double>()) < 1e-5);
      }
    }
  }
}

TEST_CASE("eso generate ends a response at its limit and where the context is full") {
  for (const auto& line :
       program(call({"--temperature", "3", "--samples", "20", "--max-response-tokens", "4"}),
               "{\"prompt\":\"!\"}")
           .lines()) {
    const std::size_t length = line["response_ids"].size();
    CHECK(length <= 4);
    CHECK((line["finish"] == "eos" || length == 4));
  }
  bool full = false;
  for (const auto& line :
       program(call({"--samples", "20"}), "{\"prompt\":\"" + std::string(15, '!') + "\"}").lines()) {
    const std::size_t length = line["response_ids"].size();
    CHECK(length <= 5);
    CHECK((line["finish"] == "eos" || length == 5));
    full |= line["finish"] == "length";
  }
  CHECK(full);
  const auto last = program(call(), "{\"prompt\":\"" + std::string(19, '!') + "\"}").lines();
  REQUIRE(last.size() == 1);
  CHECK(last[0]["response_ids"].size() == 1);
}

TEST_CASE("eso generate with top-k 1 or a tiny top-p is greedy") {
  const auto greedy = by_key(program(call({"--temperature", "0"}), five));
  for (const auto& settings : std::vector<std::vector<std::string>>{
           {"--top-k", "1"}, {"--top-p", "1e-9"}, {"--temperature", "1e-30"}}) {
    const auto drawn = by_key(program(call(settings), five));
    for (const auto& [key, answer] : greedy) check_same(answer, drawn.at(key));
  }
}

TEST_CASE("eso generate decodes an id without a token to nothing") {
  // Row 100 of the embedding has no token. A response that has it is found among many hot ones.
  bool met = false;
  for (const auto& line :
       program(call({"--temperature", "50", "--samples", "100"}), "{\"prompt\":\"!\"}").lines()) {
    const auto ids = line["response_ids"].get<std::vector<int>>();
    met |= std::count(ids.begin(), ids.end(), 100) > 0;
    const auto decoded = program({"tokenize", "--decode", "--tokenizer", golden_model("plain")},
                                 nlohmann::json{{"ids", line["response_ids"]}}.dump())
                             .lines();
    std::string text = decoded.at(0)["text"];
    if (line["finish"] == "eos") text.resize(text.size() - std::string("<|endoftext|>").size());
    CHECK(line["response"] == text);
    if (met) break;
  }
  CHECK(met);
}

TEST_CASE("eso generate --stats counts prompts once and all tokens of responses") {
  const TemporaryFolder folder;
  const std::string stats = (folder / "stats.json").string();
  const Finished f = program(call({"--samples", "3", "--stats", stats}), five);
  std::size_t tokens = 0;
  for (const auto& line : f.lines()) tokens += line["response_ids"].size();
  const auto written = nlohmann::json::parse(read_file(stats));
  CHECK(written["prompt_tokens"] == 1 + 2 + 4 + 1 + 1);  // "the" is "th" and "e"
  CHECK(written["response_tokens"] == tokens);
}

TEST_CASE("eso generate without a line writes nothing and exits with 0") {
  const Finished f = program(call(), "\n");
  CHECK(f.code == 0);
  CHECK(f.out.empty());
}

TEST_CASE("eso generate refuses bad lines with their place") {
  const auto refuse = [](const std::string& line, std::vector<std::string> fragments) {
    INFO(line);
    fragments.emplace_back("eso: error: <stdin>:2:");
    CHECK(not_refused(program(call(), "{\"prompt\":\"!\"}\n" + line), fragments) == "");
  };
  refuse("{\"prompt_id\":[1]}", {"\"prompt\"", "\"prompt_ids\"", "missing"});
  refuse("{\"prompt\":\"\"}", {"prompt is empty"});
  refuse("{\"prompt\":\"" + std::string(20, '!') + "\"}", {"context", "20 tokens", "at most 19"});
  refuse("{\"prompt_ids\":[100,101]}", {"101", "0 to 100"});
  refuse("{\"prompt\":\"!\"", {"JSON"});
}

TEST_CASE("eso generate needs a tokenizer") {
  const TemporaryFolder folder;
  const auto model = copy_model("plain", folder);
  std::filesystem::remove(model / "vocab.json");
  std::filesystem::remove(model / "merges.txt");
  CHECK(not_refused(program({"generate", "--model", model.string()}, "{\"prompt_ids\":[1]}"),
                    {model.string(), "tokenizer"}) == "");
}
