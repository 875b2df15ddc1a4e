// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <regex>

#include "comparisons.hpp"

namespace {

namespace fs = std::filesystem;

/// Lines of the table that begin with this word.
int rows(const std::string& table, const std::string& name) {
  std::istringstream in(table);
  int count = 0;
  for (std::string line; std::getline(in, line);) count += line.starts_with(name + " ");
  return count;
}

/// What a page asks of the network; empty if nothing.
std::string foreign(const std::string& page) {
  if (page.empty()) return "no page";
  const std::regex patterns[] = {
      std::regex(R"re((src|href|srcset|action|data|poster)\s*=\s*["']?\s*(https?:)?//)re", std::regex::icase),
      std::regex(R"re(<script[^>]*\ssrc)re", std::regex::icase),
      std::regex(R"re(<(link|iframe|object|embed|base)[\s>])re", std::regex::icase),
      std::regex(R"re(@import|url\(\s*["']?(https?:)?//)re", std::regex::icase),
      std::regex(R"re(fetch\(|XMLHttpRequest|WebSocket|importScripts)re")};
  for (const std::regex& pattern : patterns) {
    std::smatch found;
    if (std::regex_search(page, found, pattern)) return found.str();
  }
  return {};
}

}  // namespace

TEST_CASE("compare trains each method from the same start, evaluates it and writes what it found") {
  const Comparisons c;
  const Finished f = c.call({"--methods", "sft,eso"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "eso: error") == 0);
  CHECK(TemporaryFolder::names_in(c.output) ==
        std::set<std::string>{"sft", "eso", "comparison.json", "report.html"});
  for (const char* arm : {"sft", "eso"}) {
    CHECK(TemporaryFolder::names_in(fs::path(c.output) / arm) == std::set<std::string>{"seed-0"});
    const fs::path run = fs::path(c.output) / arm / "seed-0";
    CHECK(TemporaryFolder::names_in(run) == std::set<std::string>{"config.toml", "metrics.jsonl",
                                                                  "completions.jsonl", "checkpoints", "model",
                                                                  "report.html"});
    CHECK(rows(f.out, arm) == 1);
  }
  CHECK(f.out.find("±") != std::string::npos);
  CHECK(f.out.back() == '\n');
  const Json result = c.result();
  CHECK(result.at("settings").is_object());
  REQUIRE(result.at("methods").size() == 2);
  for (const char* arm : {"sft", "eso"}) {
    INFO(arm);
    const Json& method = result.at("methods").at(arm);
    REQUIRE(method.at("train_seconds").size() == 1);
    CHECK(method.at("train_seconds").at(0).get<double>() > 0);
    REQUIRE(method.at("eval").size() == 1);
    const Json& evaluated = method.at("eval").at(0);
    CHECK(evaluated.at("examples") == 4);
    CHECK(evaluated.contains("model"));
    CHECK(evaluated.contains("data"));
    CHECK(evaluated.at("nll").is_number());
    REQUIRE(evaluated.at("results").size() == 2);
    CHECK(evaluated.at("results").at(0).at("temperature") == 1);
    CHECK(evaluated.at("results").at(1).at("temperature") == 0);
    for (const Json& one : evaluated.at("results")) {
      CHECK(one.at("seeds") == Json{10, 20});
      for (const char* name : {"rouge1", "rouge2", "rougeL", "length", "entropy", "eos_rate"}) {
        CHECK(one.at(name).at("mean").is_number());
        CHECK(one.at(name).contains("std"));
      }
    }
  }
}

TEST_CASE("an arm is the run that eso train makes, whether or not it shared its first epochs") {
  const Comparisons c;
  REQUIRE(c.call({"--methods", "sft,eso", "--arm", "hot: --method eso --eso-lambda 1 --temperatures 1,1,1,1",
                  "--arm", "early: --method eso --active-epochs from:2", "--arm",
                  "slow: --method sft --learning-rate 0.001"})
              .code == 0);
  const fs::path out = c.output;
  const std::pair<const char*, Words> arms[] = {
      {"sft", {"--method", "sft"}},
      {"eso", {"--method", "eso"}},
      {"hot", {"--method", "eso", "--eso-lambda", "1", "--temperatures", "1,1,1,1"}},
      {"early", {"--method", "eso", "--active-epochs", "from:2"}}};
  for (const auto& [name, flags] : arms) {
    INFO(name);
    CHECK(difference(c.plain(name, flags), out / name / "seed-0") == "");
  }
  const auto slow =
      c.train("slow", Runs::small() + Words{"--epochs", "3", "--learning-rate", "0.001", "--method", "sft"});
  CHECK(difference(slow, out / "slow" / "seed-0") == "");
  std::set<Weights> models;
  for (const char* name : {"sft", "eso", "hot", "early", "slow"})
    models.insert(weights_of(out / name / "seed-0"));
  CHECK(models.size() == 5);
  // The arm's own config repeats it alone.
  REQUIRE(program({"train", "--config", (out / "hot" / "seed-0" / "config.toml").string(), "--output",
                   (c / "repeated").string()})
              .code == 0);
  CHECK(difference(c / "repeated", out / "hot" / "seed-0") == "");
}

TEST_CASE("an arm's figures are those of eso eval on its model") {
  const Comparisons c;
  REQUIRE(c.call({"--methods", "sft,eso"}).code == 0);
  const Json methods = c.result().at("methods");
  for (const char* arm : {"sft", "eso"}) {
    const Finished f =
        program({"eval", "--model", (fs::path(c.output) / arm / "seed-0" / "model").string(), "--data",
                 c.evaluation, "--format", "prompt-response", "--temperature", "1,0", "--seeds", "10,20",
                 "--max-response-tokens", "8", "--threads", "1", "--output", (c / "eval.json").string()});
    REQUIRE(f.code == 0);
    const Json evaluated = Json::parse(read_file(c / "eval.json"));
    CHECK(methods.at(arm).at("eval").at(0).at("results") == evaluated.at("results"));
    CHECK(methods.at(arm).at("eval").at(0).at("nll").get<double>() ==
          Approx(evaluated.at("nll").get<double>()));
    CHECK(methods.at(arm).at("eval").at(0).at("examples") == evaluated.at("examples"));
  }
}

TEST_CASE("eso compare --training-seeds trains each arm with each seed from --seed on") {
  const Comparisons c;
  const Finished f =
      c.call({"--methods", "sft,eso", "--training-seeds", "2", "--seed", "5", "--examples", "2"});
  REQUIRE(f.code == 0);
  const fs::path out = c.output;
  const Json result = c.result();
  for (const char* arm : {"sft", "eso"}) {
    INFO(arm);
    CHECK(TemporaryFolder::names_in(out / arm) == std::set<std::string>{"seed-5", "seed-6"});
    REQUIRE(result.at("methods").at(arm).at("eval").size() == 2);
    CHECK(result.at("methods").at(arm).at("train_seconds").size() == 2);
    CHECK(result.at("methods").at(arm).at("eval").at(1).at("examples") == 2);
    CHECK(rows(f.out, arm) == 1);
    for (const char* seed : {"5", "6"}) {
      const auto plain = c.plain(std::string(arm) + seed, {"--method", arm, "--seed", seed});
      CHECK(difference(plain, out / arm / (std::string("seed-") + seed)) == "");
    }
  }
}

TEST_CASE("eso compare --examples takes those of the file that eso eval takes") {
  const Comparisons c;
  write_file(c.evaluation, json_line("x", "e u") + json_line(std::string(30, '!'), "too long") +
                               json_line("y", "p") + json_line("the", "l e"));
  const Finished f = c.call({"--methods", "sft", "--examples", "3"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  const fs::path model = fs::path(c.output) / "sft" / "seed-0" / "model";
  REQUIRE(program({"eval", "--model", model.string(), "--data", c.evaluation, "--format", "prompt-response",
                   "--temperature", "1,0", "--seeds", "10,20", "--max-response-tokens", "8", "--threads", "1",
                   "--examples", "3", "--output", (c / "eval.json").string()})
              .code == 0);
  const Json evaluated = Json::parse(read_file(c / "eval.json"));
  const Json result = c.result();
  const Json& compared = result.at("methods").at("sft").at("eval").at(0);
  CHECK(compared.at("examples") == 2);
  CHECK(evaluated.at("examples") == 2);
  CHECK(compared.at("results") == evaluated.at("results"));
  CHECK(result.at("examples").at(1).at("example") == 2);
}

TEST_CASE("compare refuses arms whose models take other evaluation examples, as many as they are") {
  const Comparisons c;
  // " the" is a token of one model and four of the other, "zzzz" the other way round.
  const fs::path other = copy_model("plain", c.folder);
  std::string vocabulary = read_file(other / "vocab.json");
  for (const auto& [from, to] :
       {std::pair("\"th\"", "\"zz\""), std::pair("\"Ġth\"", "\"zzz\""), std::pair("\"Ġthe\"", "\"zzzz\"")}) {
    const std::size_t place = vocabulary.find(from);
    REQUIRE(place != std::string::npos);
    vocabulary.replace(place, std::string(from).size(), to);
  }
  write_file(other / "vocab.json", vocabulary);
  write_file(other / "merges.txt", "#version: 0.2\nz z\nzz zz\n");
  const Words call = {"--max-prompt-tokens",
                      "3",
                      "--evaluation-prompt-overflow",
                      "skip",
                      "--arm",
                      "a: --method sft",
                      "--arm",
                      "b: --method sft --model " + other.string()};
  write_file(c.evaluation, json_line("x", "u") + json_line("x the", "e") + json_line("zzzz", "p"));
  CHECK(not_refused(c.call(call), {"--arm: b:", "other evaluation examples", "example 1 is the first",
                                   "2 examples"}) == "");
  CHECK(!fs::exists(c.output));
  write_file(c.evaluation, json_line("x", "u") + json_line("y", "e") + json_line("zzzz", "p"));
  CHECK(not_refused(c.call(call), {"--arm: b:", "example 2 is the first", "3 examples", "the 2 of"}) == "");
  write_file(c.evaluation, json_line("x", "u") + json_line("y", "e"));
  const Finished f = c.call(call);
  INFO(f.err);
  CHECK(f.code == 0);
}

TEST_CASE("the same comparison gives the same figures again") {
  const Comparisons c, d;
  write_file(d.evaluation, read_file(c.evaluation));
  const Finished first = c.call({"--methods", "sft,eso"}), second = d.call({"--methods", "sft,eso"});
  REQUIRE(first.code == 0);
  REQUIRE(second.code == 0);
  for (const char* arm : {"sft", "eso"}) {
    CHECK(c.result().at("methods").at(arm).at("eval").at(0).at("results") ==
          d.result().at("methods").at(arm).at("eval").at(0).at("results"));
    CHECK(weights_of(fs::path(c.output) / arm / "seed-0") == weights_of(fs::path(d.output) / arm / "seed-0"));
  }
}

TEST_CASE("arms may stand in a config file") {
  const Comparisons c;
  write_file(
      c / "flags.toml",
      "methods = [\"sft\"]\narm = [\"one: --method eso --temperatures 1,2\", \"two: --method sft\"]\n");
  REQUIRE(c.call({"--config", (c / "flags.toml").string()}).code == 0);
  CHECK(TemporaryFolder::names_in(c.output) ==
        std::set<std::string>{"sft", "one", "two", "comparison.json", "report.html"});
  CHECK(weights_of(fs::path(c.output) / "two" / "seed-0") ==
        weights_of(fs::path(c.output) / "sft" / "seed-0"));
}

TEST_CASE("compare refuses arms that it cannot train and writes nothing") {
  const Comparisons c;
  c.refuse({}, {"--methods"});
  c.refuse({"--methods", "sft,dpo"}, {"--format", "no pairs", "dpo"});
  c.refuse({"--methods", "sft,best"}, {"--method", "best"});
  c.refuse({"--methods", "sft,pretrain"}, {"pretrain"});
  c.refuse({"--methods", "sft,sft"}, {"sft"});
  c.refuse({"--methods", "sft", "--arm", "sft: --method eso"}, {"--arm", "sft"});
  c.refuse({"--arm", "a: --method sft", "--arm", "a: --method eso"}, {"--arm", "a"});
  c.refuse({"--arm", "a --method sft"}, {"--arm", "colon"});
  c.refuse({"--arm", "a: --method sft --epoch 3"}, {"--arm", "--epoch"});
  c.refuse({"--arm", "a: --method sft --epochs many"}, {"--epochs", "many"});
  c.refuse({"--arm", "a: --method sft --epochs 0"}, {"--epochs"});
  c.refuse({"--arm", "a: --method sft stray"}, {"--arm", "stray"});
  c.refuse({"--arm", "a:"}, {"--method"});
  c.refuse({"--arm", "a: --help"}, {"--arm: a:", "--help"});
  c.refuse({"--arm", "a: --method sft -h"}, {"--arm: a:", "--help"});
  c.refuse({"--arm", "a: --method sft --seed 3"}, {"--arm", "--seed"});
  c.refuse({"--arm", "a: --method sft --output x"}, {"--arm", "--output"});
  c.refuse({"--arm", "a: --method sft --training-seeds 2"}, {"--arm", "--training-seeds"});
  for (const char* name : {"", "..", ".", "a/b", "/a", ".hidden", "a b", "a\nb", "ä"})
    c.refuse({"--arm", std::string(name) + ": --method sft"}, {"--arm", "name"});
  c.refuse({"--arm", std::string(300, 'a') + ": --method sft"}, {"--arm", "name"});
  c.refuse({"--methods", "sft", "--training-seeds", "0"}, {"--training-seeds"});
  c.refuse({"--methods", "sft", "--examples", "-1"}, {"--examples"});
  c.refuse({"--methods", "sft", "--nonsense", "1"}, {"--nonsense"});
  c.refuse({"--methods", "sft", "--resume", c.output}, {"--resume"});
}

TEST_CASE("compare refuses data and folders that it cannot use before it trains") {
  const Comparisons c;
  const auto call = [&](const Words& more) { return program(c.arguments(Comparisons::training() + more)); };
  const std::string evaluation = read_file(c.evaluation);
  write_file(c.evaluation, json_line("a", "b") + "{\"prompt\":\"a\"}\n");
  CHECK(not_refused(call({"--methods", "sft"}), {c.evaluation + ":2:", "\"response\""}) == "");
  write_file(c.evaluation, json_line(std::string(50, '!'), "b"));
  CHECK(not_refused(call({"--methods", "sft"}), {c.evaluation, "no example"}) == "");
  fs::remove(c.evaluation);
  CHECK(not_refused(call({"--methods", "sft"}), {c.evaluation}) == "");
  CHECK(c.folder.names() == std::set<std::string>{"data.jsonl"});
  write_file(c.evaluation, evaluation);
  fs::create_directory(c.output);
  write_file(fs::path(c.output) / "note", "kept");
  CHECK(not_refused(call({"--methods", "sft"}), {c.output, "not empty"}) == "");
  CHECK(TemporaryFolder::names_in(c.output) == std::set<std::string>{"note"});
}

TEST_CASE("a signal ends compare with 128 + n") {
  const Comparisons c;
  Running running(c.arguments(Runs::active() + Words{"--methods", "sft,eso", "--epochs", "1000000"}));
  running.wait_for_lines(fs::path(c.output) / "sft" / "seed-0" / "metrics.jsonl", 3);
  running.signal(SIGTERM);
  const Finished f = running.finish();
  CHECK(f.code == 128 + SIGTERM);
  CHECK(f.out.empty());
  CHECK(lines_with(f.err, "eso: error") == 0);
  CHECK(lines_with(f.err, "--resume") == 0);
  CHECK(lines_with(f.err, "stopped after step") == 1);
  CHECK(lines_with(f.err, "a comparison cannot be resumed: begin it anew") == 1);
}

TEST_CASE("an arm whose runs end before its method begins is marked wherever its figures stand") {
  const Comparisons c;
  const Finished f =
      c.call({"--methods", "sft,eso", "--arm", "all: --method eso --active-epochs all", "--max-steps", "4"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  CHECK(rows(f.out, "eso (never on)") == 1);
  CHECK(lines_with(f.out, "(never on)") == 1);
  CHECK(lines_with(f.out, "never on: the runs of the arm ended before its method began.") == 1);
  const Json result = c.result();
  const Json& methods = result.at("methods");
  CHECK(methods.at("eso").at("never_on") == true);
  CHECK(methods.at("sft").at("never_on") == false);
  CHECK(methods.at("all").at("never_on") == false);
  const std::string page = read_file(fs::path(c.output) / "report.html");
  CHECK(page.find("<b>eso</b> ended before its method began") != std::string::npos);
  CHECK(page.find("<b>all</b> ended before") == std::string::npos);
}

TEST_CASE("report.html asks nothing of the network, and eso report rebuilds the same bytes") {
  const Comparisons c;
  REQUIRE(c.call({"--methods", "sft,eso"}).code == 0);
  for (const fs::path& folder : {fs::path(c.output), fs::path(c.output) / "eso" / "seed-0"}) {
    INFO(folder.string());
    const std::string page = read_file(folder / "report.html");
    CHECK(foreign(page) == "");
    CHECK(page.find("<svg") != std::string::npos);
    const auto others = snapshot(folder);
    fs::remove(folder / "report.html");
    const Finished f = program({"report", folder.string()});
    CHECK(f.code == 0);
    CHECK(f.out.empty());
    CHECK(read_file(folder / "report.html") == page);
    CHECK(snapshot(folder).size() == others.size());
  }
}

TEST_CASE("a page shows markup in the data as text") {
  const std::string markup = "<b>&<img src=//x>";
  const Runs runs(json_line(markup, "<i>"));
  const auto run =
      runs.train("run", Words{"--method", "eso", "--active-epochs", "all", "--max-response-tokens", "2"});
  const std::string page = read_file(run / "report.html");
  CHECK(page.find(markup) == std::string::npos);
  CHECK(page.find("<img") == std::string::npos);
  CHECK(page.find("&lt;b&gt;&amp;&lt;img") != std::string::npos);
}

TEST_CASE("eso report refuses what is no run and writes nothing") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  write_file(folder / "file", "kept");
  const auto refuse = [&](const std::string& name) {
    CHECK(not_refused(program({"report", (folder / name).string()}), {(folder / name).string()}) == "");
  };
  for (const char* name : {"empty", "file", "none"}) refuse(name);
  write_file(folder / "empty" / "metrics.jsonl", "{\"step\":1}\nno json\n");
  CHECK(not_refused(program({"report", (folder / "empty").string()}), {"metrics.jsonl:2:"}) == "");
  fs::remove(folder / "empty" / "metrics.jsonl");
  write_file(folder / "empty" / "comparison.json", "{\"methods\": 3}");
  CHECK(not_refused(program({"report", (folder / "empty").string()}), {"comparison.json"}) == "");
  CHECK(TemporaryFolder::names_in(folder / "empty") == std::set<std::string>{"comparison.json"});
  CHECK(not_refused(program({"report"}), {"DIR"}) == "");
}

TEST_CASE("compare refuses names of arms that its own files have") {
  const Comparisons c;
  for (const char* name : {"comparison.json", "report.html"}) {
    CHECK(not_refused(c.call({"--arm", std::string(name) + ": --method sft"}), {"--arm", name}) == "");
    CHECK(!fs::exists(c.output));
    fs::remove_all(c.output);
  }
}

TEST_CASE("compare refuses what one of its arms cannot use before it makes anything") {
  const Comparisons c;
  write_file(c / "bad.jsonl", json_line("a", "b") + "{}\n");
  const Words differs[] = {{"--data " + (c / "bad.jsonl").string(), "bad.jsonl:2:"},
                           {"--model " + (c / "none").string(), "none"},
                           {"--threads 5000", "--threads"}};
  for (const Words& one : differs) {
    INFO(one[0]);
    CHECK(not_refused(c.call({"--methods", "sft", "--arm", "a: --method eso " + one[0]}), {one[1]}) == "");
    CHECK(!fs::exists(c.output));
    fs::remove_all(c.output);
  }
}

TEST_CASE("a config file in an arm is read or refused, never ignored") {
  const Comparisons c;
  const Finished f = c.call({"--arm", "a: --method sft --config " + (c / "none.toml").string()});
  CHECK(not_refused(f, {"none.toml"}) == "");
}

TEST_CASE("compare names the flag that is missing or wrong") {
  const Comparisons c;
  Words call = c.arguments({"--methods", "sft"});
  call.erase(call.begin() + 9, call.begin() + 11);
  CHECK(not_refused(program(call), {"--output", "required"}) == "");
  CHECK(not_refused(c.call({"--methods", "sft", "--curve", "-1"}), {"--curve"}) == "");
}
