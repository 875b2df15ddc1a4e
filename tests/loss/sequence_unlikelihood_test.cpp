// SPDX-License-Identifier: MIT
#include "eso/loss/sequence_unlikelihood.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
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

TEST_CASE("SequenceUnlikelihoodLoss equals its golden values from PyTorch", "[loss][sequence_unlikelihood]") {
  const auto golden =
      nlohmann::json::parse(std::ifstream(std::string(ESO_TEST_DIR) + "/golden/sequence_unlikelihood.json"));
  const std::map<std::string, Kind> kinds{
      {"target", Kind::target}, {"sample", Kind::sample}, {"greedy", Kind::greedy}};
  SmallBatch small(2);
  for (const auto& r : golden.at("responses")) {
    small.add(r.at("prompt").get<Index>(), kinds.at(r.at("kind").get<std::string>()),
              r.at("logp").get<std::vector<double>>());
    small.batch.responses.back().tokens = r.at("tokens").get<Tokens>();
  }
  REQUIRE(golden.at("cases").size() == 12);
  for (const auto& entry : golden.at("cases")) {
    CAPTURE(entry.at("n").dump(), entry.at("floor").dump(), entry.at("skip_last").dump());
    const LossResult result =
        evaluate(SequenceUnlikelihoodLoss{.n = entry.at("n").get<Index>(),
                                          .floor = entry.at("floor").get<double>(),
                                          .skips_last = entry.at("skip_last").get<bool>()},
                 small);
    CHECK(result.value == Approx(entry.at("value").get<double>()).epsilon(1e-12));
    for (std::size_t n = 0; n < small.rows.size(); ++n) {
      for (std::size_t t = 0; t < small.rows[n].size(); ++t) {
        CHECK(result.d_logp(static_cast<Index>(n), static_cast<Index>(t)) ==
              Approx(entry.at("d_logp").at(n).at(t).get<double>()).epsilon(1e-11).margin(1e-14));
      }
    }
  }
}

TEST_CASE("SequenceUnlikelihoodLoss obeys the laws of a loss", "[loss][sequence_unlikelihood][laws]") {
  const SequenceUnlikelihoodLoss loss{.n = GENERATE(1, 2), .skips_last = GENERATE(false, true)};
  int repeating = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    LogProbs logp;
    Batch batch = testing::random_loss_batch({}, seed, logp);
    for (Response& response : batch.responses) {
      for (TokenId& token : response.tokens) token %= 2;  // so that they repeat themselves
    }
    if (loss(batch, logp, totals_of(loss, batch)).value > 0) ++repeating;
    const testing::LawReport report = testing::check_loss(loss, batch, logp);
    INFO(report.text());
    CHECK(report.passed());
  }
  CHECK(repeating >= 2);
}

TEST_CASE("SequenceUnlikelihoodLoss refuses what has no meaning", "[loss][sequence_unlikelihood]") {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-1});
  CHECK(message_of([&] { evaluate(SequenceUnlikelihoodLoss{.n = 0}, small); }) ==
        "SequenceUnlikelihoodLoss: n must be at least 1 and floor in (0, 1)");
  CHECK(message_of([&] { SequenceUnlikelihoodLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "SequenceUnlikelihoodLoss: totals count no sampled tokens, found 0, expected totals_of(loss, batch) "
        "of the whole step");
}
