// SPDX-License-Identifier: MIT
#include "eso/loss/sequence_unlikelihood.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

TEST_CASE("repeated tokens are those in an n-gram that stood before", "[loss][sequence_unlikelihood]") {
  const auto mask = [](const Tokens& tokens, std::size_t n, bool skips_last = false) {
    std::string text;
    for (const bool m : repeated(tokens, n, skips_last)) text += m ? '1' : '0';
    return text;
  };
  CHECK(mask({1, 2, 3, 1, 2, 4}, 2) == "000110");
  CHECK(mask({1, 1, 1, 1}, 2) == "0111");  // the second pair overlaps the first
  CHECK(mask({1, 2, 1, 2}, 2) == "0011");
  CHECK(mask({1, 2, 1, 2}, 2, true) == "0000");  // the released code never looks at the last pair
  CHECK(mask({1, 2, 1, 2, 5}, 2, true) == "00110");
  CHECK(mask({1, 2}, 3) == "00");
  CHECK(mask({}, 1).empty());
  CHECK(mask({7, 8, 7}, 1) == "001");
}

TEST_CASE("SequenceUnlikelihoodLoss by hand", "[loss][sequence_unlikelihood]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1, -2, -3, -.5, -.25})
      .add(0, Kind::sample, {-1})
      .add(0, Kind::target, {-1, -1});
  small.batch.responses[0].tokens = {1, 2, 3, 1, 2};
  small.batch.responses[2].tokens = {1, 1};
  const SequenceUnlikelihoodLoss loss{.n = 2};
  // of six sampled tokens the fourth and fifth stand in a repeated pair
  const auto u = [](double logp) { return -std::log(1 - std::exp(logp)); };
  const LossResult result = evaluate(loss, small);
  CHECK(result.value == Approx((u(-.5) + u(-.25)) / 6).epsilon(1e-13));
  CHECK(result.d_logp(0, 3) == Approx(std::exp(-.5) / (1 - std::exp(-.5)) / 6).epsilon(1e-13));
  CHECK(result.d_logp(0, 2) == 0);
  CHECK(evaluate(SequenceUnlikelihoodLoss{}, small).value == 0);  // no four tokens twice
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/sequence-unlikelihood");
}

TEST_CASE("SequenceUnlikelihoodLoss obeys the laws of a loss", "[loss][sequence_unlikelihood][laws]") {
  // grams of one token: the random texts repeat some
  const testing::LawReport report =
      testing::check_loss(SequenceUnlikelihoodLoss{.n = 1, .skips_last = GENERATE(false, true)});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("SequenceUnlikelihoodLoss refuses what has no meaning", "[loss][sequence_unlikelihood]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1});
  CHECK(message_of([&] { evaluate(SequenceUnlikelihoodLoss{.n = 0}, small); }) ==
        "SequenceUnlikelihoodLoss: n must be at least 1 and floor in (0, 1)");
  CHECK(message_of([&] { SequenceUnlikelihoodLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "SequenceUnlikelihoodLoss: totals count no sampled tokens");
}
