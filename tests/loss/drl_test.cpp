// SPDX-License-Identifier: MIT
#include "eso/loss/drl.hpp"
#include "eso/loss/eso.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

namespace {

/// r_sample = .25, r_greedy = .4, ten tokens with LP = -15.
SmallBatch worse_than_greedy() {
  SmallBatch small(1);
  small.add(0, Kind::sample, std::vector<double>(10, -1.5), .25).add(0, Kind::greedy, {-1}, .4);
  return small;
}

}  // namespace

TEST_CASE("DrlLoss by hand: a sample worse than the greedy response is lowered", "[loss][drl]") {
  // (.4 - .25) * -15, and the same for the mean over ten tokens
  const LossResult result = evaluate(DrlLoss{}, worse_than_greedy());
  CHECK(result.value == Approx(-2.25).epsilon(1e-14));
  CHECK(result.d_logp(0, 9) == Approx(.15).epsilon(1e-14));  // going down along it lowers LP
  CHECK((result.d_logp.row(1) == 0).all());
  CHECK(evaluate(DrlLoss{.length_norm = true}, worse_than_greedy()).value == Approx(-.225).epsilon(1e-14));
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/drl");
  CHECK(result.parts[0].second == result.value);
}

TEST_CASE("DrlLoss is ESO with the greedy baseline", "[loss][drl]") {
  SmallBatch small = two_prompts();
  small.add(0, Kind::greedy, {-1}, .3).add(1, Kind::greedy, {-1}, .2);
  EsoLoss eso;
  eso.baseline = Baseline::greedy;
  CHECK((evaluate(DrlLoss{}, small).d_logp - evaluate(eso, small).d_logp).abs().maxCoeff() < 1e-15);
  eso.token_reduce = TokenReduce::mean_seq;
  CHECK(
      (evaluate(DrlLoss{.length_norm = true}, small).d_logp - evaluate(eso, small).d_logp).abs().maxCoeff() <
      1e-15);
}

TEST_CASE("DrlLoss equals its golden values from PyTorch", "[loss][drl]") {
  REQUIRE(golden_methods().at("drl").size() == 4);
  for (const auto& entry : golden_methods().at("drl"))
    check_golden_method(DrlLoss{.length_norm = entry.at("options")[0].get<bool>()}, entry);
}

TEST_CASE("DrlLoss obeys the laws of a loss", "[loss][drl][laws]") {
  const testing::LawReport report = testing::check_loss(DrlLoss{.length_norm = GENERATE(false, true)});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("DrlLoss wants one greedy response and finite rewards", "[loss][drl]") {
  SmallBatch small = worse_than_greedy();
  CHECK(message_of([&] { DrlLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "DrlLoss: totals count no prompts, found 0, expected totals_of(loss, batch) of the whole step");
  small.add(0, Kind::greedy, {-1}, .4);
  CHECK(message_of([&] { evaluate(DrlLoss{}, small); }) ==
        "DrlLoss: prompt 0 has 2 greedy responses, expected 1");
  small = worse_than_greedy();
  small.batch.responses[0].reward = std::nan("");
  CHECK(message_of([&] { evaluate(DrlLoss{}, small); }).find("no finite reward") != std::string::npos);
  SmallBatch none(1);
  none.add(0, Kind::target, {-1});
  CHECK(evaluate(DrlLoss{}, none).value == 0);
}
