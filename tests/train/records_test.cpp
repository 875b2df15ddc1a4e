// SPDX-License-Identifier: MIT
#include "eso/train/records.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace eso;
using nlohmann::json;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Token 0 is the end of sequence, 1 is a, 2 is b and so on.
struct Letters {
  Tokens encode(std::string_view text) const {
    Tokens ids;
    for (const char c : text) ids.push_back(c - 'a' + 1);
    return ids;
  }
  std::string decode(std::span<const TokenId> ids, bool skip_special) const {
    std::string text;
    for (const TokenId id : ids) {
      if (id > 0) text += static_cast<char>('a' + id - 1);
      if (id == 0 && !skip_special) text += "<end>";
    }
    return text;
  }
  Index vocabulary_size() const { return 27; }
};

Response drawn(Index prompt, Kind kind, Index sample, Tokens tokens, double reward, double entropy) {
  Response response;
  response.prompt = prompt;
  response.kind = kind;
  response.sample = sample;
  response.tokens = std::move(tokens);
  response.finished = response.tokens.back() == 0;
  response.temperature = kind == Kind::greedy ? 0 : 1.5 + static_cast<double>(sample);
  response.reward = reward;
  response.entropy = entropy;
  response.entropy_drawn = 100;
  response.logp.assign(response.tokens.size(), -.5);
  return response;
}

Response target(Index prompt, Tokens tokens) {
  Response response = drawn(prompt, Kind::target, 0, std::move(tokens), not_a_number, 1000);
  response.temperature = not_a_number;
  response.logp.clear();
  return response;
}

/// Prompts 0 and 2 with two samples and a greedy response each, prompt 1 with none, in no order by prompt.
///
///     prompt 0: rewards .1 and .4 in 3 and 1 tokens      prompt 2: rewards .5 and .5 in 2 and 4 tokens
struct Fixture {
  std::vector<Example> examples{
      {.prompt = {8, 9}, .target = {1, 0}, .number = 40, .prompt_text = "hi", .reference = "a"},
      {.prompt = {15}, .target = {2, 0}, .number = 3, .prompt_text = "o", .reference = "b"},
      {.prompt = {25}, .target = {3, 0}, .number = 7, .prompt_text = "y", .reference = "c"}};
  Step step;

  Fixture() {
    step.number = 12;
    step.steps = 90;
    step.epoch = 1.25;
    step.active = true;
    step.loss = 2.5;
    step.parts = {{"loss/sft", 2}, {"loss/eso", 10}};
    step.gradient_norm = 3;
    step.learning_rate = 1e-4;
    step.updated = true;
    step.tokens = 1234;
    step.times = {.total = 6, .sample = 1, .reward = .5, .forward = 2, .backward = 1.5, .update = .25};
    for (const Example& example : examples) {
      step.examples.push_back(&example);
      step.batch.prompts.push_back({example.prompt, example.number});
    }
    for (Index p = 0; p < 3; ++p) step.batch.responses.push_back(target(p, {1, 2, 3, 4, 5, 6, 7}));
    step.batch.responses.push_back(drawn(2, Kind::greedy, 0, {3, 1, 2, 1, 2, 1, 2, 1}, .9, 50));
    step.batch.responses.push_back(drawn(2, Kind::sample, 0, {3, 0}, .5, 2));
    step.batch.responses.push_back(drawn(2, Kind::sample, 1, {3, 2, 1, 0}, .5, 1.5));
    step.batch.responses.push_back(drawn(0, Kind::greedy, 0, {1, 0}, .3, 50));
    step.batch.responses.push_back(drawn(0, Kind::sample, 0, {1, 2, 0}, .1, 1));
    step.batch.responses.push_back(drawn(0, Kind::sample, 1, {2}, .4, .5));
  }
  Fixture(const Fixture&) = delete;  // the step points into it

  void without_samples() {
    step.active = false;
    step.parts = {{"loss/sft", 2}};
    step.batch.responses.resize(3);
  }
};

std::set<std::string> names(const json& record) {
  std::set<std::string> result;
  for (const auto& [name, value] : record.items()) result.insert(name);
  return result;
}

/// What a reader of the file gets.
json read_back(const nlohmann::ordered_json& record) { return json::parse(record.dump()); }

}  // namespace

TEST_CASE("the statistics of samples by hand", "[records]") {
  const Fixture f;
  const std::optional<SampleStatistics> s = sample_statistics(f.step.batch);
  REQUIRE(s);
  // .1 + .4 + .5 + .5 = 1.5; squared distances to .375 are .075625, .000625 and twice .015625, in all .1075
  CHECK(s->reward == Approx(.375).epsilon(1e-15));
  CHECK(s->reward_std == Approx(std::sqrt(.1075 / 3)).epsilon(1e-14));
  // 1 + .5 + 2 + 1.5 nats in 3 + 1 + 2 + 4 tokens, not the mean of 1/3, 1/2, 1 and 3/8
  CHECK(s->entropy == Approx(.5).epsilon(1e-15));
  CHECK(s->mean_length == 2.5);
  CHECK(s->min_length == 1);
  CHECK(s->max_length == 4);
  CHECK(s->clipped_ratio == .25);
  CHECK(s->frac_reward_zero_std == .5);  // prompt 2 of the two that have samples
}

TEST_CASE("rewards that are equal have no deviation, also where their sum is rounded", "[records]") {
  Batch batch;
  batch.prompts.resize(1);
  for (Index j = 0; j < 3; ++j) batch.responses.push_back(drawn(0, Kind::sample, j, {1}, .1, 0));
  CHECK(sample_statistics(batch)->reward == .1);
  CHECK(sample_statistics(batch)->reward_std == 0);
  CHECK(sample_statistics(batch)->frac_reward_zero_std == 1);
  CHECK(sample_statistics(batch)->clipped_ratio == 1);
  batch.responses[2].reward = std::nextafter(.1, 1);
  CHECK(sample_statistics(batch)->frac_reward_zero_std == 0);
}

TEST_CASE("a batch without samples has no statistics of them, a single sample has", "[records]") {
  Batch batch;
  CHECK_FALSE(sample_statistics(batch));
  batch.prompts.resize(1);
  batch.responses = {target(0, {1}), drawn(0, Kind::greedy, 0, {1, 0}, .5, 1)};
  CHECK_FALSE(sample_statistics(batch));
  batch.responses.push_back(drawn(0, Kind::sample, 0, {1, 2}, .25, 3));
  const auto s = sample_statistics(batch);
  REQUIRE(s);
  CHECK(s->reward == .25);
  CHECK(s->reward_std == 0);
  CHECK(s->entropy == 1.5);
  CHECK(s->min_length == 2);
}

TEST_CASE("the metrics of a step that draws", "[records]") {
  const Fixture f;
  const json record = read_back(metrics_record(f.step));
  json expected = json::parse(R"({"step": 12, "epoch": 1.25, "loss": 2.5, "loss/sft": 2, "loss/eso": 10,
      "grad_norm": 3, "learning_rate": 1e-4, "num_tokens": 1234, "step_time": 6, "active": true,
      "completions/mean_length": 2.5, "completions/min_length": 1, "completions/max_length": 4,
      "completions/clipped_ratio": 0.25, "frac_reward_zero_std": 0.5, "time/sample": 1, "time/reward": 0.5,
      "time/forward": 2, "time/backward": 1.5, "time/update": 0.25})");
  const SampleStatistics s = *sample_statistics(f.step.batch);  // by hand above
  expected["reward"] = s.reward;
  expected["reward_std"] = s.reward_std;
  expected["entropy"] = s.entropy;
  CHECK(record == expected);
}

TEST_CASE("the metrics of a step that draws nothing", "[records]") {
  Fixture f;
  f.without_samples();
  CHECK(read_back(metrics_record(f.step)) ==
        json::parse(R"({"step": 12, "epoch": 1.25, "loss": 2.5, "loss/sft": 2, "grad_norm": 3,
            "learning_rate": 1e-4, "num_tokens": 1234, "step_time": 6, "active": false})"));
}

TEST_CASE("metrics begin with the step, in one line, and read back to the same values", "[records]") {
  Fixture f;
  f.step.loss = 1.0 / 3;
  f.step.gradient_norm = 1e-300;
  const std::string line = metrics_record(f.step).dump();
  CHECK(line.rfind(R"({"step":12,"epoch":1.25,"loss":0.333)", 0) == 0);
  CHECK(line.find('\n') == std::string::npos);
  CHECK(json::parse(line)["loss"] == 1.0 / 3);
  CHECK(json::parse(line)["grad_norm"] == 1e-300);
}

TEST_CASE("a step that was left out says so, and its numbers are null", "[records]") {
  Fixture f;
  CHECK_FALSE(metrics_record(f.step).contains("updated"));
  f.step.updated = false;
  f.step.loss = not_a_number;
  f.step.gradient_norm = infinity;
  f.step.parts = {{"loss/sft", -infinity}, {"loss/eso", 10}, {"rewards/margins", .5}};
  const json record = read_back(metrics_record(f.step));
  CHECK(record["updated"] == false);
  for (const char* name : {"loss", "grad_norm", "loss/sft"}) {
    REQUIRE(record.contains(name));
    CHECK(record[name].is_null());
  }
  CHECK(record["loss/eso"] == 10);
  CHECK(record["rewards/margins"] == .5);  // a part has the name that its loss gave it
}

TEST_CASE("completions stand as the examples in the batch, then by kind and sample", "[records]") {
  const Fixture f;
  std::vector<std::string> order;
  for (const json record : completion_records(f.step, Letters{})) {
    order.push_back(record["example"].dump() + " " + record["kind"].get<std::string>() + " " +
                    record["sample"].dump() + " " + record["response"].get<std::string>());
  }
  CHECK(order == std::vector<std::string>{"40 sample 0 ab", "40 sample 1 b", "40 greedy 0 a", "7 sample 0 c",
                                          "7 sample 1 cba", "7 greedy 0 cabababa"});
}

TEST_CASE("a completion by hand", "[records]") {
  const Fixture f;
  const auto records = completion_records(f.step, Letters{});
  REQUIRE(records.size() == 6);
  json first = read_back(records[0]);
  CHECK(first["advantage"].get<double>() == Approx(-.15).epsilon(1e-14));  // .1 - (.1 + .4) / 2
  first.erase("advantage");
  CHECK(first == json::parse(R"({"step": 12, "example": 40, "sample": 0, "kind": "sample", "temperature": 1.5,
      "prompt": "hi", "prompt_ids": [8, 9], "response": "ab", "response_ids": [1, 2, 0],
      "logp": [-0.5, -0.5, -0.5], "reward": 0.1, "finish": "eos", "reference": "a"})"));
  const json second = read_back(records[1]);
  CHECK(names(second) == names(read_back(records[0])));
  CHECK(second["temperature"] == 2.5);
  CHECK(second["advantage"].get<double>() == Approx(.15).epsilon(1e-14));
  CHECK(second["finish"] == "length");
  CHECK(records[3]["advantage"] == 0);  // equal rewards
  CHECK(records[3]["reference"] == "c");
}

TEST_CASE("a greedy completion has a reward, temperature 0 and no advantage", "[records]") {
  const Fixture f;
  const auto records = completion_records(f.step, Letters{});
  REQUIRE(records.size() == 6);
  const json greedy = read_back(records[5]);
  CHECK(names(greedy) == names(read_back(records[0])));
  CHECK(greedy["advantage"].is_null());
  CHECK(greedy["reward"] == .9);
  CHECK(greedy["temperature"] == 0);
  CHECK(greedy["finish"] == "length");
}

TEST_CASE("an end of sequence at once is an empty completion, and a logp of minus infinity null",
          "[records]") {
  Fixture f;
  Response& response = f.step.batch.responses.back();
  response.tokens = {0};
  response.finished = true;
  response.logp = {-infinity};
  const json record = read_back(completion_records(f.step, Letters{})[1]);
  CHECK(record["response"] == "");
  CHECK(record["response_ids"] == json{0});
  CHECK(record["logp"] == json::array({nullptr}));
  CHECK(record["finish"] == "eos");
}

TEST_CASE("a step that draws nothing has no completions", "[records]") {
  Fixture f;
  f.without_samples();
  CHECK(completion_records(f.step, Letters{}).empty());
}
