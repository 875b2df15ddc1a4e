// SPDX-License-Identifier: MIT
#include "eso/train/trainer.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "eso/optim/sgd.hpp"
#include "small_run.hpp"

using namespace small_run;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// Equation 11 with the mean over target tokens, from the definitions.
double equation_11(TabularModel& model, const Batch& batch, double weight) {
  const LogProbs logp = model.log_probs(batch);
  double targets = 0, target_tokens = 0, method = 0;
  for (Index n = 0; n < batch.response_count(); ++n) {
    const Response& response = batch.response(n);
    const double sum = logp.row(n).sum();  // zero beyond the length
    if (response.kind == Kind::target) {
      targets -= sum, target_tokens += static_cast<double>(response.tokens.size());
      continue;
    }
    double rewards = 0, count = 0;
    for (const Response& other : batch.responses) {
      if (other.kind == Kind::sample && other.prompt == response.prompt) rewards += other.reward, ++count;
    }
    method += (rewards / count - response.reward) * sum;
  }
  return targets / target_tokens + weight * method / static_cast<double>(batch.prompts.size());
}

}  // namespace

TEST_CASE("a step of gradient descent by hand, clipped and not", "[trainer]") {
  const double limit = GENERATE(0.0, 2.0, 0.5);
  TabularModel model(2, 3);
  for (const auto& p : model.parameters()) std::fill(p.value, p.value + p.size, 0.0);
  Trainer trainer{model, SftLoss{}, Sgd{}};
  trainer.epochs = 1;
  trainer.schedule = {.kind = ScheduleKind::constant, .peak = 0.1};
  trainer.clip_norm = limit;
  const std::vector<Example> one{
      {.prompt = {1}, .target = {0}, .number = 0, .prompt_text = "", .reference = ""}};
  for (const Step& step : trainer.run(one)) {
    // All logits are 0, so both tokens have 1/2 and d logits = (-1/2, 1/2), which history's row 1 and
    // position's row 0 get: the norm is sqrt(4 / 4).
    CHECK(step.loss == Approx(std::log(2)).epsilon(1e-15));
    CHECK(step.gradient_norm == Approx(1).epsilon(1e-15));  // before clipping
    CHECK(step.tokens == 2);
    CHECK(step.updated);
  }
  const double moved = 0.1 * 0.5 * (limit == 0.5 ? 0.5 / 1.000001 : 1);
  const std::vector<double> expected{0, 0, moved, -moved, moved, -moved, 0, 0, 0, 0},
      found = values_of(model);
  for (std::size_t i = 0; i < 10; ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-14).margin(0));
}

TEST_CASE("a step goes along the finite differences of the whole objective", "[trainer]") {
  const Index micro_batch_size = GENERATE(0, 1, 2);
  TabularModel model = small_model(), before = small_model();
  auto trainer = trainer_of(model, combined, Sgd{});
  trainer.batch_size = 5;
  trainer.micro_batch_size = micro_batch_size;
  trainer.schedule = {.kind = ScheduleKind::constant, .peak = 0.25};
  trainer.clip_norm = 0;
  trainer.max_steps = 1;
  const Step step = steps_of(trainer).at(0);
  CHECK(step.loss == Approx(equation_11(before, step.batch, 0.5)).epsilon(1e-13));
  const ParameterList<double> old = before.parameters(), now = model.parameters();
  double squares = 0;
  for (std::size_t a = 0; a < 2; ++a) {
    for (Index i = 0; i < old[a].size; ++i) {
      const double at = old[a].value[i], h = 1e-5;
      old[a].value[i] = at + h;
      const double above = equation_11(before, step.batch, 0.5);
      old[a].value[i] = at - h;
      const double slope = (above - equation_11(before, step.batch, 0.5)) / (2 * h);
      old[a].value[i] = at;
      CHECK(now[a].value[i] == Approx(at - 0.25 * slope).margin(1e-9));
      squares += slope * slope;
    }
  }
  CHECK(step.gradient_norm == Approx(std::sqrt(squares)).epsilon(1e-7));
}

TEMPLATE_TEST_CASE("micro-batches change nothing beyond rounding", "[trainer]", SftLoss, SftEso) {
  TestType loss{};
  if constexpr (std::is_same_v<TestType, SftEso>) {
    loss = combined;
    loss.second.batch_reduce = BatchReduce::mean_kept;  // counts over the step itself
    loss.second.min_mean_reward = 1;
  }
  TabularModel whole = small_model(), parts = small_model();
  const std::vector<double> start = values_of(whole);
  auto a = trainer_of(whole, loss), b = trainer_of(parts, loss);
  a.micro_batch_size = 0;
  b.micro_batch_size = GENERATE(1, 2, 3, 100);
  const std::vector<Step> as = steps_of(a), bs = steps_of(b);
  REQUIRE(as.size() == 9);
  REQUIRE(bs.size() == 9);
  for (std::size_t i = 0; i < 9; ++i) {
    CHECK(bs[i].loss == Approx(as[i].loss).epsilon(1e-10));
    CHECK(bs[i].gradient_norm == Approx(as[i].gradient_norm).epsilon(1e-10));
    CHECK(bs[i].tokens == as[i].tokens);
    REQUIRE(bs[i].parts.size() == as[i].parts.size());
    for (std::size_t k = 0; k < as[i].parts.size(); ++k) {
      CHECK(bs[i].parts[k].first == as[i].parts[k].first);
      CHECK(bs[i].parts[k].second == Approx(as[i].parts[k].second).epsilon(1e-10).margin(1e-12));
    }
  }
  const std::vector<double> found = values_of(parts), expected = values_of(whole);
  CHECK(expected != start);
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).margin(1e-10));
}

TEST_CASE("the method is on in its epochs, and before them nothing is drawn", "[trainer]") {
  const auto [active, pattern] =
      GENERATE(table<ActiveEpochs, std::string>({{ActiveEpochs::last(), "......xxx"},
                                                 {ActiveEpochs::all_but_last(), "xxxxxx..."},
                                                 {ActiveEpochs::from(1), "...xxxxxx"},
                                                 {ActiveEpochs::never(), "........."}}));
  int scored = 0;
  TabularModel model = small_model(), plain = small_model();
  auto trainer = trainer_of(model, combined, AdamW{}, [&](const Response& r, const Example& e) {
    ++scored;
    return oddness(r, e);
  });
  trainer.active_epochs = active;
  std::string found;
  for (const Step& step : trainer.run(examples)) {
    found += step.active ? 'x' : '.';
    const std::size_t prompts = step.batch.prompts.size();
    CHECK(scored == (step.active ? static_cast<int>(3 * prompts) : 0));
    CHECK(step.batch.responses.size() == (step.active ? 4 : 1) * prompts);
    REQUIRE(step.parts.size() == (step.active ? 2 : 1));
    CHECK(step.parts[0].first == "loss/sft");
    const double method = step.active ? step.parts[1].second : 0;
    CHECK(step.loss == Approx(step.parts[0].second + 0.5 * method).epsilon(1e-13));
    CHECK(std::isfinite(step.reward) == step.active);
    scored = 0;
  }
  CHECK(found == pattern);
  Trainer supervised{plain, SftLoss{}, AdamW{}};
  supervised.epochs = 3, supervised.batch_size = 3, supervised.micro_batch_size = 2, supervised.seed = 9;
  supervised.schedule = {.peak = 0.1};
  steps_of(supervised);
  CHECK((values_of(model) == values_of(plain)) == (pattern == "........."));
}

TEST_CASE("steps, epochs and learning rates by hand", "[trainer]") {
  // 7 examples in batches of 3 are 3 steps an epoch, 9 in all
  const auto [max_steps, steps] =
      GENERATE(table<std::int64_t, std::int64_t>({{0, 9}, {4, 4}, {9, 9}, {100, 9}}));
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.max_steps = max_steps;
  trainer.schedule = {.kind = ScheduleKind::linear, .peak = 0.2, .minimum = 0.1};
  CHECK(trainer.steps(7) == steps);
  CHECK(trainer.steps_per_epoch(7) == 3);
  const std::vector<Step> found = steps_of(trainer);
  REQUIRE(found.size() == static_cast<std::size_t>(steps));
  CHECK(trainer.steps_done == steps);
  const double epochs[] = {3.0 / 7, 6.0 / 7, 1, 10.0 / 7, 13.0 / 7, 2, 17.0 / 7, 20.0 / 7, 3};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i) + 1;
    CHECK(found[i].number == number);
    CHECK(found[i].steps == steps);
    CHECK(found[i].epoch == Approx(epochs[i]).epsilon(1e-15));
    // the schedule runs over what the run does, not over all epochs
    const double done = static_cast<double>(i) / static_cast<double>(steps);
    CHECK(found[i].learning_rate == Approx(0.2 - 0.1 * done).epsilon(1e-14));
  }
}

TEST_CASE("the last epoch is that of all epochs, also where max_steps ends before it", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.active_epochs = ActiveEpochs::last();
  trainer.max_steps = 4;
  for (const Step& step : steps_of(trainer)) CHECK_FALSE(step.active);
}

TEST_CASE("a schedule with a length of its own keeps it", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.schedule = {.kind = ScheduleKind::linear, .peak = 1, .warmup_steps = 2, .total_steps = 6};
  std::vector<double> rates;
  for (const Step& step : steps_of(trainer)) rates.push_back(step.learning_rate);
  CHECK(rates == std::vector<double>{0, .5, 1, .75, .5, .25, 0, 0, 0});
}

TEST_CASE("a run that stops after any step and is restored goes on bit for bit", "[trainer]") {
  const auto stop = GENERATE(range(0, 10));
  TabularModel model = small_model(), first = small_model(), second(6, 9, 4);
  auto whole = trainer_of(model), begun = trainer_of(first), resumed = trainer_of(second);
  whole.active_epochs = begun.active_epochs = resumed.active_epochs = ActiveEpochs::from(1);
  const std::vector<std::string> expected = told(steps_of(whole));
  if (stop > 0) {
    for (const Step& step : begun.run(examples)) {
      if (step.number == stop) break;
    }
  }
  Snapshot(begun).restore(resumed);
  const std::vector<std::string> rest = told(steps_of(resumed));
  CHECK(rest == std::vector<std::string>(expected.begin() + stop, expected.end()));
  CHECK(Snapshot(resumed) == Snapshot(whole));
}

namespace {

enum class Spoilt { value, value_infinite, gradient, gradient_infinite };

/// `combined` with one micro-batch whose value or gradient is not finite.
struct SpoiltLoss {
  Spoilt how = Spoilt::value;
  int at = 0;  ///< which call
  mutable int calls = 0;

  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    LossResult result = combined(batch, logp, totals);
    if (calls++ != at) return result;
    if (how == Spoilt::value) result.value = not_a_number;
    if (how == Spoilt::value_infinite) result.value = -infinity;
    if (how == Spoilt::gradient) result.d_logp(0, 0) = not_a_number;
    if (how == Spoilt::gradient_infinite) result.d_logp(0, 0) = infinity;
    return result;
  }
  Reads reads() const { return combined.reads(); }
};

}  // namespace

TEST_CASE("a loss or gradient that is not finite changes nothing but the counters", "[trainer]") {
  const Spoilt how =
      GENERATE(Spoilt::value, Spoilt::value_infinite, Spoilt::gradient, Spoilt::gradient_infinite);
  const int at = GENERATE(0, 3);  // the first part of step 1, the second part of step 2
  const double clip_norm = GENERATE(0.0, 1.0);
  TabularModel model = small_model();
  auto trainer = trainer_of(model, SpoiltLoss{how, at});
  trainer.clip_norm = clip_norm;
  Snapshot before(trainer);
  for (const Step& step : trainer.run(examples)) {
    CHECK(step.updated == (step.number != at / 2 + 1));
    if (!step.updated) {
      CHECK_FALSE((std::isfinite(step.loss) && std::isfinite(step.gradient_norm)));
      before.steps_done = trainer.steps_done, before.tokens_seen = trainer.tokens_seen;
      CHECK(Snapshot(trainer) == before);
    }
    before = Snapshot(trainer);
  }
  CHECK(trainer.steps_done == 9);
  for (const double value : values_of(model)) CHECK(std::isfinite(value));
}

TEST_CASE("a reward that is not finite is an error that names its sample and example", "[trainer]") {
  const double bad = GENERATE(as<double>{}, not_a_number, infinity, -infinity);
  const bool whole_batch = GENERATE(false, true);
  TabularModel model = small_model();
  const auto reward = [&](const Response& r, const Example& e) {
    return e.number == 45 && r.sample == 1 ? bad : oddness(r, e);
  };
  const auto expect_error = [&](auto trainer) {
    trainer.shuffle = false;  // example 45 comes in the second step
    std::int64_t steps = 0;
    Snapshot before(trainer);
    const auto run = [&] {
      for (const Step& step : trainer.run(examples)) steps = step.number, before = Snapshot(trainer);
    };
    CHECK_THROWS_WITH(run(), fmt::format("reward: of sample 1 of example 45 is not finite, found {}", bad));
    CHECK(steps == 1);
    CHECK(Snapshot(trainer) == before);
  };
  if (!whole_batch) return expect_error(trainer_of(model, combined, AdamW{}, reward));
  expect_error(trainer_of(model, combined, AdamW{},
                          [&](std::span<const Response* const> rs, std::span<const Example* const> es) {
                            std::vector<double> rewards;
                            for (std::size_t i = 0; i < rs.size(); ++i)
                              rewards.push_back(reward(*rs[i], *es[i]));
                            return rewards;
                          }));
}

TEST_CASE("a reward of whole steps gives the same run as one of single responses", "[trainer]") {
  TabularModel one = small_model(), other = small_model();
  auto single = trainer_of(one);
  int calls = 0;
  auto whole = trainer_of(other, combined, AdamW{},
                          [&](std::span<const Response* const> rs, std::span<const Example* const> es) {
                            ++calls;
                            std::vector<double> rewards;
                            REQUIRE(rs.size() == es.size());
                            for (std::size_t i = 0; i < rs.size(); ++i) {
                              rewards.push_back(oddness(*rs[i], *es[i]));
                              CHECK(rs[i]->kind != Kind::target);
                            }
                            return rewards;
                          });
  single.sampler.greedy = whole.sampler.greedy = true;  // greedy responses are scored too
  CHECK(told(steps_of(whole)) == told(steps_of(single)));
  CHECK(values_of(other) == values_of(one));
  CHECK(calls == 9);
}

TEST_CASE("a reward of whole steps with another number of values is refused", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model, combined, AdamW{},
                            [](std::span<const Response* const> rs, std::span<const Example* const>) {
                              return std::vector<double>(rs.size() + 1, 0.5);
                            });
  CHECK_THROWS_WITH(steps_of(trainer), "reward: needs one value for each response");
}

TEST_CASE("the order of the examples follows from the seed and the epoch alone", "[trainer]") {
  const auto order = [](Index epochs, Index batch_size, std::uint64_t seed, bool shuffle = true,
                        int skipped = 0) {
    TabularModel model = small_model();
    Trainer trainer{model, SftLoss{}, Sgd{}};
    trainer.epochs = epochs, trainer.batch_size = batch_size, trainer.seed = seed, trainer.shuffle = shuffle;
    trainer.steps_done = skipped;
    std::vector<Index> numbers;
    for (const Step& step : trainer.run(examples)) {
      for (const Example* example : step.examples) numbers.push_back(example->number);
    }
    return numbers;
  };
  const std::vector<Index> two = order(2, 3, 9), in_file{40, 41, 42, 43, 44, 45, 46};
  const std::vector<Index> epoch_1(two.begin(), two.begin() + 7), epoch_2(two.begin() + 7, two.end());
  for (std::vector<Index> epoch : {epoch_1, epoch_2}) {
    CHECK(epoch != in_file);
    std::ranges::sort(epoch);
    CHECK(epoch == in_file);
  }
  CHECK(epoch_1 != epoch_2);
  CHECK(order(2, 2, 9) == two);
  CHECK(order(2, 100, 9) == two);
  CHECK(order(1, 3, 9) == epoch_1);
  CHECK(order(2, 3, 9, true, 3) == epoch_2);  // a run that begins in the second epoch
  CHECK(order(1, 3, 10) != epoch_1);
  CHECK(order(1, 3, 9, false) == in_file);
}

TEST_CASE("a step holds its prompts, targets and samples, and counts each id once", "[trainer]") {
  TabularModel model = small_model();
  auto trainer = trainer_of(model);
  trainer.sampler.greedy = true;
  std::int64_t ids = 0;
  for (const Step& step : trainer.run(examples)) {
    double rewards = 0;
    REQUIRE(step.examples.size() == step.batch.prompts.size());
    for (Index p = 0; p < step.batch.prompt_count(); ++p) {
      const auto i = static_cast<std::size_t>(p);
      const Example& example = *step.examples[i];
      CHECK(&example == &examples[static_cast<std::size_t>(example.number - 40)]);
      CHECK(step.batch.prompts[i].tokens == example.prompt);
      CHECK(step.batch.prompts[i].example == example.number);
      const std::vector<Index> targets = step.batch.rows_of(p, Kind::target);
      REQUIRE(targets.size() == 1);
      CHECK(step.batch.response(targets[0]).tokens == example.target);
      CHECK(std::isnan(step.batch.response(targets[0]).reward));
      REQUIRE(step.batch.rows_of(p, Kind::greedy).size() == 1);
      for (const Kind kind : {Kind::sample, Kind::greedy}) {
        for (const Index n : step.batch.rows_of(p, kind)) {
          CHECK(step.batch.response(n).reward == oddness(step.batch.response(n), example));
        }
      }
      for (const Index n : step.batch.rows_of(p, Kind::sample)) rewards += step.batch.response(n).reward;
      ids += std::ssize(example.prompt);
    }
    CHECK(step.reward == Approx(rewards / (3.0 * static_cast<double>(step.examples.size()))).epsilon(1e-14));
    for (const Response& response : step.batch.responses) ids += std::ssize(response.tokens);
    CHECK(step.tokens == ids);
    CHECK(trainer.tokens_seen == ids);
  }
}
