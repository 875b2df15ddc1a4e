// SPDX-License-Identifier: MIT
#include "eso/loss/slic.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

TEST_CASE("SlicLoss by hand: a hinge on the difference and the chosen response's cross-entropy",
          "[loss][slic]") {
  SmallBatch small(2);
  small.add(0, Kind::chosen, {-1, -2}).add(0, Kind::rejected, {-2.5});  // -3 and -2.5: 1 + 3 - 2.5 = 1.5
  small.add(1, Kind::chosen, {-1}).add(1, Kind::rejected, {-4});        // the margin is kept
  const LossResult result = evaluate(SlicLoss{}, small);
  CHECK(result.value == Approx((1.5 + .5 * 3 + .5 * 1) / 2).epsilon(1e-14));
  CHECK(result.d_logp(0, 1) == Approx(-1.5 / 2));
  CHECK(result.d_logp(1, 0) == Approx(.5));
  CHECK(result.d_logp(2, 0) == Approx(-.25));
  CHECK(result.d_logp(3, 0) == 0);
  CHECK(evaluate(SlicLoss{.margin = 4, .weight = 0}, small).value == Approx((4.5 + 1) / 2).epsilon(1e-14));
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/slic");
  CHECK(result.parts[0].second == result.value);
}

TEST_CASE("SlicLoss equals its golden values from PyTorch", "[loss][slic]") {
  REQUIRE(golden_methods().at("slic").size() == 8);
  for (const auto& entry : golden_methods().at("slic")) {
    check_golden_method(SlicLoss{.margin = entry.at("options")[0].get<double>(),
                                 .weight = entry.at("options")[1].get<double>()},
                        entry);
  }
}

TEST_CASE("SlicLoss obeys the laws of a loss", "[loss][slic][laws]") {
  const testing::LawReport report = testing::check_loss(SlicLoss{.margin = GENERATE(0.0, 3.0), .weight = .3});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("SlicLoss refuses what has no meaning", "[loss][slic]") {
  SmallBatch small(1);
  small.add(0, Kind::chosen, {-1}).add(0, Kind::rejected, {-4});
  CHECK(message_of([&] { evaluate(SlicLoss{.margin = -1}, small); }) ==
        "SlicLoss: margin must be finite and at least 0");
  CHECK(message_of([&] { evaluate(SlicLoss{.weight = -1}, small); }) ==
        "SlicLoss: weight must be finite and at least 0");
  CHECK(message_of([&] { SlicLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "SlicLoss: totals count no pairs, found 0, expected totals_of(loss, batch) of the whole step");
  small.add(0, Kind::rejected, {-1});
  CHECK(message_of([&] { evaluate(SlicLoss{}, small); }) == "SlicLoss: prompt 0 has more than one pair");
  SmallBatch none(1);
  none.add(0, Kind::target, {-1});
  CHECK(evaluate(SlicLoss{}, none).value == 0);
}
