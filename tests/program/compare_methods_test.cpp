// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "comparisons.hpp"

namespace {

namespace fs = std::filesystem;

const Words five = {"sft", "unlike", "drl", "rrhf", "eso"};

/// The kinds of the lines of completions.jsonl with how often each occurs.
std::map<std::string, int> kinds_of(const fs::path& run) {
  std::map<std::string, int> kinds;
  for (const Json& line : json_lines(run / "completions.jsonl")) ++kinds[line.at("kind").get<std::string>()];
  return kinds;
}

}  // namespace

TEST_CASE("compare trains the five methods of the paper, and an arm, from one start") {
  const Comparisons c;
  const Finished f =
      c.call({"--methods", "sft,unlike,drl,rrhf,eso", "--arm",
              "negative-half: --method unlike --unlike-objective plain-logp --unlike-weight gap"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  // The two epochs before the last are computed once: all but the first arm go on from there.
  CHECK(lines_with(f.err, "going on after step 4") == 5);
  const Json result = c.result();
  CHECK(result.at("order") == Json{"sft", "unlike", "drl", "rrhf", "eso", "negative-half"});
  CHECK(result.at("baseline") == "sft");
  CHECK(result.at("settings").at("evaluation_format") == "prompt-response");
  std::set<Weights> models;
  for (const auto& [name, method] : result.at("methods").items()) {
    INFO(name);
    REQUIRE(method.at("eval").size() == 1);
    CHECK(method.at("eval").at(0).at("results").size() == 2);
    CHECK(method.at("curve").at(0).size() == 6);
    CHECK(method.at("method") == (name == "negative-half" ? "unlike" : name));
    const fs::path run = fs::path(c.output) / name / "seed-0";
    models.insert(weights_of(run));
    // What is shared is copied, times included.
    const auto lines = json_lines(run / "metrics.jsonl"),
               first = json_lines(fs::path(c.output) / "sft" / "seed-0" / "metrics.jsonl");
    REQUIRE(lines.size() == 6);
    for (std::size_t i = 0; i < 4; ++i) CHECK(lines[i] == first[i]);
    CHECK(lines[4].at("active") == (name != "sft"));
    CHECK(method.contains("paired") == (name != "sft"));
    if (name == "sft") continue;
    REQUIRE(method.at("paired").size() == 2);
    for (const Json& paired : method.at("paired")) {
      CHECK(paired.at("low").get<double>() <= paired.at("difference").get<double>());
      CHECK(paired.at("difference").get<double>() <= paired.at("high").get<double>());
      CHECK(paired.at("standard_error").get<double>() >= 0);
    }
  }
  CHECK(models.size() == 6);
}

TEST_CASE("each method's arm is the run that eso train makes, records and page included") {
  const Comparisons c;
  REQUIRE(c.call({"--methods", "sft,unlike,drl,rrhf,eso"}).code == 0);
  const fs::path out = c.output;
  for (const std::string& method : five)
    CHECK(difference(c.plain(method, {"--method", method}), out / method / "seed-0") == "");
  using Kinds = std::map<std::string, int>;
  CHECK(kinds_of(out / "unlike" / "seed-0") == Kinds{{"sample", 28}});
  CHECK(kinds_of(out / "drl" / "seed-0") == Kinds{{"greedy", 7}, {"sample", 7}});
  CHECK(kinds_of(out / "rrhf" / "seed-0") == Kinds{{"reference", 7}, {"sample", 28}});
  const std::string page = read_file(out / "report.html");
  for (const std::string& method : five) CHECK(page.find(">" + method + "<") != std::string::npos);
  const auto lines =
      lines_with(read_file(out / "drl" / "seed-0" / "report.html"), "than the greedy response");
  CHECK(lines == 1);
}

TEST_CASE("an arm that is on from the first step shares nothing and keeps no other from sharing") {
  const Comparisons c;
  const Finished f = c.call({"--arm", "all: --method eso --active-epochs all", "--methods", "sft,eso",
                             "--arm", "late: --method unlike --active-epochs from:3"});
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "going on after step 4") == 2);
  CHECK(lines_with(f.err, "going on") == 2);
  CHECK(difference(c.plain("all", {"--method", "eso", "--active-epochs", "all"}),
                   fs::path(c.output) / "all" / "seed-0") == "");
  CHECK(difference(c.plain("late", {"--method", "unlike", "--active-epochs", "from:3"}),
                   fs::path(c.output) / "late" / "seed-0") == "");
}

TEST_CASE("compare trains DPO on pairs beside SFT on the chosen responses, which are the references") {
  const PairComparisons c;
  const Finished f =
      c.call({"--methods", "sft,dpo,eso", "--arm", "ipo: --method dpo --dpo-loss ipo --dpo-beta 0.5"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "going on after step 4") == 1);  // ESO goes on from SFT; DPO starts with the model
  const fs::path out = c.output;
  CHECK(difference(c.plain("sft", {"--method", "sft"}), out / "sft" / "seed-0") == "");
  CHECK(difference(c.plain("dpo", {"--method", "dpo"}), out / "dpo" / "seed-0") == "");
  CHECK(difference(c.plain("ipo", {"--method", "dpo", "--dpo-loss", "ipo", "--dpo-beta", "0.5"}),
                   out / "ipo" / "seed-0") == "");
  const Json step = metrics_of(out / "dpo" / "seed-0").front();
  CHECK(step.contains("rewards/margins"));
  CHECK_FALSE(step.contains("loss/sft"));
  CHECK(step.at("loss").get<double>() == Approx(std::log(2.0)));  // the model is its own reference
  const Json result = c.result();
  CHECK(result.at("examples").at(0).at("reference") == "e u");
  CHECK(result.at("examples").at(1).at("reference") == "p");
  // As if the chosen responses were all that there is.
  write_file(c.evaluation, json_line("x", "e u") + json_line("y", "p") + json_line("the", "l e"));
  REQUIRE(program({"eval", "--model", (out / "dpo" / "seed-0" / "model").string(), "--data", c.evaluation,
                   "--format", "prompt-response", "--temperature", "1,0", "--seeds", "10,20",
                   "--max-response-tokens", "8", "--threads", "1", "--output", (c / "eval.json").string()})
              .code == 0);
  const Json evaluated = Json::parse(read_file(c / "eval.json"));
  CHECK(result.at("methods").at("dpo").at("eval").at(0).at("results") == evaluated.at("results"));
}

TEST_CASE("compare refuses a reference that it cannot use before any arm trains") {
  const PairComparisons c;
  c.refuse({"--methods", "sft", "--arm", "a: --method dpo --dpo-reference " + (c / "none").string()},
           {(c / "none").string()});
  c.refuse({"--methods", "sft", "--arm", "a: --method dpo --dpo-reference " + golden_model("untied")},
           {"--dpo-reference", "context"});
}

TEST_CASE("a preset in a comparison gives what no flag of the arm or of the whole gives") {
  const Comparisons c;
  REQUIRE(c.call({"--schedule", "constant", "--arm", "sft: --method sft", "--arm",
                  "rec: --method eso --preset recommended", "--arm",
                  "own: --method eso --preset recommended --eso-lambda 2", "--arm", "plain: --method eso"})
              .code == 0);
  const fs::path out = c.output;
  const Words common = {"--schedule", "constant", "--method", "eso"};
  CHECK(difference(c.plain("rec", common + Words{"--preset", "recommended"}), out / "rec" / "seed-0") == "");
  CHECK(difference(c.plain("own", common + Words{"--preset", "recommended", "--eso-lambda", "2"}),
                   out / "own" / "seed-0") == "");
  CHECK(difference(c.plain("plain", common), out / "plain" / "seed-0") == "");
  const std::set<Weights> models{weights_of(out / "rec" / "seed-0"), weights_of(out / "own" / "seed-0"),
                                 weights_of(out / "plain" / "seed-0")};
  CHECK(models.size() == 3);
}

TEST_CASE("compare evaluates on another format than it trains on") {
  const Comparisons c;
  write_file(c.evaluation, pair_line("x", "e u", "l") + pair_line("y", "p", "t t"));
  REQUIRE(c.call({"--methods", "sft", "--evaluation-format", "preference"}).code == 0);
  const Json result = c.result();
  CHECK(result.at("settings").at("evaluation_format") == "preference");
  CHECK(result.at("methods").at("sft").at("eval").at(0).at("examples") == 2);
  CHECK(result.at("examples").at(0).at("reference") == "e u");
}

TEST_CASE("compare refuses what does not go together before it makes anything") {
  const Comparisons c;
  c.refuse({"--methods", "sft,dpo"}, {"--format", "dpo", "prompt-response"});
  c.refuse({"--methods", "sft", "--arm", "a: --method dpo"}, {"--format", "dpo"});
  c.refuse({"--methods", "sft,ppo"}, {"ppo", "not there yet"});
  c.refuse({"--methods", "sft,unlikely"}, {"--method", "unlikely"});
  c.refuse({"--methods", "drl,rrhf,drl"}, {"drl", "one name"});
  c.refuse({"--methods", "sft", "--arm", "a: --method unlike --unlike-floor 2"}, {"--unlike-floor"});
  c.refuse({"--methods", "sft", "--arm", "a: --method eso --preset best"}, {"--preset", "best"});
  c.refuse({"--methods", "sft", "--preset", "best"}, {"--preset", "best"});
  c.refuse({"--methods", "sft", "--evaluation-format", "text"}, {"--evaluation-format", "text"});
  c.refuse({"--methods", "sft", "--evaluation-format", "best"}, {"--evaluation-format", "best"});
  c.refuse({"--methods", "sft", "--evaluation-format", "vicuna"}, {"--evaluation-answers"});
  c.refuse({"--methods", "sft", "--evaluation-answers", "x"}, {"--evaluation-answers"});
  c.refuse({"--methods", "sft", "--evaluation-format", "preference"}, {"evaluation.jsonl:1:", "chosen"});
}
