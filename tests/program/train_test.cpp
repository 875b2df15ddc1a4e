// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

const std::set<std::string> always{"step",          "epoch",      "loss",      "loss/sft", "grad_norm",
                                   "learning_rate", "num_tokens", "step_time", "active"};
const std::set<std::string> while_active{"loss/eso",
                                         "reward",
                                         "reward_std",
                                         "entropy",
                                         "completions/mean_length",
                                         "completions/min_length",
                                         "completions/max_length",
                                         "completions/clipped_ratio",
                                         "frac_reward_zero_std",
                                         "time/sample",
                                         "time/reward",
                                         "time/forward",
                                         "time/backward",
                                         "time/update"};

std::set<std::string> keys_of(const Json& object) {
  std::set<std::string> keys;
  for (const auto& field : object.items()) keys.insert(field.key());
  return keys;
}

double sum(const Json& values) {
  double total = 0;
  for (const Json& value : values) total += value.get<double>();
  return total;
}

std::vector<Json> of_step(const std::vector<Json>& completions, int step) {
  std::vector<Json> found;
  for (const Json& line : completions) {
    if (line.at("step") == step) found.push_back(line);
  }
  return found;
}

/// Log-probabilities of responses by `eso score`.
std::vector<Json> scored(const std::string& model, const std::string& input, const Words& more = {}) {
  const Finished f = program(Words{"score", "--model", model} + more, input);
  if (f.code != 0) throw std::runtime_error(f.err);
  return f.lines();
}

}  // namespace

TEST_CASE("eso train leaves the files of a run and nothing else") {
  const Runs runs;
  const Finished f = program(runs.call("run", Runs::small() + Words{"--method", "eso", "--epochs", "2"}));
  REQUIRE(f.code == 0);
  CHECK(f.out.empty());
  CHECK(runs.folder.names() == std::set<std::string>{"data.jsonl", "run"});
  CHECK(TemporaryFolder::names_in(runs / "run") == std::set<std::string>{"config.toml", "metrics.jsonl",
                                                                         "completions.jsonl", "checkpoints",
                                                                         "model", "report.html"});
  CHECK(TemporaryFolder::names_in(runs / "run/checkpoints") == std::set<std::string>{"step-4"});
  CHECK(TemporaryFolder::names_in(runs / "run/model") ==
        std::set<std::string>{"config.json", "model.safetensors", "vocab.json", "merges.txt",
                              "special_tokens_map.json"});
  for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json"}) {
    CHECK(read_file(runs / "run/model" / name) == read_file(golden_model("plain") + "/" + name));
  }
}

TEST_CASE("eso train makes missing folders on the way and takes an empty one") {
  const Runs runs;
  const Words few = Runs::small() + Words{"--method", "sft", "--max-steps", "1"};
  CHECK(weights_of(runs.train("far/away", few)).bytes.size() > 50000);
  std::filesystem::create_directory(runs / "empty");
  CHECK(weights_of(runs.train("empty", few)) == weights_of(runs / "far/away"));
}

TEST_CASE("metrics.jsonl has the fields of the method in the epochs in which it is on and in no other") {
  const Runs runs;
  const auto run = runs.train("run", Runs::small() + Words{"--method", "eso", "--epochs", "3"});
  const std::vector<Json> lines = json_lines(run / "metrics.jsonl");
  REQUIRE(lines.size() == 6);
  std::set<std::string> both = always;
  both.insert(while_active.begin(), while_active.end());
  const double epochs[] = {4. / 7, 1, 11. / 7, 2, 18. / 7, 3};
  for (std::size_t i = 0; i < 6; ++i) {
    INFO("line " << i + 1);
    CHECK(lines[i].at("step") == i + 1);
    CHECK(lines[i].at("epoch").get<double>() == Approx(epochs[i]));
    CHECK(lines[i].at("active") == (i >= 4));
    CHECK(keys_of(lines[i]) == (i >= 4 ? both : always));
    CHECK(lines[i].at("step_time").get<double>() >= 0);
    if (i < 4) CHECK(lines[i].at("loss") == lines[i].at("loss/sft"));
  }
  for (const Json& line : json_lines(run / "completions.jsonl")) CHECK(line.at("step").get<int>() >= 5);
}

TEST_CASE("eso train --active-epochs decides in which epochs the method is on") {
  const Runs runs;
  const std::pair<const char*, std::vector<bool>> cases[] = {{"last", {false, false, true}},
                                                             {"all", {true, true, true}},
                                                             {"all-but-last", {true, true, false}},
                                                             {"from:2", {false, true, true}}};
  for (const auto& [name, active] : cases) {
    INFO(name);
    const auto run = runs.train(name, Words{"--method", "eso", "--epochs", "3", "--batch-size", "7",
                                            "--max-response-tokens", "4", "--active-epochs", name});
    const std::vector<Json> lines = metrics_of(run);
    REQUIRE(lines.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) CHECK(lines[i].at("active") == active[i]);
  }
}

TEST_CASE("sft and pretrain have no method, so no field of one and no completion") {
  const Runs runs;
  for (const Words& method : {Words{"--method", "sft"}, Words{"--method", "pretrain"}}) {
    INFO(method[1]);
    const auto run = runs.train(method[1], Runs::small() + method + Words{"--epochs", "2"});
    for (const Json& line : json_lines(run / "metrics.jsonl")) {
      CHECK(keys_of(line) == always);
      CHECK(line.at("active") == false);
      CHECK(line.at("loss") == line.at("loss/sft"));
    }
    CHECK(std::filesystem::exists(run / "completions.jsonl"));
    CHECK(read_file(run / "completions.jsonl").empty());
  }
  CHECK(json_lines(runs / "sft" / "metrics.jsonl").size() == 4);
}

TEST_CASE("a lambda of 0 samples and reports, and moves the model as SFT alone does") {
  const Runs runs;
  const Words rate{"--optimizer", "sgd", "--learning-rate", "0.1", "--max-steps", "2"};
  const auto eso = runs.train("eso", Runs::active() + rate + Words{"--eso-lambda", "0"});
  const auto sft = runs.train("sft", Runs::small() + rate + Words{"--method", "sft"});
  for (const Json& line : json_lines(eso / "metrics.jsonl")) {
    CHECK(line.at("active") == true);
    for (const std::string& key : while_active) CHECK(line.contains(key));
    CHECK(line.at("loss").get<double>() == line.at("loss/sft").get<double>());
  }
  CHECK(json_lines(eso / "completions.jsonl").size() == 2 * 4 * 4 - 4);  // the second batch has three
  CHECK(largest(subtract(eso / "model", sft / "model")) < 1e-6);
}

TEST_CASE("the metrics of a step are those of its completions") {
  const Runs runs;
  const auto run = runs.train("run", Runs::active() + Words{"--epochs", "4", "--eso-lambda", "0.3"});
  const std::vector<Json> completions = json_lines(run / "completions.jsonl");
  double most_loss = 0;
  for (const Json& line : json_lines(run / "metrics.jsonl")) {
    const std::vector<Json> samples = of_step(completions, line.at("step").get<int>());
    INFO("step " << line.at("step"));
    std::map<int, std::vector<const Json*>> prompts;
    std::vector<double> rewards;
    double tokens = 0, cut = 0, least = 1e9, most = 0;
    for (const Json& s : samples) {
      prompts[s.at("example").get<int>()].push_back(&s);
      rewards.push_back(s.at("reward").get<double>());
      const auto length = static_cast<double>(s.at("response_ids").size());
      tokens += length, least = std::min(least, length), most = std::max(most, length);
      cut += s.at("finish") == "length";
    }
    const auto count = static_cast<double>(samples.size());
    const double mean = sum(rewards) / count;
    double squares = 0, loss = 0, flat = 0;
    for (const double reward : rewards) squares += (reward - mean) * (reward - mean);
    for (const auto& [example, own] : prompts) {
      REQUIRE(own.size() == 4);
      double average = 0;
      for (const Json* s : own) average += (*s).at("reward").get<double>() / 4;
      bool equal = true;
      for (const Json* s : own) {
        loss += (average - (*s).at("reward").get<double>()) * sum((*s).at("logp"));
        equal = equal && (*s).at("reward") == (*own[0]).at("reward");
      }
      flat += equal;
    }
    const auto prompt_count = static_cast<double>(prompts.size());
    CHECK(line.at("reward").get<double>() == Approx(mean));
    CHECK(line.at("reward_std").get<double>() == Approx(std::sqrt(squares / (count - 1))));
    CHECK(line.at("completions/mean_length").get<double>() == Approx(tokens / count));
    CHECK(line.at("completions/min_length") == least);
    CHECK(line.at("completions/max_length") == most);
    CHECK(line.at("completions/clipped_ratio").get<double>() == Approx(cut / count));
    CHECK(line.at("frac_reward_zero_std").get<double>() == Approx(flat / prompt_count));
    CHECK(line.at("loss/eso").get<double>() == Approx(loss / prompt_count).margin(1e-5));
    CHECK(line.at("loss").get<double>() ==
          Approx(line.at("loss/sft").get<double>() + 0.3 * line.at("loss/eso").get<double>()));
    most_loss = std::max(most_loss, std::abs(loss));
  }
  CHECK(most_loss > 0.1);  // or nothing of this was tested
}

TEST_CASE("completions.jsonl has the fields, order and values that it should") {
  const Runs runs;
  const auto run = runs.train("run", Runs::active() + Words{"--no-shuffle", "--epochs", "2"});
  const std::vector<Json> lines = json_lines(run / "completions.jsonl");
  REQUIRE(lines.size() == 2 * 7 * 4);
  const std::vector<Json> examples = json_lines(runs.data);
  const double temperatures[] = {0.5, 1, 1.5, 2};
  std::string pairs;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    INFO("line " << i + 1);
    const Json& line = lines[i];
    CHECK(keys_of(line) == std::set<std::string>{"step", "example", "sample", "kind", "temperature", "prompt",
                                                 "prompt_ids", "response", "response_ids", "logp", "reward",
                                                 "advantage", "finish", "reference"});
    const std::size_t place = i / 4 % 7, epoch = i / 28;
    CHECK(line.at("step") == epoch * 2 + place / 4 + 1);
    CHECK(line.at("example") == place);
    CHECK(line.at("sample") == i % 4);
    CHECK(line.at("kind") == "sample");
    CHECK(line.at("temperature").get<double>() == temperatures[i % 4]);
    CHECK(line.at("prompt") == examples[place].at("prompt"));
    CHECK(line.at("reference") == examples[place].at("response"));
    const Json& ids = line.at("response_ids");
    CHECK(line.at("logp").size() == ids.size());
    REQUIRE((ids.size() >= 1 && ids.size() <= 8));
    CHECK(line.at("finish") == (ids.back() == 7 ? "eos" : "length"));
    if (line.at("finish") == "length") CHECK(ids.size() == 8);
    CHECK(std::count(ids.begin(), ids.end() - 1, Json(7)) == 0);
    Json mean = 0.0;
    for (std::size_t j = i / 4 * 4; j < i / 4 * 4 + 4; ++j)
      mean = mean.get<double>() + lines[j].at("reward").get<double>() / 4;
    CHECK(line.at("advantage").get<double>() ==
          Approx(line.at("reward").get<double>() - mean.get<double>()).margin(1e-12));
    pairs += Json{{"target", line.at("reference")}, {"prediction", line.at("response")}}.dump() + "\n";
  }
  const std::vector<Json> scores = program({"rouge", "--stemmer"}, pairs).lines();
  REQUIRE(scores.size() == lines.size());
  int earned = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CHECK(lines[i].at("reward").get<double>() == scores[i].at("rougeL").get<double>());
    earned += lines[i].at("reward").get<double>() > 0;
  }
  CHECK(earned > 3);
}

TEST_CASE("the first step's logp is that of eso score on the model at the start") {
  const Runs runs;
  const auto run = runs.train("run", Runs::active() + Words{"--max-steps", "2"});
  const std::vector<Json> completions = json_lines(run / "completions.jsonl");
  std::string input, texts;
  for (const Json& line : completions) {
    input +=
        Json{{"prompt_ids", line.at("prompt_ids")}, {"response_ids", line.at("response_ids")}}.dump() + "\n";
    texts += Json{{"text", line.at("prompt")}}.dump() + "\n";
  }
  const std::vector<Json> scores = scored(golden_model("plain"), input);
  const std::vector<Json> prompts =
      program({"tokenize", "--tokenizer", golden_model("plain")}, texts).lines();
  double largest_later = 0;
  for (std::size_t i = 0; i < completions.size(); ++i) {
    CHECK(completions[i].at("prompt_ids") == prompts.at(i).at("ids"));
    const Json& logp = completions[i].at("logp");
    for (std::size_t t = 0; t < logp.size(); ++t) {
      const double expected = scores.at(i).at("logp").at(t).get<double>();
      if (completions[i].at("step") == 1) {
        CHECK(logp[t].get<double>() == Approx(expected).margin(1e-5));
      } else {
        largest_later = std::max(largest_later, std::abs(logp[t].get<double>() - expected));
      }
    }
  }
  CHECK(largest_later > 1e-4);  // the second step's is that of the model after the first
}

TEST_CASE("the entropy is that of the next token at temperature 1") {
  const Runs runs(json_line("!", "e"));
  const auto run = runs.train("run", Words{"--method", "eso", "--active-epochs", "all", "--max-steps", "1",
                                           "--max-response-tokens", "1", "--temperatures", "0.1,5"});
  std::string input;
  for (int id = 0; id <= 100; ++id)
    input += fmt::format("{{\"prompt_ids\":[0],\"response_ids\":[{}]}}\n", id);
  double entropy = 0;
  for (const Json& line : scored(golden_model("plain"), input))
    entropy -= std::exp(line.at("sum").get<double>()) * line.at("sum").get<double>();
  CHECK(metrics_of(run).at(0).at("entropy").get<double>() == Approx(entropy).epsilon(1e-4));
}

TEST_CASE("the greedy baseline is recorded beside the samples and counted nowhere") {
  const Runs runs;
  const Words same = Runs::active() + Words{"--max-steps", "1", "--no-shuffle"};
  const auto run = runs.train("run", same + Words{"--eso-baseline", "greedy"});
  const auto plain = runs.train("plain", same);
  const std::vector<Json> lines = json_lines(run / "completions.jsonl");
  REQUIRE(lines.size() == 4 * 5);
  for (std::size_t i = 4; i < lines.size(); i += 5) {
    CHECK(lines[i].at("kind") == "greedy");
    CHECK(lines[i].at("temperature") == 0);
    CHECK(lines[i].at("advantage").is_null());
    CHECK(lines[i].at("reward").is_number());
    CHECK((lines[i].at("finish") == "eos" || lines[i].at("finish") == "length"));
  }
  const Json with = metrics_of(run).at(0), without = metrics_of(plain).at(0);
  for (const char* key : {"reward", "reward_std", "entropy", "completions/mean_length",
                          "completions/clipped_ratio", "frac_reward_zero_std"})
    CHECK(with.at(key).get<double>() == Approx(without.at(key).get<double>()));
}

TEST_CASE("eso train --log-every and --log-completions take every N-th step, 0 none") {
  const Runs runs;
  const auto run = runs.train(
      "run", Runs::active() + Words{"--epochs", "4", "--log-every", "3", "--log-completions", "2"});
  std::vector<int> steps;
  for (const Json& line : metrics_of(run)) steps.push_back(line.at("step").get<int>());
  CHECK(steps == std::vector<int>{3, 6});
  std::set<int> sampled;
  for (const Json& line : json_lines(run / "completions.jsonl")) sampled.insert(line.at("step").get<int>());
  CHECK(sampled == std::set<int>{2, 4, 6, 8});
  const auto none = runs.train(
      "none", Runs::active() + Words{"--epochs", "4", "--log-every", "0", "--log-completions", "0"});
  CHECK(read_file(none / "metrics.jsonl").empty());
  CHECK(read_file(none / "completions.jsonl").empty());
  CHECK(weights_of(none) == weights_of(run));
}
