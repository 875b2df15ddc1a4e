// SPDX-License-Identifier: MIT
#include "eso/loss/sft.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

TEST_CASE("SftLoss by hand", "[loss][sft]") {
  const SmallBatch small = two_prompts();
  // 3 nats in 2 tokens and 4 nats in 4 tokens
  SECTION("token mean: 7 / 6") {
    const LossResult result = evaluate(SftLoss{}, small);
    CHECK(result.value == Approx(7.0 / 6).epsilon(1e-14));
    CHECK(result.value == Approx(1.1666667).epsilon(1e-7));
    CHECK(result.d_logp(0, 0) == Approx(-1.0 / 6));
    CHECK(result.d_logp(1, 3) == Approx(-1.0 / 6));
  }
  SECTION("sum per sequence, mean over prompts: (3 + 4) / 2") {
    const LossResult result = evaluate(SftLoss::literal(), small);
    CHECK(result.value == Approx(3.5).epsilon(1e-14));
    CHECK(result.d_logp(0, 1) == Approx(-.5));
    CHECK(result.d_logp(1, 0) == Approx(-.5));
  }
  SECTION("mean of the means per sequence: (1.5 + 1) / 2") {
    const LossResult result = evaluate(SftLoss{.reduction = SftReduction::sequence_mean}, small);
    CHECK(result.value == Approx(1.25).epsilon(1e-14));
    CHECK(result.d_logp(0, 0) == Approx(-1.0 / 4));
    CHECK(result.d_logp(1, 0) == Approx(-1.0 / 8));
  }
}

TEST_CASE("SftLoss reads targets alone and nothing beyond their lengths", "[loss][sft]") {
  const LossResult result = evaluate(SftLoss{}, two_prompts());
  CHECK((result.d_logp.row(0).tail(2) == 0).all());  // the first target has two of four columns
  CHECK((result.d_logp.bottomRows(8) == 0).all());   // samples
  CHECK(result.d_logp.sum() == Approx(-1));          // a mean over tokens
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/sft");
  CHECK(result.parts[0].second == result.value);
  CHECK(SftLoss::name == "sft");
}

TEST_CASE("SftLoss equals its golden values from PyTorch", "[loss][sft]") {
  const std::map<std::string, SftReduction> reductions{
      {"token_mean", SftReduction::token_mean},
      {"sequence_sum_prompt_mean", SftReduction::sequence_sum_prompt_mean},
      {"sequence_mean", SftReduction::sequence_mean}};
  REQUIRE(golden_losses().at("sft").size() == 6);
  for (const auto& entry : golden_losses().at("sft")) {
    check_golden(SftLoss{.reduction = reductions.at(entry.at("reduction").get<std::string>())}, entry);
  }
}

TEST_CASE("SftLoss obeys the laws of a loss", "[loss][sft][laws]") {
  const auto reduction =
      GENERATE(SftReduction::token_mean, SftReduction::sequence_sum_prompt_mean, SftReduction::sequence_mean);
  const testing::LawReport report = testing::check_loss(SftLoss{.reduction = reduction});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("SftLoss is zero for a batch without targets and refuses totals that count none", "[loss][sft]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1, -2}, .5);
  const LossResult result = evaluate(SftLoss{}, small);
  CHECK(result.value == 0);
  CHECK((result.d_logp == 0).all());
  small.add(0, Kind::target, {-1});
  CHECK(message_of([&] { SftLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "SftLoss: totals count no target tokens, found 0, expected totals_of(loss, batch) of the whole step");
  CHECK(message_of([&] { SftLoss::literal()(small.batch, small.logp(), Totals{}); }) ==
        "SftLoss: totals count no prompts, found 0, expected totals_of(loss, batch) of the whole step");
  CHECK(message_of([&] { SftLoss{}(small.batch, LogProbs::Zero(2, 3), Totals::of(small.batch)); }) ==
        "SftLoss: log-probabilities have the wrong shape, found (2, 3), expected (2, 2)");
}
