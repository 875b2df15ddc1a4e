// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "eso/loss/dpo.hpp"
#include "eso/loss/drl.hpp"
#include "eso/loss/slic.hpp"
#include "eso/train/trainer.hpp"
#include "small_run.hpp"

using namespace small_run;

namespace {

/// Half the squared distance to `Batch::reference_logp`.
struct Distance {
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals&) const {
    check_shape("Distance", batch.reference_logp, batch);
    const LogProbs difference = logp - batch.reference_logp;
    return {.value = difference.square().sum() / 2, .d_logp = difference, .parts = {}};
  }
  Reads reads() const { return {.targets = true, .reference = true}; }
};

/// Responses of `Temperatures` that remembers what it was called with.
struct Watched {
  Temperatures inner = three_samples();
  std::vector<StepSeed>* seeds = nullptr;

  template <Generator G>
  std::vector<Response> operator()(G& generator, std::span<const Prompt> prompts, StepSeed seed) const {
    seeds->push_back(seed);
    return inner(generator, prompts, seed);
  }
};

/// A model with the overload of one that has dropout.
struct Dropping {
  TabularModel& inner;
  std::vector<StepSeed> seeds;

  LogProbs log_probs(const Batch&) { throw std::logic_error("not what training wants"); }
  LogProbs log_probs(const Batch& batch, StepSeed seed) {
    seeds.push_back(seed);
    return inner.log_probs(batch);
  }
  void backward(const LogProbs& d_logp) { inner.backward(d_logp); }
  ParameterList<double> parameters() { return inner.parameters(); }
};

}  // namespace

TEST_CASE("score sets the rewards of what was drawn and refuses those that are no numbers", "[trainer]") {
  const Kind spoilt = GENERATE(Kind::target, Kind::sample, Kind::greedy);
  Batch batch = testing::one_text(examples[3].prompt, {1});
  batch.responses.resize(3, batch.responses[0]);
  batch.responses[0].kind = Kind::target;
  batch.responses[2].kind = Kind::greedy;
  const auto reward = [&](const Response& r, const Example& e) {
    return r.kind == spoilt ? std::nan("") : static_cast<double>(e.number);
  };
  const std::vector<const Example*> of{&examples[3]};
  if (spoilt != Kind::target) {
    CHECK_THROWS_WITH(score(batch, of, reward), "reward: of sample 0 of example 43 is not finite, found nan");
    return;
  }
  score(batch, of, reward);
  CHECK(std::isnan(batch.responses[0].reward));  // a target has none
  CHECK(batch.responses[1].reward == 43);
  CHECK(batch.responses[2].reward == 43);
}

TEST_CASE("the sampler is called once a step, with the seed of the run and the number of the step",
          "[trainer]") {
  std::vector<StepSeed> seeds;
  TabularModel model = small_model();
  Trainer trainer{model, Watched{.seeds = &seeds}, oddness, combined, AdamW{}};
  trainer.epochs = 2, trainer.batch_size = 3, trainer.micro_batch_size = 1, trainer.seed = 9;
  trainer.active_epochs = ActiveEpochs::last();
  trainer.train(examples);
  REQUIRE(seeds.size() == 3);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CHECK(seeds[i].seed == 9);
    CHECK(seeds[i].step == 3 + i);
  }
}

TEST_CASE("prepare is called once a step, with the rewards set", "[trainer]") {
  int calls = 0;
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.active_epochs = ActiveEpochs::last();
  trainer.micro_batch_size = 1;
  trainer.prepare = [&](Batch& batch) {
    ++calls;
    CHECK(batch.prompt_count() == (calls % 3 == 0 ? 1 : 3));
    const auto drawn = std::ranges::count(batch.responses, Kind::sample, &Response::kind);
    CHECK(drawn == (calls > 6 ? 3 * batch.prompt_count() : 0));
    for (const Response& response : batch.responses) {
      CHECK(std::isfinite(response.reward) == (response.kind == Kind::sample));
    }
  };
  for (const Step& step : trainer.run(examples)) CHECK(calls == step.number);
}

TEST_CASE("what prepare does to the rewards is what the loss sees", "[trainer]") {
  const auto penalty = [](const Response& r) { return 0.25 * static_cast<double>(r.tokens.size()); };
  TabularModel one = small_model(), other = small_model(), plain = small_model();
  auto prepared = trainer_of(one), without = trainer_of(plain);
  prepared.prepare = [&](Batch& batch) {
    for (Response& r : batch.responses) r.reward -= penalty(r);
  };
  auto penalised = trainer_of(other, combined, AdamW{}, [&](const Response& r, const Example& e) {
    return oddness(r, e) - penalty(r);
  });
  for (auto* trainer : {&prepared, &without}) trainer->train(examples);
  penalised.train(examples);
  CHECK(values_of(one) == values_of(other));
  CHECK(values_of(one) != values_of(plain));
}

TEST_CASE("the reward of a step is the mean of what prepare left", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.prepare = [](Batch& batch) {
    for (Response& r : batch.responses)
      r.reward = r.kind == Kind::sample ? static_cast<double>(r.sample) : 100;
  };
  for (const Step& step : trainer.run(examples)) CHECK(step.reward == 1);  // of 0, 1 and 2
}

TEST_CASE("a reward that prepare made no number is an error that names the example", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.shuffle = false;
  trainer.prepare = [](Batch& batch) {
    for (Response& r : batch.responses) {
      if (batch.prompts[static_cast<std::size_t>(r.prompt)].example == 41 && r.sample == 2)
        r.reward = -HUGE_VAL;
    }
  };
  const Snapshot before(trainer);
  CHECK_THROWS_WITH(steps_of(trainer), "reward: of sample 2 of example 41 is not finite, found -inf");
  CHECK(Snapshot(trainer) == before);
}

TEST_CASE("log-probabilities that prepare adds are cut as the batch is", "[trainer]") {
  const auto trained = [](Index micro_batch_size) {
    TabularModel model = small_model(), reference(6, 9, 8);
    auto trainer = trainer_of(model, Distance{});
    trainer.micro_batch_size = micro_batch_size;
    trainer.prepare = [&](Batch& batch) { batch.reference_logp = reference.log_probs(batch); };
    const std::vector<Step> steps = steps_of(trainer);
    CHECK(steps.back().loss < steps.front().loss);
    return values_of(model);
  };
  const std::vector<double> whole = trained(0), parts = trained(1);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(parts[i] == Approx(whole[i]).margin(1e-10));
}

TEST_CASE("between is called before each part of a step", "[trainer]") {
  // steps of 3, 3 and 1 examples have 2, 2 and 1 parts of at most 2
  int calls = 0;
  std::vector<int> until;
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.between = [&] { ++calls; };
  for ([[maybe_unused]] const Step& step : trainer.run(examples)) until.push_back(calls);
  CHECK(until == std::vector<int>{2, 4, 5, 7, 9, 10, 12, 14, 15});
}

TEST_CASE("a step abandoned anywhere has changed nothing, and is done again the same", "[trainer]") {
  const auto [where, at] = GENERATE(table<std::string, int>({{"between", 0},
                                                             {"between", 1},
                                                             {"between", 4},
                                                             {"between", 8},
                                                             {"sampler", 0},
                                                             {"sampler", 9},
                                                             {"prepare", 0},
                                                             {"prepare", 5}}));
  CAPTURE(where, at);
  TabularModel model = small_model(), undisturbed = small_model();
  auto trainer = trainer_of(model), whole = trainer_of(undisturbed);
  int left = at;
  const auto maybe_throw = [&] {
    if (left-- == 0) throw std::runtime_error("interrupted");
  };
  if (where == "between") trainer.between = maybe_throw;
  if (where == "sampler") trainer.sampler.between = maybe_throw;
  if (where == "prepare") trainer.prepare = [&](Batch&) { maybe_throw(); };
  Snapshot before(trainer);
  std::vector<std::string> steps;
  const auto run = [&] {
    for (const Step& step : trainer.run(examples)) steps.push_back(told(step)), before = Snapshot(trainer);
  };
  CHECK_THROWS_WITH(run(), "interrupted");
  CHECK(steps.size() < 9);
  CHECK(Snapshot(trainer) == before);
  run();
  CHECK(steps == told(steps_of(whole)));
  CHECK(Snapshot(trainer) == Snapshot(whole));
}

TEST_CASE("every observer sees every step once, in order, when it is done and the next is not", "[trainer]") {
  TabularModel model = small_model(), other = small_model();
  auto trainer = trainer_of(model), ranged = trainer_of(other);
  std::vector<std::string> seen;
  auto first = [&](const Step& step) {
    CHECK(trainer.steps_done == step.number);
    seen.push_back(told(step));
  };
  auto second = [&](const Step& step) { seen.push_back("again " + told(step)); };
  trainer.train(examples, first, second);
  std::vector<std::string> expected;
  for (const std::string& step : told(steps_of(ranged)))
    expected.insert(expected.end(), {step, "again " + step});
  CHECK(seen.size() == 18);
  CHECK(seen == expected);
}

TEST_CASE("a run that is done has no more steps, one whose max_steps grew goes on", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.max_steps = 2;
  int seen = 0;
  auto count = [&](const Step&) { ++seen; };
  trainer.train(examples, count);
  trainer.train(examples, count);
  CHECK(seen == 2);
  trainer.max_steps = 5;
  trainer.train(examples, count);
  CHECK(seen == 5);
  trainer.steps_done = 1000;
  trainer.train(examples, count);
  CHECK(seen == 5);
}

TEST_CASE("a run is a range of steps", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  using Run = decltype(trainer.run(examples));
  static_assert(std::ranges::input_range<Run>);
  static_assert(std::same_as<std::ranges::range_value_t<Run>, Step>);
  Run run = trainer.run(examples);
  CHECK(trainer.steps_done == 0);  // steps are computed when they are asked for
  auto at = run.begin();
  CHECK(at->number == 1);
  ++at;
  CHECK((*at).number == 2);
  CHECK(trainer.steps_done == 2);
  at++;
  CHECK(at->number == 3);
}

TEST_CASE("a run over no examples, in no batches or for no epochs is refused", "[trainer]") {
  TabularModel model = small_model();
  const std::vector<double> before = values_of(model);
  auto trainer = trainer_of(model);
  CHECK_THROWS_WITH(trainer.run(std::span<const Example>()), "Batches: there is no example");
  CHECK_THROWS_AS(trainer.train(std::span<const Example>()), Error);
  CHECK_THROWS_AS(trainer.steps(0), Error);
  trainer.batch_size = 0;
  CHECK_THROWS_AS(trainer.train(examples), Error);
  trainer.batch_size = 3, trainer.epochs = 0;
  CHECK_THROWS_AS(trainer.train(examples), Error);
  trainer.epochs = -1;
  CHECK_THROWS_AS(trainer.train(examples), Error);
  CHECK(values_of(model) == before);
}

TEST_CASE("the responses of the data that the loss reads are in the batch", "[trainer]") {
  std::vector<Example> two(examples.begin(), examples.begin() + 2);
  two[1].rejected = {5, 5};
  const auto kinds = [&](auto loss) {
    TabularModel model = small_model();
    Trainer trainer{model, loss, AdamW{}};
    trainer.epochs = 1, trainer.batch_size = 2, trainer.shuffle = false;
    std::vector<Kind> found;
    for (const Step& step : trainer.run(two)) {
      for (const Response& response : step.batch.responses) {
        found.push_back(response.kind);
        CHECK(response.prompt == (response.kind == Kind::target && found.size() == 1 ? 0 : 1));
        CHECK(response.tokens == (response.kind == Kind::rejected
                                      ? two[1].rejected
                                      : two[static_cast<std::size_t>(response.prompt)].target));
      }
    }
    return found;
  };
  CHECK(kinds(SftLoss{}) == std::vector{Kind::target, Kind::target});
  CHECK(kinds(SlicLoss{}) == std::vector{Kind::chosen, Kind::rejected});
  CHECK(kinds(Combined{SftLoss{}, 1, SlicLoss{}}) ==
        std::vector{Kind::target, Kind::target, Kind::chosen, Kind::rejected});
}

namespace {

/// The error of a run of 3 epochs over `data`, and that nothing was trained.
template <class Trainer>
std::string refusal(Trainer& trainer, const std::vector<Example>& data) {
  trainer.epochs = 3;
  const auto before = values_of(trainer.model);
  std::string message = "none";
  try {
    trainer.train(data);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(trainer.steps_done == 0);
  CHECK(values_of(trainer.model) == before);
  return message;
}

}  // namespace

TEST_CASE("a run whose loss reads what nothing provides is refused before its first step", "[trainer]") {
  TabularModel model = small_model();
  const auto reward = [](const Response&, const Example&) { return 0.5; };
  const Temperatures sampler{1.0};
  std::vector<Example> pairs = examples;
  pairs[1].rejected = {5, 5};

  SECTION("pairs without an example that has a rejected response") {
    Trainer trainer{model, DpoLoss{.reference_free = true}, AdamW{}};
    CHECK(refusal(trainer, examples) ==
          "Trainer: the loss reads preference pairs, found no example with a rejected response, expected "
          "Example::target and Example::rejected");
    trainer.epochs = 1;
    CHECK_NOTHROW(trainer.train(pairs));
  }
  SECTION("samples without a sampler") {
    Trainer trainer{model, EsoLoss{}, AdamW{}};
    CHECK(refusal(trainer, examples) ==
          "Trainer: the loss reads samples, found no sampler, expected a sampler and a reward");
  }
  SECTION("samples alone in a run without an active epoch") {
    Trainer trainer{model, sampler, reward, EsoLoss{}, AdamW{}};
    trainer.active_epochs = ActiveEpochs::never();
    CHECK(refusal(trainer, examples) ==
          "Trainer: the loss reads samples alone, found no active epoch, expected active_epochs with one of "
          "the run's");
  }
  SECTION("a greedy response of a sampler that draws none, if only in the last epoch") {
    Trainer trainer{model, sampler, reward, Combined{SftLoss{}, .05, DrlLoss{}}, AdamW{}};
    trainer.active_epochs = ActiveEpochs::last();
    CHECK(refusal(trainer, examples) ==
          "Trainer: the loss reads a greedy response per prompt, found a sampler that draws none, expected "
          "one that does, as Temperatures with greedy = true");
  }
  SECTION("a reference without anything that fills it") {
    Trainer trainer{model, DpoLoss{}, AdamW{}};
    CHECK(refusal(trainer, pairs) ==
          "Trainer: the loss reads log-probabilities of a reference model, found no prepare, expected one "
          "that fills Batch::reference_logp");
  }
  SECTION("a target that an example does not have") {
    std::vector<Example> bare = examples;
    bare[1].target.clear();
    Trainer trainer{model, SftLoss{}, AdamW{}};
    CHECK(refusal(trainer, bare) ==
          fmt::format("Trainer: the loss reads targets, and example {} has none", bare[1].number));
    Trainer samples{model, sampler, reward, EsoLoss{}, AdamW{}};
    samples.epochs = 1;
    CHECK_NOTHROW(samples.train(bare));
  }
}

TEST_CASE("a model that can drop is asked to with the seed of the step, once for each part", "[trainer]") {
  TabularModel inner = small_model();
  Dropping model{inner, {}};
  Trainer trainer{model, SftLoss{}, AdamW{}};
  trainer.epochs = 1, trainer.batch_size = 3, trainer.micro_batch_size = 2, trainer.seed = 9;
  trainer.train(examples);
  std::vector<std::uint32_t> steps;
  for (const StepSeed& seed : model.seeds) {
    CHECK(seed.seed == 9);
    steps.push_back(seed.step);
  }
  CHECK(steps == std::vector<std::uint32_t>{0, 0, 1, 1, 2});
}
