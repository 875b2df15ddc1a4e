// SPDX-License-Identifier: MIT
#include "eso/loss/unlike.hpp"
#include "eso/loss/eso.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

TEST_CASE("unlikelihood of a token by hand, at its floor and at both ends", "[loss][unlike]") {
  // -log(1 - .3); slope p / (1 - p)
  CHECK(unlikelihood(std::log(.3), 1e-5).first == Approx(.3566749439).epsilon(1e-9));
  CHECK(unlikelihood(std::log(.3), 1e-5).second == Approx(.3 / .7).epsilon(1e-14));
  CHECK(unlikelihood(-1e-9, 1e-5).first == Approx(11.512925).epsilon(1e-7));
  CHECK(unlikelihood(-1e-9, 1e-5).second == 0);
  CHECK(unlikelihood(0, 1e-20).first == Approx(46.051702).epsilon(1e-7));
  CHECK(unlikelihood(0, 1e-20).second == 0);
  // near p = 0 the value is p, near p = 1 it is -log(-log p): no digit is lost
  CHECK(unlikelihood(-50, 1e-5).first == Approx(std::exp(-50.0)).epsilon(1e-14));
  CHECK(unlikelihood(-1e-12, 1e-20).first == Approx(-std::log(1e-12)).epsilon(1e-12));
  CHECK(unlikelihood(-1e4, 1e-5).first == 0);
  // no number must not pass for a finite one: the step would be taken
  CHECK(std::isnan(unlikelihood(std::nan(""), 1e-5).first));
  CHECK(std::isnan(unlikelihood(std::nan(""), 1e-5).second));
}

TEST_CASE("UnlikeLoss by hand for every way to choose", "[loss][unlike]") {
  // R = .1, .4, .2, .5 with mean .3: the first and the third are below it.
  const SmallBatch small = two_prompts();
  UnlikeLoss plain{.objective = UnlikeObjective::plain_logp};
  // prompt 0: -10 - 8; prompt 1: R = 0, .1, .05, .05 with mean .05: the first, -5
  CHECK(evaluate(plain, small).value == Approx((-18 - 5) / 2.0).epsilon(1e-14));
  plain.weight = UnlikeWeight::gap;
  CHECK(evaluate(plain, small).value == Approx((.2 * -10 + .1 * -8 + .05 * -5) / 2).epsilon(1e-13));
  plain.weight = UnlikeWeight::one;
  plain.select = UnlikeSelect::lowest;
  CHECK(evaluate(plain, small).value == Approx((-10 - 5) / 2.0).epsilon(1e-14));
  plain.select = UnlikeSelect::all;
  CHECK(evaluate(plain, small).value == Approx((-50 - 27) / 2.0).epsilon(1e-14));
  plain.select = UnlikeSelect::threshold;
  plain.threshold = .2;  // not below itself
  CHECK(evaluate(plain, small).value == Approx((-10 - 27) / 2.0).epsilon(1e-14));
  const LossResult bounded = evaluate(UnlikeLoss{}, small);
  const auto u = [](double logp) { return -std::log(1 - std::exp(logp)); };
  CHECK(bounded.value == Approx((u(-4) + u(-6) + u(-1) + u(-3) + u(-4) + u(-5)) / 2).epsilon(1e-13));
  REQUIRE(bounded.parts.size() == 1);
  CHECK(bounded.parts[0].first == "loss/unlike");
  CHECK(bounded.parts[0].second == bounded.value);
}

TEST_CASE("UnlikeLoss with plain_logp and gap is the half of ESO that lowers samples", "[loss][unlike]") {
  const SmallBatch small = two_prompts();
  const LossResult eso = evaluate(EsoLoss{}, small);
  const LossResult half =
      evaluate(UnlikeLoss{.objective = UnlikeObjective::plain_logp, .weight = UnlikeWeight::gap}, small);
  CHECK((half.d_logp - eso.d_logp.max(0)).abs().maxCoeff() < 1e-15);
}

TEST_CASE("the gap of a sample above the mean is 0, however it was chosen", "[loss][unlike]") {
  // R = .1, .4, .2, .5 with mean .3: gaps .2, 0, .1, 0 for sums -10, ..., -8; prompt 1: .05 for -5.
  const SmallBatch small = two_prompts();
  UnlikeLoss loss{
      .objective = UnlikeObjective::plain_logp, .select = UnlikeSelect::all, .weight = UnlikeWeight::gap};
  const double by_hand = (.2 * -10 + .1 * -8 + .05 * -5) / 2;
  CHECK(evaluate(loss, small).value == Approx(by_hand).epsilon(1e-13));
  CHECK(evaluate(loss, small).d_logp.minCoeff() == 0);
  loss.select = UnlikeSelect::threshold;
  loss.threshold = .45;  // .1, .4 and .2 of prompt 0, all of prompt 1
  CHECK(evaluate(loss, small).value == Approx(by_hand).epsilon(1e-13));
  CHECK(evaluate(loss, small).d_logp.minCoeff() == 0);
}

TEST_CASE("UnlikeLoss lowers all samples of the lowest reward", "[loss][unlike]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-3}, .5).add(0, Kind::sample, {-1}, .25).add(0, Kind::sample, {-2}, .25);
  const UnlikeLoss loss{.objective = UnlikeObjective::plain_logp, .select = UnlikeSelect::lowest};
  CHECK(evaluate(loss, small).value == Approx(-3).epsilon(1e-14));
}

TEST_CASE("equal rewards leave UnlikeLoss nothing to do", "[loss][unlike]") {
  SmallBatch small(1);
  for (int k = 0; k < 3; ++k) small.add(0, Kind::sample, {-1}, .1);
  for (const auto select : {UnlikeSelect::below_mean, UnlikeSelect::lowest})
    CHECK(evaluate(UnlikeLoss{.select = select}, small).value == 0);
}

TEST_CASE("UnlikeLoss equals its golden values from PyTorch", "[loss][unlike]") {
  const std::map<std::string, UnlikeSelect> selects{{"below_mean", UnlikeSelect::below_mean},
                                                    {"lowest", UnlikeSelect::lowest},
                                                    {"all", UnlikeSelect::all},
                                                    {"threshold", UnlikeSelect::threshold}};
  REQUIRE(golden_methods().at("unlike").size() == 64);
  for (const auto& entry : golden_methods().at("unlike")) {
    const auto& o = entry.at("options");
    check_golden_method(UnlikeLoss{.objective = o[0] == "plain_logp" ? UnlikeObjective::plain_logp
                                                                     : UnlikeObjective::one_minus_p,
                                   .select = selects.at(o[1].get<std::string>()),
                                   .weight = o[2] == "gap" ? UnlikeWeight::gap : UnlikeWeight::one,
                                   .threshold = o[3].get<double>(),
                                   .floor = o[4].get<double>()},
                        entry);
  }
}

TEST_CASE("UnlikeLoss obeys the laws of a loss with every option", "[loss][unlike][laws]") {
  UnlikeLoss loss;
  loss.objective = GENERATE(UnlikeObjective::one_minus_p, UnlikeObjective::plain_logp);
  loss.select =
      GENERATE(UnlikeSelect::below_mean, UnlikeSelect::lowest, UnlikeSelect::all, UnlikeSelect::threshold);
  loss.weight = GENERATE(UnlikeWeight::one, UnlikeWeight::gap);
  loss.threshold = .5;
  const testing::LawReport report = testing::check_loss(loss, {.batches = 2});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("UnlikeLoss refuses what has no meaning", "[loss][unlike]") {
  SmallBatch small = two_prompts();
  CHECK(message_of([&] { evaluate(UnlikeLoss{.floor = 0}, small); }) ==
        "UnlikeLoss: floor is out of range, found 0, expected above 0, below 1");
  CHECK(message_of([&] { evaluate(UnlikeLoss{.threshold = std::nan("")}, small); }) ==
        "UnlikeLoss: threshold is not a number");
  CHECK(message_of([&] { UnlikeLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "UnlikeLoss: totals count no prompts, found 0, expected totals_of(loss, batch) of the whole step");
  small.batch.responses[3].reward = std::nan("");
  CHECK(message_of([&] { evaluate(UnlikeLoss{}, small); }).find("no finite reward") != std::string::npos);
}
