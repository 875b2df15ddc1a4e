// SPDX-License-Identifier: MIT
#include "eso/sample/distribution.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "eso/random.hpp"

namespace {

using eso::Index;

template <class Scalar>
eso::Draw draw(eso::Distribution<Scalar>& distribution, const std::vector<Scalar>& logits, double uniform) {
  return distribution.draw(logits.data(), static_cast<Index>(logits.size()), uniform);
}

/// The share of [0, 1) whose uniform numbers give each token, to one part in `steps` an edge.
template <class Scalar>
std::vector<double> shares(eso::Distribution<Scalar>& distribution, const std::vector<Scalar>& logits,
                           int steps = 4000) {
  std::vector<double> result(logits.size(), 0.0);
  for (int i = 0; i < steps; ++i) {
    result[static_cast<std::size_t>(draw(distribution, logits, (i + 0.5) / steps).token)] += 1.0 / steps;
  }
  return result;
}

double entropy_of(const std::vector<double>& probabilities) {
  double entropy = 0;
  for (const double p : probabilities) entropy -= p > 0 ? p * std::log(p) : 0;
  return entropy;
}

auto nearly(const std::vector<double>& expected) { return Catch::Matchers::Approx(expected).margin(6e-4); }

constexpr double last_uniform = 1 - 0x1.0p-53;

}  // namespace

TEST_CASE("a draw has the probabilities of softmax(logits / temperature)") {
  struct Case {
    double temperature;
    std::vector<double> probabilities;
  };
  const Case cases[] = {{0.5, {0.866813, 0.117310, 0.015876}},
                        {1, {0.665241, 0.244728, 0.090031}},
                        {1.25, {0.605611, 0.272118, 0.122271}},
                        {1.5, {0.562742, 0.288921, 0.148337}},
                        {2, {0.506480, 0.307196, 0.186324}}};
  const std::vector<double> logits{2, 1, 0};
  for (const Case& c : cases) {
    eso::Distribution<double> distribution;
    distribution.temperature = c.temperature;
    const auto found = shares(distribution, logits, 100000);
    for (std::size_t i = 0; i < 3; ++i) CHECK(found[i] == Approx(c.probabilities[i]).margin(2e-5));
    const eso::Draw d = draw(distribution, logits, 0.99999);
    CHECK(d.token == 2);
    CHECK(d.logp == Approx(std::log(0.090031)).epsilon(1e-5));  // at temperature 1 whatever was drawn from
    CHECK(d.entropy == Approx(0.832396).epsilon(1e-5));         // - sum p log p of the second line
    CHECK(d.entropy_drawn == Approx(entropy_of(c.probabilities)).epsilon(1e-4));
  }
}

TEST_CASE("top-k and top-p leave what transformers' warpers leave") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/sampling.json");
  const auto cases = nlohmann::json::parse(file);
  REQUIRE(cases.size() > 100);
  for (const auto& c : cases) {
    INFO("temperature " << c["temperature"] << " top_k " << c["top_k"] << " top_p " << c["top_p"] << " of "
                        << c["logits"].size());
    const auto logits = c["logits"].get<std::vector<double>>();
    const auto expected = c["probabilities"].get<std::vector<double>>();
    eso::Distribution<double> distribution;
    distribution.temperature = c["temperature"].get<double>();
    distribution.top_k = c["top_k"].get<Index>();
    distribution.top_p = c["top_p"].get<double>();
    const auto found = shares(distribution, logits);
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(found[i] - expected[i]));
      if (expected[i] == 0) CHECK(found[i] == 0);
    }
    CHECK(worst < 6e-4);
    CHECK(draw(distribution, logits, 0.5).entropy_drawn == Approx(entropy_of(expected)).margin(1e-9));
  }
}

TEST_CASE("all tokens as likely as the k-th stay, and top-p counts what top-k left") {
  eso::Distribution<float> distribution;
  distribution.top_k = 1;
  CHECK_THAT(shares<float>(distribution, {3, 1, 3, 0}), nearly({0.5, 0, 0.5, 0}));
  distribution.top_k = 2;
  distribution.top_p = 0.6;  // of e^2, e, 1 the first two stay; the first has 0.73 of them
  CHECK_THAT(shares<float>(distribution, {0, 2, 1}), nearly({0, 1, 0}));
}

TEST_CASE("of equally likely tokens top-p drops those with the lower ids first") {
  eso::Distribution<double> distribution;
  distribution.top_p = 0.5;
  CHECK_THAT(shares<double>(distribution, {1, 1, 1, 1}), nearly({0, 0, 0.5, 0.5}));
  distribution.top_p = 1e-12;
  CHECK_THAT(shares<double>(distribution, {1, 1, 1, 1}), nearly({0, 0, 0, 1}));
}

TEST_CASE("temperature 0 is the most likely token, the lowest id among equals") {
  eso::Distribution<float> distribution;
  distribution.temperature = 0;
  for (const double uniform : {0.0, 0.5, last_uniform}) {
    CHECK(draw<float>(distribution, {0, 5, 1, 5, 5}, uniform).token == 1);
    std::vector<float> many(1000, 2.F);
    many[0] = 1;
    CHECK(draw(distribution, many, uniform).token == 1);
    many[517] = 2.5F;
    CHECK(draw(distribution, many, uniform).token == 517);
  }
  const eso::Draw d = draw<float>(distribution, {2, 1, 0}, 0.3);
  CHECK(d.entropy_drawn == d.entropy);
  CHECK(d.entropy == Approx(0.832396).epsilon(1e-5));
}

TEST_CASE("extreme temperatures are greedy and uniform") {
  eso::Distribution<float> distribution;
  for (const double tiny : {1e-30, 1e-45, std::numeric_limits<double>::denorm_min()}) {
    distribution.temperature = tiny;
    const eso::Draw d = draw<float>(distribution, {1, 1.001F, 0}, last_uniform);
    CHECK(d.token == 1);
    CHECK(d.entropy_drawn == Approx(0).margin(1e-12));
  }
  distribution.temperature = 1e300;
  const auto found = shares<float>(distribution, {50, -50, 0, 3});
  for (const double share : found) CHECK(share == Approx(0.25).margin(1e-3));
}

TEST_CASE("a draw never leaves the support, at either end of the uniform numbers") {
  const float none = -std::numeric_limits<float>::infinity();
  std::vector<float> logits(700, none);
  logits[3] = 0, logits[260] = -1, logits[300] = -30;
  eso::Distribution<float> distribution;
  for (const double temperature : {1.0, 0.7}) {
    distribution.temperature = temperature;
    CHECK(draw(distribution, logits, 0).token == 3);
    const auto last = draw(distribution, logits, last_uniform);
    CHECK((last.token == 260 || last.token == 300));
    CHECK(std::isfinite(last.logp));
    CHECK(std::isfinite(last.entropy));
    CHECK(std::isfinite(last.entropy_drawn));
  }
}

TEST_CASE("logits that are not numbers, or none of them finite, are refused") {
  eso::Distribution<float> distribution;
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  for (const double temperature : {0.0, 1.0}) {
    distribution.temperature = temperature;
    CHECK_THROWS_AS(draw<float>(distribution, {nan, 1}, 0.5), eso::Error);
    CHECK_THROWS_AS(draw<float>(distribution, {1, 2, nan}, 0.5), eso::Error);
    CHECK_THROWS_AS(draw<float>(distribution, {1, infinity}, 0.5), eso::Error);
    CHECK_THROWS_AS(draw<float>(distribution, {-infinity, -infinity}, 0.5), eso::Error);
  }
}

TEST_CASE("frequencies of draws with counter-based numbers pass a chi-square test") {
  constexpr int draws = 200000, vocabulary = 600;
  std::vector<float> logits;
  for (std::uint64_t i = 0; i < vocabulary; ++i) {
    logits.push_back(static_cast<float>(eso::normal({.seed = 2, .purpose = eso::Purpose::perturbing}, i)));
  }
  for (const double temperature : {0.7, 1.0, 2.0}) {
    std::vector<double> expected, counts(vocabulary, 0.0);
    double sum = 0;
    for (const float logit : logits)
      sum += expected.emplace_back(std::exp(static_cast<double>(logit) / temperature));
    eso::Distribution<float> distribution;
    distribution.temperature = temperature;
    for (std::uint64_t i = 0; i < draws; ++i) {
      ++counts[static_cast<std::size_t>(draw(distribution, logits, eso::uniform01({.seed = 3}, i)).token)];
    }
    double chi_square = 0;
    for (std::size_t v = 0; v < vocabulary; ++v) {
      const double wanted = draws * expected[v] / sum;
      chi_square += (counts[v] - wanted) * (counts[v] - wanted) / wanted;
    }
    CHECK(chi_square < 599 + 3.29 * std::sqrt(2.0 * 599));  // about 1 in 1000 above, and 1 in 1000 below
    CHECK(chi_square > 599 - 3.29 * std::sqrt(2.0 * 599));
  }
}
