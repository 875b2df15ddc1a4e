// SPDX-License-Identifier: MIT
#include "eso/loss/dpo.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

namespace {

/// LP = -20, -30 and -22, -29 under the reference: h = 10 - 7 = 3.
SmallBatch one_pair() {
  SmallBatch small(1), reference(1);
  small.add(0, Kind::chosen, {-12, -8}).add(0, Kind::rejected, {-30});
  reference.add(0, Kind::chosen, {-11, -11}).add(0, Kind::rejected, {-29});
  small.batch.reference_logp = reference.logp();
  return small;
}

std::map<std::string, double> parts(const LossResult& result) {
  return {result.parts.begin(), result.parts.end()};
}

}  // namespace

TEST_CASE("DpoLoss by hand", "[loss][dpo]") {
  const LossResult result = evaluate(DpoLoss{}, one_pair());
  CHECK(result.value == Approx(.5543552445).epsilon(1e-10));  // log(1 + exp(-.3))
  CHECK(evaluate(DpoLoss{.label_smoothing = .1}, one_pair()).value == Approx(.5843552445).epsilon(1e-10));
  CHECK(evaluate(DpoLoss{.objective = DpoObjective::ipo}, one_pair()).value == Approx(4).epsilon(1e-14));
  // without a reference h = 10: log(1 + exp(-1))
  CHECK(evaluate(DpoLoss{.reference_free = true}, one_pair()).value == Approx(std::log1p(std::exp(-1.0))));
  // slope -beta sigmoid(-.3) at each token of the chosen response, the opposite at the other's
  CHECK(result.d_logp(0, 1) == Approx(-.1 / (1 + std::exp(.3))).epsilon(1e-14));
  CHECK(result.d_logp(1, 0) == Approx(.1 / (1 + std::exp(.3))).epsilon(1e-14));
  const auto named = parts(result);
  CHECK(named.size() == 7);
  CHECK(named.at("loss/dpo") == result.value);
  CHECK(named.at("rewards/chosen") == Approx(.2));
  CHECK(named.at("rewards/rejected") == Approx(-.1));
  CHECK(named.at("rewards/margins") == Approx(.3));
  CHECK(named.at("rewards/accuracies") == 1);
  CHECK(named.at("logps/chosen") == Approx(-20));
  CHECK(named.at("logps/rejected") == Approx(-30));
}

TEST_CASE("DpoLoss is a mean over pairs, and prompts without a pair count nothing", "[loss][dpo]") {
  SmallBatch small(3), reference(3);
  const auto add = [&](Index p, Kind kind, double logp, double ref) {
    small.add(p, kind, {logp});
    reference.add(p, kind, {ref});
  };
  add(0, Kind::chosen, -20, -22), add(0, Kind::rejected, -30, -29);
  add(1, Kind::chosen, -1, -1);
  add(2, Kind::chosen, -30, -29), add(2, Kind::rejected, -20, -22);  // h = -3
  small.batch.reference_logp = reference.logp();
  const LossResult result = evaluate(DpoLoss{}, small);
  CHECK(result.value == Approx(.5543552445 + .15).epsilon(1e-10));  // softplus(.3) = softplus(-.3) + .3
  CHECK(parts(result).at("rewards/accuracies") == .5);
  CHECK(parts(result).at("rewards/margins") == Approx(0).margin(1e-15));
  SmallBatch none(1);
  none.add(0, Kind::target, {-1});
  CHECK(evaluate(DpoLoss{}, none).value == 0);
}

TEST_CASE("a pair that stands as under the reference costs log 2 and is not counted as right",
          "[loss][dpo]") {
  SmallBatch small = one_pair();
  small.batch.reference_logp = small.logp();
  const LossResult result = evaluate(DpoLoss{}, small);
  CHECK(result.value == Approx(std::log(2.0)).epsilon(1e-15));
  CHECK(parts(result).at("rewards/accuracies") == 0);
}

TEST_CASE("DpoLoss stays finite for differences of ten thousand nats", "[loss][dpo]") {
  for (const double far : {-1e5, 1e5}) {
    SmallBatch small(1);
    small.add(0, Kind::chosen, {std::min(far, 0.0)}).add(0, Kind::rejected, {std::min(-far, 0.0)});
    const LossResult result = evaluate(DpoLoss{.reference_free = true}, small);
    CHECK(result.value == Approx(far > 0 ? 0 : 1e4));
    CHECK(result.d_logp(0, 0) == Approx(far > 0 ? 0 : -.1));
  }
  CHECK(softplus(800) == 800);
  CHECK(softplus(-800) == 0);
}

TEST_CASE("DpoLoss stays a number where beta h overflows", "[loss][dpo]") {
  // beta h = 1e300 * 1e10: -log sigmoid of what is at least the largest double is 0, of its opposite that
  // double.
  constexpr double most = std::numeric_limits<double>::max();
  for (const double e : {0.0, .25}) {
    for (const bool right : {true, false}) {
      SmallBatch small(1);
      small.add(0, Kind::chosen, {right ? -1 : -1e10}).add(0, Kind::rejected, {right ? -1e10 : -1});
      const DpoLoss loss{.beta = 1e300, .label_smoothing = e, .reference_free = true};
      const LossResult result = evaluate(loss, small);
      CHECK(result.value == Approx((right ? e : 1 - e) * most));
      CHECK(result.d_logp(0, 0) == Approx(1e300 * (e - (right ? 0 : 1))));
      CHECK(result.d_logp(1, 0) == -result.d_logp(0, 0));
      CHECK(parts(result).at("rewards/rejected") == (right ? -most : -1e300));
      CHECK(parts(result).at("rewards/margins") == Approx(right ? most : -most));
    }
  }
  SmallBatch nothing(1);
  nothing.add(0, Kind::chosen, {std::nan("")}).add(0, Kind::rejected, {-1});
  CHECK(std::isnan(evaluate(DpoLoss{.reference_free = true}, nothing).value));
}

TEST_CASE("DpoLoss equals its golden values from PyTorch", "[loss][dpo]") {
  REQUIRE(golden_methods().at("dpo").size() == 32);
  for (const auto& entry : golden_methods().at("dpo")) {
    const auto& o = entry.at("options");
    check_golden_method(DpoLoss{.objective = o[0] == "ipo" ? DpoObjective::ipo : DpoObjective::sigmoid,
                                .beta = o[1].get<double>(),
                                .label_smoothing = o[2].get<double>(),
                                .reference_free = o[3].get<bool>()},
                        entry);
  }
}

TEST_CASE("DpoLoss gives value, gradient and records of TRL's trainer", "[loss][dpo]") {
  const auto golden =
      nlohmann::json::parse(std::ifstream(std::string(ESO_TEST_DIR) + "/golden/dpo_trl.json"));
  REQUIRE(golden.size() == 9);
  for (const auto& entry : golden) {
    CAPTURE(entry.at("objective").dump(), entry.at("beta").dump(), entry.at("label_smoothing").dump());
    const auto policy = entry.at("logp").get<std::vector<std::vector<double>>>();
    const auto under_reference = entry.at("reference").get<std::vector<std::vector<double>>>();
    SmallBatch small(static_cast<Index>(policy.size() / 2)), reference = small;
    for (std::size_t n = 0; n < policy.size(); ++n) {
      const auto prompt = static_cast<Index>(n / 2);
      const Kind kind = n % 2 == 0 ? Kind::chosen : Kind::rejected;
      small.add(prompt, kind, policy[n]);
      reference.add(prompt, kind, under_reference[n]);
    }
    small.batch.reference_logp = reference.logp();
    const LossResult result = evaluate(
        DpoLoss{.objective = entry.at("objective") == "ipo" ? DpoObjective::ipo : DpoObjective::sigmoid,
                .beta = entry.at("beta").get<double>(),
                .label_smoothing = entry.at("label_smoothing").get<double>()},
        small);
    CHECK(result.value == Approx(entry.at("value").get<double>()).epsilon(1e-12));
    for (std::size_t n = 0; n < policy.size(); ++n) {
      for (std::size_t t = 0; t < policy[n].size(); ++t) {
        CHECK(result.d_logp(static_cast<Index>(n), static_cast<Index>(t)) ==
              Approx(entry.at("d_logp").at(n).at(t).get<double>()).epsilon(1e-12).margin(1e-15));
      }
    }
    const auto named = parts(result);
    REQUIRE(entry.at("metrics").size() == 6);
    for (const auto& [name, value] : entry.at("metrics").items())
      CHECK(named.at(name) == Approx(value.get<double>()).epsilon(1e-12).margin(1e-12));
  }
}

TEST_CASE("DpoLoss obeys the laws of a loss with every option", "[loss][dpo][laws]") {
  DpoLoss loss;
  loss.objective = GENERATE(DpoObjective::sigmoid, DpoObjective::ipo);
  loss.reference_free = GENERATE(false, true);
  loss.label_smoothing = loss.reference_free ? 0 : .2;
  loss.beta = .4;
  const testing::LawReport report = testing::check_loss(loss);
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("DpoLoss refuses what has no meaning", "[loss][dpo]") {
  SmallBatch small = one_pair();
  CHECK(message_of([&] { evaluate(DpoLoss{.beta = 0}, small); }) ==
        "DpoLoss: beta is out of range, found 0, expected a number above 0");
  CHECK(message_of([&] { evaluate(DpoLoss{.label_smoothing = .5}, small); }) ==
        "DpoLoss: label_smoothing is out of range, found 0.5, expected at least 0, below 0.5");
  CHECK(message_of([&] { DpoLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "DpoLoss: totals count no pairs, found 0, expected totals_of(loss, batch) of the whole step");
  small.batch.reference_logp = LogProbs();
  CHECK(message_of([&] { evaluate(DpoLoss{}, small); }) ==
        "DpoLoss, reference_logp: log-probabilities have the wrong shape, found (0, 0), expected (2, 2)");
  small = one_pair();
  small.add(0, Kind::chosen, {-1});
  CHECK(message_of([&] { evaluate(DpoLoss{.reference_free = true}, small); }) ==
        "DpoLoss: prompt 0 has more than one pair");
}
