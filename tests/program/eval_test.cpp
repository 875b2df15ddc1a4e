// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <sstream>

#include "run_program.hpp"

namespace {

using Json = nlohmann::json;

/// Six examples; the third is longer than the context of 20 tokens, the fourth line is blank.
const std::string data =
    "{\"prompt\":\"!(\",\"response\":\"one two\"}\n{\"prompt\":\"the\",\"response\":\"three\"}\n"
    "{\"prompt\":\"aaaaaaaaaaaaaaaaaaaaaaaa\",\"response\":\"x\"}\n\n"
    "{\"prompt\":\"Q\",\"response\":\"P Q "
    "R\",\"more\":1}\n{\"prompt\":\"zz\",\"response\":\"e\"}\n{\"prompt\":\"%\",\"response\":\"% %\"}\n";

struct Files {
  TemporaryFolder folder;
  std::string examples = (folder / "data.jsonl").string(), output = (folder / "eval.json").string(),
              predictions = (folder / "predictions.jsonl").string();

  explicit Files(const std::string& content = data) { write_file(examples, content); }

  Finished call(std::vector<std::string> more = {}, const std::string& model = golden_model("plain")) const {
    std::vector<std::string> arguments{"eval",   "--backend",     "eigen",    "--model",         model,
                                       "--data", examples,        "--format", "prompt-response", "--output",
                                       output,   "--predictions", predictions};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return program(arguments);
  }

  Json results() const { return Json::parse(read_file(output)); }
  std::vector<Json> lines() const { return Finished{0, read_file(predictions), {}}.lines(); }
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

TEST_CASE("eso eval ends with its figures in a short table on standard error") {
  const Files files;
  const Finished f = files.call({"--temperature", "0.5,0", "--seeds", "1,2", "--max-response-tokens", "9"});
  REQUIRE(f.code == 0);
  CHECK(f.out.empty());
  const Json results = files.results();
  std::map<std::string, std::vector<std::string>> rows;
  std::istringstream in(f.err);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name, word;
    words >> name;
    while (words >> word) rows[name].push_back(word);
  }
  for (const auto& [name, result] :
       {std::pair("T=0.5", results["results"][0]), std::pair("greedy", results["results"][1])}) {
    INFO(name);
    REQUIRE(rows.count(name) == 1);
    const std::vector<std::string>& row = rows.at(name);
    REQUIRE(row.size() == 7);
    std::size_t column = 0;
    for (const char* field : {"rouge1", "rouge2", "rougeL", "length"}) {
      const double factor = column == 3 ? 1 : 100;
      CHECK(row[column++] == fmt::format("{:.1f}±{:.1f}", factor * result[field]["mean"].get<double>(),
                                         factor * result[field]["std"].get<double>()));
    }
    CHECK(row[4] == fmt::format("{:.2f}", result["entropy"]["mean"].get<double>()));
    CHECK(row[5] == fmt::format("{:.0f}", 100 * result["eos_rate"]["mean"].get<double>()));
  }
  REQUIRE(files.call({"--temperature", "1", "--seeds", "1", "--max-response-tokens", "9"}).code ==
          0);  // no spread
}

TEST_CASE("eso eval's results are those of its predictions") {
  const Files files;
  const Finished f =
      files.call({"--temperature", "1,0", "--seeds", "10,20,30", "--max-response-tokens", "9"});
  REQUIRE(f.code == 0);
  CHECK(f.out.empty());
  CHECK(f.err.find("dropped 1 example") != std::string::npos);
  const Json results = files.results();
  CHECK(results["model"] == golden_model("plain"));
  CHECK(results["data"] == files.examples);
  CHECK(results["examples"] == 5);
  REQUIRE(results["results"].size() == 2);
  const std::vector<Json> lines = files.lines();
  REQUIRE(lines.size() == 5 * 3 + 5);
  std::map<std::pair<double, int>, std::map<std::string, std::vector<double>>> passes;
  for (const Json& line : lines) {
    auto& pass = passes[{line["temperature"].get<double>(), line["seed"].get<int>()}];
    const auto scores = program({"rouge", "--stemmer"},
                                Json{{"target", line["reference"]}, {"prediction", line["response"]}}.dump())
                            .lines();
    for (const char* name : {"rouge1", "rouge2", "rougeL"}) {
      CHECK(line[name].get<double>() == scores.at(0)[name].get<double>());
      pass[name].push_back(line[name].get<double>());
    }
    pass["length"].push_back(static_cast<double>(line["response_ids"].size()));
    pass["eos_rate"].push_back(line["finish"] == "eos" ? 1 : 0);
  }
  for (const Json& result : results["results"]) {
    CHECK(result["seeds"] == Json{10, 20, 30});
    const double temperature = result["temperature"].get<double>();
    for (const char* name : {"rouge1", "rouge2", "rougeL", "length", "eos_rate"}) {
      INFO(name << " at " << temperature);
      std::vector<double> values;
      for (const int seed : {10, 20, 30}) {
        if (temperature != 0 || seed == 10) values.push_back(mean(passes.at({temperature, seed}).at(name)));
      }
      double squares = 0;
      for (const double value : values) squares += (value - mean(values)) * (value - mean(values));
      CHECK(result[name]["mean"].get<double>() == Approx(mean(values)));
      CHECK(result[name]["std"].get<double>() == Approx(temperature == 0 ? 0 : std::sqrt(squares / 2)));
    }
    CHECK(result["entropy"]["mean"].get<double>() > 0);
    CHECK(result["entropy"]["mean"].get<double>() < std::log(101));
  }
}

TEST_CASE("eso eval --examples takes the first of the file, those that are too long among them") {
  const Files files;
  REQUIRE(files.call({"--examples", "4", "--temperature", "0"}).code == 0);
  const auto lines = files.lines();
  REQUIRE(lines.size() == 3);  // the third does not fit, the fourth stands on the fifth line
  CHECK(lines[0]["example"] == 0);
  CHECK(lines[1]["example"] == 1);
  CHECK(lines[2]["example"] == 4);
  CHECK(files.results()["examples"] == 3);
}

TEST_CASE("eso eval draws the responses that eso generate draws as sample 0") {
  const Files files;
  REQUIRE(files.call({"--temperature", "1", "--seeds", "7"}).code == 0);
  // Prompts on the lines of the examples.
  const auto drawn = program({"generate", "--model", golden_model("plain"), "--seed", "7"},
                             "{\"prompt\":\"!(\"}\n{\"prompt\":\"the\"}\n\n\n{\"prompt\":\"Q\"}\n{\"prompt\":"
                             "\"zz\"}\n{\"prompt\":\"%\"}\n")
                         .lines();
  const auto lines = files.lines();
  REQUIRE(lines.size() == 5);
  REQUIRE(drawn.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(lines[i]["example"] == drawn[i]["prompt"]);
    CHECK(lines[i]["response_ids"] == drawn[i]["response_ids"]);
    CHECK(lines[i]["response"] == drawn[i]["response"]);
  }
}

TEST_CASE("eso eval's nll is that of eso score for the references with their end") {
  const Files files;
  REQUIRE(files.call({"--temperature", "0", "--seeds", "1", "--max-response-tokens", "4"}).code == 0);
  // "one two" is cut to "one ", "P Q R" to "P Q ", and "three" is "th", "r", "e", "e": no room for an end.
  // The others have it.
  const auto cut =
      program({"score", "--model", golden_model("plain"), "--no-eos"},
              "{\"prompt\":\"!(\",\"response\":\"one "
              "\"}\n{\"prompt\":\"the\",\"response\":\"three\"}\n{\"prompt\":\"Q\",\"response\":\"P Q \"}\n")
          .lines();
  const auto whole =
      program({"score", "--model", golden_model("plain")},
              "{\"prompt\":\"zz\",\"response\":\"e\"}\n{\"prompt\":\"%\",\"response\":\"% %\"}\n")
          .lines();
  double sum = 0, tokens = 0;
  for (const auto& lines : {cut, whole}) {
    for (const Json& line : lines) {
      sum -= line["sum"].get<double>();
      tokens += static_cast<double>(line["logp"].size());
    }
  }
  CHECK(tokens == 4 + 4 + 4 + 2 + 4);
  CHECK(files.results()["nll"].get<double>() == Approx(sum / tokens));
}

TEST_CASE("eso eval with one seed has no standard deviation") {
  const Files files;
  REQUIRE(files.call({"--temperature", "1,0", "--seeds", "3"}).code == 0);
  const Json results = files.results();
  for (const Json& result : results["results"]) {
    for (const char* name : {"rouge1", "length", "entropy", "eos_rate"}) CHECK(result[name]["std"].is_null());
  }
}

TEST_CASE("eso eval's entropy is that of the distribution drawn from, of temperature 1 for greedy") {
  const Files files("{\"prompt\":\"!\",\"response\":\"a\"}\n");
  REQUIRE(files.call({"--temperature", "1000,1,0.01,0", "--seeds", "3", "--max-response-tokens", "1"}).code ==
          0);
  const Json results = files.results()["results"];
  CHECK(results[0]["entropy"]["mean"].get<double>() == Approx(std::log(101)).epsilon(1e-3));
  CHECK(results[2]["entropy"]["mean"].get<double>() < 0.1);
  // One token after one prompt: the same distribution at temperature 1 and greedy. Computed again from all
  // 101 scores.
  std::string input;
  for (int id = 0; id <= 100; ++id)
    input += fmt::format("{{\"prompt_ids\":[0],\"response_ids\":[{}]}}\n", id);
  double entropy = 0;
  for (const Json& line : program({"score", "--model", golden_model("plain")}, input).lines()) {
    entropy -= std::exp(line["sum"].get<double>()) * line["sum"].get<double>();
  }
  CHECK(results[1]["entropy"]["mean"].get<double>() == Approx(entropy).epsilon(1e-4));
  CHECK(results[3]["entropy"]["mean"].get<double>() == Approx(entropy).epsilon(1e-4));
}

TEST_CASE("eso eval takes the first lines and gives the same on another batch size and threads") {
  const Files files;
  REQUIRE(files.call({"--examples", "2", "--seeds", "1,2", "--threads", "2"}).code == 0);
  const Json first = files.results();
  const auto lines = files.lines();
  CHECK(first["examples"] == 2);
  CHECK(lines.back()["example"] == 1);
  REQUIRE(files.call({"--examples", "2", "--seeds", "1,2", "--threads", "2"}).code == 0);
  CHECK(files.results() == first);
  REQUIRE(files.call({"--examples", "2", "--seeds", "1,2", "--threads", "1", "--batch-size", "1"}).code == 0);
  CHECK(files.results()["results"][0]["rougeL"] == first["results"][0]["rougeL"]);
  CHECK(files.results()["nll"].get<double>() == Approx(first["nll"].get<double>()));
}

TEST_CASE("eso eval refuses bad calls and data, and leaves the files there alone") {
  const Files files;
  write_file(files.output, "kept");
  const auto refuse = [&](const std::vector<std::string>& arguments,
                          const std::vector<std::string>& fragments) {
    std::vector<std::string> all{"eval"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    CHECK(not_refused(program(all), fragments) == "");
    CHECK(read_file(files.output) == "kept");
  };
  const std::string model = golden_model("plain"), d = files.examples, o = files.output;
  refuse({"--data", d, "--format", "prompt-response", "--output", o}, {"--model", "required"});
  refuse({"--model", model, "--format", "prompt-response", "--output", o}, {"--data", "required"});
  refuse({"--model", model, "--data", d, "--output", o}, {"--format"});
  refuse({"--model", model, "--data", d, "--format", "prompt-response"}, {"--output", "required"});
  refuse({"--model", model, "--data", d, "--format", "alpaca", "--output", o},
         {"--format", "alpaca", "debsum"});
  refuse({"--model", model, "--data", d, "--format", "text", "--output", o}, {"--format", "text"});
  refuse({"--model", model, "--data", d, "--format", "debsum", "--output", o}, {d + ":1:", "\"document\""});
  refuse({"--model", model, "--data", d + "x", "--format", "debsum", "--output", o}, {d + "x"});
  const std::vector<std::string> good{"--model",         model,      "--data", d, "--format",
                                      "prompt-response", "--output", o};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), good.begin(), good.end());
    return more;
  };
  refuse(with({"--seeds", "1,1"}), {"--seeds"});
  refuse(with({"--seeds", "-1"}), {"--seeds", "-1"});
  refuse(with({"--seeds", "18446744073709551616"}), {"--seeds"});
  refuse(with({"--temperature", "1,-0.5"}), {"--temperature", "-0.5"});
  refuse(with({"--temperature", "warm"}), {"--temperature", "warm"});
  refuse(with({"--examples", "-2"}), {"--examples", "-2"});
  refuse(with({"--batch-size", "0"}), {"--batch-size", "0"});
  refuse(with({"--max-prompt-tokens", "0"}), {"--max-prompt-tokens"});
  refuse(with({"--max-response-tokens", "0"}), {"--max-response-tokens"});
  refuse(with({"--top-p", "0"}), {"--top-p"});
  refuse(with({"--predictions", (files.folder / "none" / "p").string()}), {"--predictions", "none"});
  refuse(with({"--predictions", files.folder.path().string()}), {"--predictions", "folder"});
  write_file(files.examples, "\n\n");
  refuse(good, {files.examples});
  write_file(files.examples, "{\"prompt\":\"" + std::string(50, 'a') + "\",\"response\":\"b\"}\n");
  refuse(good, {files.examples, "no example"});
  write_file(files.examples,
             "{\"prompt\":\"a\",\"response\":\"b\"}\n\n{\"prompt\":\"\",\"response\":\"b\"}\n");
  refuse(with({"--bad-rows", "refuse"}), {files.examples + ":3", "empty prompt"});
  write_file(files.examples, "{\"prompt\":\"\",\"response\":\"b\"}\n");
  refuse(good, {files.examples, "no example is left", "empty prompt"});
  write_file(files.folder / "data.jsonl.gz", "no gzip");
  refuse({"--model", model, "--data", (files.folder / "data.jsonl.gz").string(), "--format", "debsum",
          "--output", o},
         {"data.jsonl.gz"});
  CHECK(!std::filesystem::exists(files.predictions));
}
