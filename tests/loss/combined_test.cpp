// SPDX-License-Identifier: MIT
#include "eso/loss/combined.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <type_traits>

#include "eso/loss/eso.hpp"
#include "eso/loss/sft.hpp"
#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

TEST_CASE("equation 11 by hand under every preset", "[loss][combined]") {
  const SmallBatch small =
      two_prompts();  // SFT: 7 nats in 6 tokens; ESO: 2.4 with u = .3 and .05 with u = .05
  SECTION("the paper: 7 / 6 + .05 * (2.4 + .05) / 2") {
    const Combined loss{SftLoss{}, 0.05, EsoLoss{}};
    static_assert(std::is_same_v<decltype(loss), const Combined<SftLoss, EsoLoss>>);
    CHECK(evaluate(loss, small).value == Approx(7.0 / 6 + .05 * 1.225).epsilon(1e-14));
    CHECK(evaluate(loss, small).value == Approx(1.2279167).epsilon(1e-7));
  }
  SECTION("sums to the letter: 7 / 2 + .05 * 1.225") {
    CHECK(evaluate(Combined{SftLoss::literal(), 0.05, EsoLoss{}}, small).value ==
          Approx(3.56125).epsilon(1e-14));
  }
  SECTION("threshold .10 as intended: the first prompt alone, 7 / 6 + .05 * 2.4") {
    EsoLoss eso;
    eso.batch_reduce = BatchReduce::mean_kept;
    eso.min_mean_reward = .10;
    CHECK(evaluate(Combined{SftLoss{}, 0.05, eso}, small).value == Approx(1.2866667).epsilon(1e-7));
  }
  SECTION("threshold .10 as the released code computes it: the sum of both, 7 / 6 + .05 * 2.45") {
    CHECK(evaluate(Combined{SftLoss{}, 0.05, EsoLoss::authors_code()}, small).value ==
          Approx(1.2891667).epsilon(1e-7));
  }
}

TEST_CASE("the second loss is on while the step is active, and not computed before", "[loss][combined]") {
  SmallBatch small = two_prompts();
  const Combined loss{SftLoss{}, 0.05, EsoLoss{}};
  Totals totals = totals_of(loss, small.batch);
  const LossResult sft = evaluate(SftLoss{}, small), eso = evaluate(EsoLoss{}, small);
  const LossResult on = loss(small.batch, small.logp(), totals);
  CHECK(on.value == Approx(sft.value + .05 * eso.value).epsilon(1e-15));
  CHECK((on.d_logp - (sft.d_logp + .05 * eso.d_logp)).abs().maxCoeff() < 1e-16);
  REQUIRE(on.parts.size() == 2);
  CHECK(on.parts[0] == std::pair<std::string, double>("loss/sft", sft.value));
  CHECK(on.parts[1] == std::pair<std::string, double>("loss/eso", eso.value));  // without the weight
  totals.active = false;
  small.batch.responses[2].reward = std::numeric_limits<double>::quiet_NaN();
  const LossResult off = loss(small.batch, small.logp(), totals);
  CHECK(off.value == sft.value);
  CHECK((off.d_logp == sft.d_logp).all());
  CHECK(off.parts.size() == 1);
}

TEST_CASE("a weight of zero still shows the part", "[loss][combined]") {
  const SmallBatch small = two_prompts();
  const LossResult result = evaluate(Combined{SftLoss{}, 0, EsoLoss{}}, small);
  CHECK(result.value == evaluate(SftLoss{}, small).value);
  REQUIRE(result.parts.size() == 2);
  CHECK(result.parts[1].second == Approx(1.225));
}

TEST_CASE("combinations nest and pass on what their losses count", "[loss][combined]") {
  const SmallBatch small = two_prompts();
  const Combined loss{Combined{SftLoss{}, 0.05, EsoLoss::authors_code()}, 2.0, SftLoss::literal()};
  static_assert(Loss<std::remove_const_t<decltype(loss)>>);
  CHECK(totals_of(loss, small.batch).kept_prompts == 1);
  CHECK(evaluate(loss, small).value == Approx(1.2891666666666667 + 2 * 3.5).epsilon(1e-14));
  CHECK(evaluate(loss, small).parts.size() == 3);
}

TEST_CASE("Combined equals its golden values from PyTorch", "[loss][combined]") {
  REQUIRE(golden_losses().at("combined").size() == 4);
  for (const auto& entry : golden_losses().at("combined")) {
    check_golden(Combined{SftLoss{}, entry.at("weight").get<double>(), EsoLoss{}}, entry);
  }
}

TEST_CASE("Combined obeys the laws of a loss", "[loss][combined][laws]") {
  const auto check = [](const auto& loss) {
    const testing::LawReport report = testing::check_loss(loss);
    INFO(report.text());
    CHECK(report.passed());
  };
  check(Combined{SftLoss{}, 0.05, EsoLoss{}});
  check(Combined{SftLoss::literal(), -3.5, EsoLoss::authors_code()});
}

TEST_CASE("Combined refuses a weight that is not finite", "[loss][combined]") {
  const SmallBatch small = two_prompts();
  const Combined loss{SftLoss{}, std::numeric_limits<double>::infinity(), EsoLoss{}};
  CHECK(message_of([&] { evaluate(loss, small); }) ==
        "Combined: weight is not finite, found inf, expected a number");
}
