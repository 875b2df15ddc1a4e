// SPDX-License-Identifier: MIT
#include "eso/loss/rrhf.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <string>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

namespace {

/// p = -1, -.5, -2 with r = .3, .1, .2.
SmallBatch three() {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1, -1}, .3)
      .add(0, Kind::sample, {-.5}, .1)
      .add(0, Kind::sample, {-2, -1, -3}, .2);
  return small;
}

}  // namespace

TEST_CASE("RrhfLoss by hand: the sum over pairs in the wrong order", "[loss][rrhf]") {
  // r .1 < .2: -.5 - -2 = 1.5; r .1 < .3: -.5 - -1 = .5; r .2 < .3: -2 - -1 < 0
  const LossResult result = evaluate(RrhfLoss{}, three());
  CHECK(result.value == Approx(2.0).epsilon(1e-14));
  CHECK(result.d_logp(1, 0) == Approx(2));         // once for each pair
  CHECK(result.d_logp(0, 1) == Approx(-1.0 / 2));  // its two tokens share
  CHECK(result.d_logp(2, 2) == Approx(-1.0 / 3));
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/rrhf");
  CHECK(result.parts[0].second == result.value);
}

TEST_CASE("RrhfLoss takes the reference for a candidate of reward 1", "[loss][rrhf]") {
  SmallBatch small = three();
  small.add(0, Kind::target, {-1.5});  // below -1 and -.5, above -2
  CHECK(evaluate(RrhfLoss{}, small).value == Approx(2 + .5 + 1).epsilon(1e-14));
  CHECK(evaluate(RrhfLoss{.include_reference = false}, small).value == Approx(2).epsilon(1e-14));
  // .1 < .15: -.5 - -1.5; .15 < .2: -1.5 - -2; .15 < .3: none
  CHECK(evaluate(RrhfLoss{.reference_reward = .15}, small).value == Approx(2 + 1 + .5).epsilon(1e-14));
  // + the best's cross-entropy
  CHECK(evaluate(RrhfLoss{.best_weight = 2}, small).value == Approx(3.5 + 2 * 1.5).epsilon(1e-14));
  CHECK(evaluate(RrhfLoss{.include_reference = false, .best_weight = 2}, small).value ==
        Approx(2 + 2 * 1).epsilon(1e-14));
  SmallBatch targets_alone(1);
  targets_alone.add(0, Kind::target, {-1.5});
  CHECK(evaluate(RrhfLoss{.best_weight = 2}, targets_alone).value == 0);
}

TEST_CASE("RrhfLoss divides by the padded row as the released code does", "[loss][rrhf]") {
  // LP = -2, -.5, -6 over 1 token of the prompt and 3: pairs 5.5 / 4 and 1.5 / 4
  const RrhfLoss padded{.length_mode = RrhfLengthMode::padded_row, .best_weight = 2};
  CHECK(evaluate(padded, three()).value == Approx(7.0 / 4 + 2 * 2.0 / 4).epsilon(1e-14));
  // exponent 0: -2, -.5, -6; pairs 5.5 and 1.5
  CHECK(evaluate(RrhfLoss{.length_exponent = 0}, three()).value == Approx(7).epsilon(1e-14));
}

TEST_CASE("equal rewards and equal scores give RrhfLoss nothing", "[loss][rrhf]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1}, .3).add(0, Kind::sample, {-2}, .3).add(0, Kind::sample, {-1}, .1);
  const LossResult result = evaluate(RrhfLoss{}, small);
  CHECK(result.value == Approx(1));  // the third above the second alone
  CHECK(result.d_logp(0, 0) == 0);
}

TEST_CASE("RrhfLoss equals its golden values from PyTorch", "[loss][rrhf]") {
  REQUIRE(golden_methods().at("rrhf").size() == 32);
  for (const auto& entry : golden_methods().at("rrhf")) {
    const auto& o = entry.at("options");
    check_golden_method(
        RrhfLoss{.length_mode = o[0] == "response" ? RrhfLengthMode::response : RrhfLengthMode::padded_row,
                 .length_exponent = o[1].get<double>(),
                 .include_reference = o[2].get<bool>(),
                 .best_weight = o[3].get<double>()},
        entry);
  }
}

TEST_CASE("RrhfLoss obeys the laws of a loss with every option", "[loss][rrhf][laws]") {
  RrhfLoss loss;
  loss.length_mode = GENERATE(RrhfLengthMode::response, RrhfLengthMode::padded_row);
  loss.include_reference = GENERATE(true, false);
  loss.best_weight = GENERATE(0.0, 1.5);
  loss.length_exponent = loss.include_reference ? 1 : .7;
  const testing::LawReport report = testing::check_loss(loss, {.batches = 2});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("RrhfLoss refuses what has no meaning", "[loss][rrhf]") {
  SmallBatch small = three();
  CHECK(message_of([&] { evaluate(RrhfLoss{.best_weight = -1}, small); }) ==
        "RrhfLoss: best_weight must be finite and at least 0");
  CHECK(message_of([&] { evaluate(RrhfLoss{.length_exponent = std::nan("")}, small); }) ==
        "RrhfLoss: length_exponent and reference_reward must be finite");
  CHECK(message_of([&] { RrhfLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "RrhfLoss: totals count no prompts, found 0, expected totals_of(loss, batch) of the whole step");
  small.batch.responses[0].reward = std::numeric_limits<double>::infinity();
  CHECK(message_of([&] { evaluate(RrhfLoss{}, small); }).find("no finite reward") != std::string::npos);
}
