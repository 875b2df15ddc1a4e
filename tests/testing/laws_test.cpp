// SPDX-License-Identifier: MIT
#include "eso/testing/laws.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "eso/loss/sft.hpp"
#include "eso/sample/temperatures.hpp"
#include "faulty_generator.hpp"
#include "faulty_model.hpp"

using namespace eso;
using testing::LawReport;
using testing::ModelLaws;
using testing::TabularModel;

namespace {

const ModelLaws limits{.vocabulary = 11, .context = 24};

LawReport check_with(ModelFault fault) {
  FaultyModel model(11, 24, 5, fault);
  return testing::check_log_prob_model(model, limits);
}

LawReport check_with(DecodingFault fault) {
  FaultyGenerator model(11, 24, 5, fault);
  return testing::check_generator(model, limits);
}

}  // namespace

TEST_CASE("TabularModel obeys the laws of LogProbModel", "[testing][laws]") {
  TabularModel model(11, 24, GENERATE(0u, 1u, 2u), 3);
  const LawReport report = testing::check_log_prob_model(model, limits);
  INFO(report.text());
  CHECK(report.passed());
  CHECK(report.laws.size() == 17);
}

TEST_CASE("TabularModel obeys the laws of Generator", "[testing][laws]") {
  TabularModel model(11, 24, GENERATE(0u, 1u, 2u), 3);
  const LawReport report = testing::check_generator(model, limits);
  INFO(report.text());
  CHECK(report.passed());
  CHECK(report.laws.size() == 8);
}

TEST_CASE("the laws hold for a model that is written another way", "[testing][laws]") {
  INFO(check_with(ModelFault::none).text());
  CHECK(check_with(ModelFault::none).passed());
  INFO(check_with(DecodingFault::none).text());
  CHECK(check_with(DecodingFault::none).passed());
}

TEST_CASE("each mistake in a model breaks the law that names it", "[testing][laws]") {
  const auto [fault, law] = GENERATE(table<ModelFault, std::string>({
      {ModelFault::sign, "adjoint"},
      {ModelFault::factor, "adjoint"},
      {ModelFault::tied_part_missing, "adjoint"},
      {ModelFault::position_part_missing, "adjoint"},
      {ModelFault::prompt_once, "adjoint"},
      {ModelFault::prompt_once, "shared"},
      {ModelFault::beyond_lengths, "mask"},
      {ModelFault::overwrites, "accumulates"},
      {ModelFault::overwrites, "micro-batches"},
      {ModelFault::value_beyond, "range"},
      {ModelFault::end_dropped, "normalised"},
      {ModelFault::silent_after_end, "ids"},
      {ModelFault::position_off_by_one_in_responses, "boundary"},
      {ModelFault::position_restarts, "boundary"},
      {ModelFault::last_token_unread, "positions"},
      {ModelFault::sees_itself, "normalised"},
      {ModelFault::looks_ahead, "causal"},
      {ModelFault::prompt_ignored, "positions"},
      {ModelFault::prompt_ignored, "boundary"},
      {ModelFault::left_padded, "lengths"},
      {ModelFault::row_number, "order"},
      {ModelFault::batch_size, "lengths"},
      {ModelFault::batch_size, "micro-batches"},
      {ModelFault::stale_logits, "adjoint"},
      {ModelFault::stale_prompts, "lengths"},
      {ModelFault::not_repeatable, "repeatable"},
      {ModelFault::unnormalised, "range"},
      {ModelFault::unnormalised, "normalised"},
      {ModelFault::context_too_short, "context"},
      {ModelFault::no_check, "errors"},
      {ModelFault::other_exception, "errors"},
      {ModelFault::no_shape_check, "errors"},
      {ModelFault::not_fresh, "fresh"},
  }));
  const LawReport report = check_with(fault);
  INFO(law << " of fault " << static_cast<int>(fault) << "\n" << report.text());
  CHECK(report.violates(law));
  CHECK_FALSE(report.passed());
}

TEST_CASE("a mistake breaks no law that it has nothing to do with", "[testing][laws]") {
  // A suite that fails everywhere helps nobody to find the mistake.
  const auto only = [](ModelFault fault, const std::string& law) {
    const LawReport report = check_with(fault);
    INFO(law << "\n" << report.text());
    REQUIRE_FALSE(report.violations.empty());
    for (const testing::Violation& violation : report.violations) CHECK(violation.law == law);
  };
  only(ModelFault::sign, "adjoint");
  only(ModelFault::factor, "adjoint");
  only(ModelFault::tied_part_missing, "adjoint");
  only(ModelFault::beyond_lengths, "mask");
  only(ModelFault::value_beyond, "range");
  only(ModelFault::not_repeatable, "repeatable");
  only(ModelFault::no_shape_check, "errors");
  only(ModelFault::not_fresh, "fresh");
}

TEST_CASE("a position off by one everywhere shows between log-probabilities and decoding",
          "[testing][laws]") {
  FaultyGenerator model(11, 24, 5, DecodingFault::none);
  model.fault = ModelFault::position_off_by_one;  // in both, so that no comparison of the two can show it ...
  CHECK(testing::check_log_prob_model(model, limits).passed());
  CHECK(
      check_with(DecodingFault::position_off_by_one).violates("prompts"));  // ... but in one of them it does
}

TEST_CASE("each mistake in a decoding breaks the law that names it", "[testing][laws]") {
  const auto [fault, law] = GENERATE(table<DecodingFault, std::string>({
      {DecodingFault::parents_ignored, "parents"},
      {DecodingFault::parents_sorted, "parents"},
      {DecodingFault::rows_not_dropped, "parents"},
      {DecodingFault::prompts_turned_around, "prompts"},
      {DecodingFault::prompts_padded, "prompts"},
      {DecodingFault::position_off_by_one, "prompts"},
      {DecodingFault::position_stands_still, "advance"},
      {DecodingFault::one_token_late, "advance"},
      {DecodingFault::neighbours_seen, "alone"},
      {DecodingFault::shared_cache, "repeatable"},
      {DecodingFault::stale_parameters, "parameters"},
      {DecodingFault::full_context_refused, "context"},
      {DecodingFault::no_check, "errors"},
  }));
  const LawReport report = check_with(fault);
  INFO(law << " of fault " << static_cast<int>(fault) << "\n" << report.text());
  CHECK(report.violates(law));
}

namespace {

enum class SamplerFault {
  none,
  stream_by_row,
  step_ignored,
  state_kept,
  order,
  logp_at_temperature,
  entropy_forgotten,
  unfinished,
  goes_on,
};

/// `Temperatures` with a mistake.
struct FaultySampler {
  Temperatures inner{0.5, 1, 2};
  SamplerFault fault = SamplerFault::none;
  mutable std::uint32_t calls = 0;

  std::vector<Response> operator()(TabularModel& model, std::span<const Prompt> prompts,
                                   StepSeed seed) const {
    std::vector<Prompt> named(prompts.begin(), prompts.end());
    if (fault == SamplerFault::stream_by_row) {
      for (std::size_t p = 0; p < named.size(); ++p) named[p].example = static_cast<Index>(p);
    }
    if (fault == SamplerFault::step_ignored) seed.step = 0;
    if (fault == SamplerFault::state_kept) seed.step += calls++;
    std::vector<Response> responses = inner(model, named, seed);
    if (fault == SamplerFault::order) std::swap(responses[0], responses[1]);
    for (Response& response : responses) {
      if (fault == SamplerFault::logp_at_temperature) response.logp[0] /= response.temperature;
      if (fault == SamplerFault::entropy_forgotten) response.entropy = 0;
      if (fault == SamplerFault::unfinished) response.finished = false;
      if (fault == SamplerFault::goes_on && response.finished) {
        response.tokens.push_back(1);
        response.finished = false;
      }
    }
    return responses;
  }
};

LawReport check_with(SamplerFault fault) {
  TabularModel model(11, 24, 5, 3);
  FaultySampler sampler;
  sampler.inner.max_tokens = 8;
  sampler.fault = fault;
  return testing::check_sampler(sampler, model, limits);
}

}  // namespace

TEST_CASE("Temperatures obeys the laws of Sampler", "[testing][laws]") {
  INFO(check_with(SamplerFault::none).text());
  CHECK(check_with(SamplerFault::none).passed());
}

TEST_CASE("each mistake in a sampler breaks the law that names it", "[testing][laws]") {
  const auto [fault, law] = GENERATE(table<SamplerFault, std::string>({
      {SamplerFault::stream_by_row, "independent"},
      {SamplerFault::step_ignored, "seeds"},
      {SamplerFault::state_kept, "repeatable"},
      {SamplerFault::order, "order"},
      {SamplerFault::logp_at_temperature, "logp"},
      {SamplerFault::entropy_forgotten, "entropy"},
      {SamplerFault::unfinished, "finished"},
      {SamplerFault::goes_on, "finished"},
  }));
  const LawReport report = check_with(fault);
  INFO(law << " of fault " << static_cast<int>(fault) << "\n" << report.text());
  CHECK(report.violates(law));
}

namespace {

enum class LossFault {
  none,
  sign,
  own_count,
  reads_beyond,
  gradient_beyond,
  first_row_favoured,
  infinite,
  state_kept,
  no_shape_check,
  part_forgotten,
  kind_hidden,
  nothing_learned,
};

/// `SftLoss` with a mistake.
struct FaultyLoss {
  LossFault fault = LossFault::none;
  mutable int calls = 0;

  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    if (fault == LossFault::no_shape_check && logp.rows() != batch.response_count()) return {};
    LossResult result = SftLoss{}(batch, logp, fault == LossFault::own_count ? Totals::of(batch) : totals);
    if (fault == LossFault::sign) result.d_logp = -result.d_logp;
    if (fault == LossFault::reads_beyond && logp.size() > 0) {
      result.value =
          -(logp * (result.d_logp < 0).cast<double>()).sum() / static_cast<double>(totals.target_tokens) +
          1e-9 * logp.sum();
    }
    if (fault == LossFault::gradient_beyond) result.d_logp.setConstant(-1);
    if (fault == LossFault::first_row_favoured && logp.size() > 0) {
      result.value += logp(0, 0);
      result.d_logp(0, 0) += 1;
    }
    if (fault == LossFault::infinite && (logp < -1e3).any()) result.value += 1 / std::exp(-1e4);
    if (fault == LossFault::state_kept) result.value += ++calls;
    if (fault == LossFault::part_forgotten && batch.prompt_count() == 1) result.parts.clear();
    if (fault == LossFault::nothing_learned) result.d_logp.setZero(), result.value = 0;
    return result;
  }

  Reads reads() const { return {.targets = fault != LossFault::kind_hidden, .pairs = true}; }
};

}  // namespace

TEST_CASE("each mistake in a loss breaks the law that names it", "[testing][laws]") {
  CHECK(testing::check_loss(FaultyLoss{}).passed());
  const auto [fault, law] = GENERATE(table<LossFault, std::string>({
      {LossFault::sign, "gradient"},
      {LossFault::own_count, "split"},
      {LossFault::reads_beyond, "lengths"},
      {LossFault::gradient_beyond, "lengths"},
      {LossFault::first_row_favoured, "order"},
      {LossFault::infinite, "finite"},
      {LossFault::state_kept, "pure"},
      {LossFault::no_shape_check, "errors"},
      {LossFault::part_forgotten, "split"},
      {LossFault::kind_hidden, "reads"},
      {LossFault::nothing_learned, "learns"},
  }));
  const LawReport report = testing::check_loss(FaultyLoss{fault});
  INFO(law << " of fault " << static_cast<int>(fault) << "\n" << report.text());
  CHECK(report.violates(law));
}

TEST_CASE("a report without a check has not passed, and its text names law and place", "[testing]") {
  LawReport report;
  CHECK_FALSE(report.passed());
  CHECK(report.text() == "no law was tried\n");
  report.run("halves", [&](std::string_view law) { report.expect_near(law, .5, .5, 0, "half"); });
  CHECK(report.passed());
  CHECK(report.text() == "1 laws held in 1 checks\n");
  report.run("thirds", [&](std::string_view law) { report.expect_near(law, .25, .3333, .01, "a third"); });
  report.run("errors", [](std::string_view) { throw input_error("here", "what"); });
  CHECK(report.text() == "thirds: a third is 0.25, expected 0.3333 +- 0.01\nerrors: threw: here: what\n");
  CHECK(report.violates("errors"));
  CHECK_FALSE(report.violates("halves"));
  LawReport unknown;
  unknown.expect_near("nan", std::nan(""), 0, 1e300, "not a number");
  CHECK(unknown.violates("nan"));
}

TEST_CASE("the law suites refuse limits that leave no room for their texts", "[testing]") {
  TabularModel model(11, 24);
  CHECK_THROWS_AS(testing::check_log_prob_model(model, {}), Error);
  CHECK_THROWS_AS(testing::check_log_prob_model(model, {.vocabulary = 11, .context = 12}), Error);
  CHECK_THROWS_AS(testing::check_generator(model, {.vocabulary = 3, .context = 24}), Error);
}
