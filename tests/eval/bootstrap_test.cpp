// SPDX-License-Identifier: MIT
#include "eso/eval/bootstrap.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

constexpr std::size_t many = 20000;

std::vector<double> zeros(const std::vector<double>& like) { return std::vector<double>(like.size(), 0.0); }

}  // namespace

TEST_CASE("quantiles lie on the line between neighbours") {
  const std::vector<double> sorted{1, 2, 4, 8};
  CHECK(eso::quantile(sorted, 0) == 1);
  CHECK(eso::quantile(sorted, 1) == 8);
  CHECK(eso::quantile(sorted, 0.5) == Approx(3));      // position 1.5
  CHECK(eso::quantile(sorted, 0.25) == Approx(1.75));  // position .75
  CHECK_THROWS_AS(eso::quantile({}, 0.5), eso::Error);
  CHECK_THROWS_AS(eso::quantile(sorted, 1.5), eso::Error);
}

TEST_CASE("bootstrap of two examples by hand") {
  // Differences 0 and 1: the mean of two draws is 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so its standard
  // deviation is sqrt(1/8) and the 95 % interval is the whole range.
  const std::vector<double> a{0.5, 1.0};
  const std::vector<double> b{0.5, 0.0};
  const eso::PairedDifference result = eso::paired_bootstrap(a, b, many, 3);
  CHECK(result.difference == Approx(0.5));
  CHECK(result.standard_error == Approx(std::sqrt(0.125)).epsilon(0.02));
  CHECK(result.low == 0.0);
  CHECK(result.high == 1.0);
}

TEST_CASE("bootstrap of a large sample agrees with the normal theory") {
  const eso::StreamName stream{.seed = 11, .purpose = eso::Purpose::initialising};
  std::vector<double> a(1500);
  std::vector<double> b(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    b[i] = 10 * eso::normal(stream, 2 * i);  // hard and easy examples, the same for both
    a[i] = b[i] + 0.2 + eso::normal(stream, 2 * i + 1);
  }
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  const eso::MeanStd theory = eso::mean_std(differences);
  const double error = *theory.std / std::sqrt(static_cast<double>(a.size()));

  const eso::PairedDifference result = eso::paired_bootstrap(a, b, 5000, 7);
  CHECK(result.difference == Approx(theory.mean));
  CHECK(result.standard_error == Approx(error).epsilon(0.04));
  CHECK(result.low == Approx(theory.mean - 1.96 * error).margin(0.1 * error));
  CHECK(result.high == Approx(theory.mean + 1.96 * error).margin(0.1 * error));
}

TEST_CASE("the 95 % interval holds the truth about 95 times in 100") {
  int held = 0;
  constexpr int trials = 400;
  for (int trial = 0; trial < trials; ++trial) {
    const eso::StreamName stream{
        .seed = 5, .purpose = eso::Purpose::initialising, .step = static_cast<std::uint32_t>(trial)};
    std::vector<double> a(80);
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = 0.3 + eso::normal(stream, i);
    const eso::PairedDifference result =
        eso::paired_bootstrap(a, zeros(a), 400, static_cast<std::uint64_t>(trial));
    if (result.low <= 0.3 && 0.3 <= result.high) ++held;
  }
  // 380 expected with a standard deviation of 4.4; the percentile interval is a little short at 80 examples.
  CHECK(held >= 358);
  CHECK(held <= 396);
}

TEST_CASE("one example has a difference without spread") {
  const std::vector<double> a{0.75};
  const std::vector<double> b{0.5};
  const eso::PairedDifference result = eso::paired_bootstrap(a, b, 100, 1);
  CHECK(result.difference == 0.25);
  CHECK(result.standard_error == 0);
  CHECK(result.low == 0.25);
  CHECK(result.high == 0.25);
}

TEST_CASE("equal differences give an interval of no width") {
  const std::vector<double> b{0.1, 0.2, 0.7, 0.3};
  const eso::PairedDifference same = eso::paired_bootstrap(b, b, 100, 1);
  CHECK(same.difference == 0);
  CHECK(same.standard_error == 0);
  CHECK(same.low == 0);
  CHECK(same.high == 0);
}

TEST_CASE("exchanging the two systems mirrors the interval") {
  const std::vector<double> a{0.3, 0.9, 0.4, 0.1, 0.6};
  const std::vector<double> b{0.2, 0.5, 0.8, 0.1, 0.1};
  const eso::PairedDifference forth = eso::paired_bootstrap(a, b, 999, 4);
  const eso::PairedDifference back = eso::paired_bootstrap(b, a, 999, 4);
  CHECK(back.difference == Approx(-forth.difference));
  CHECK(back.standard_error == Approx(forth.standard_error));
  CHECK(back.low == Approx(-forth.high));
  CHECK(back.high == Approx(-forth.low));
}

TEST_CASE("the seed alone decides the numbers drawn") {
  const std::vector<double> a{0.3, 0.9, 0.4, 0.1, 0.6, 0.2};
  const auto run = [&](std::uint64_t seed) {
    return eso::paired_bootstrap(a, zeros(a), 200, seed).standard_error;
  };
  CHECK(run(8) == run(8));
  CHECK(run(8) != run(9));
}

TEST_CASE("bootstrap refuses what it cannot compare") {
  const std::vector<double> two{0.1, 0.2};
  const std::vector<double> one{0.1};
  const std::vector<double> bad{0.1, std::numeric_limits<double>::quiet_NaN()};
  CHECK_THROWS_AS(eso::paired_bootstrap({}, {}, 100, 0), eso::Error);
  CHECK_THROWS_AS(eso::paired_bootstrap(two, one, 100, 0), eso::Error);
  CHECK_THROWS_AS(eso::paired_bootstrap(two, bad, 100, 0), eso::Error);
  CHECK_THROWS_AS(eso::paired_bootstrap(two, two, 1, 0), eso::Error);
}

TEST_CASE("bootstrap agrees with the enumerated distribution and with numpy") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/bootstrap.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  for (const nlohmann::json& row : golden.at("exact")) {
    const auto result = eso::paired_bootstrap(row.at("a").get<std::vector<double>>(),
                                              row.at("b").get<std::vector<double>>(), many, 21);
    CHECK(result.difference == Approx(row.at("difference").get<double>()));
    CHECK(result.standard_error == Approx(row.at("standard_error").get<double>()).epsilon(0.02));
    CHECK(result.low >= row.at("low_range")[0].get<double>() - 1e-9);
    CHECK(result.low <= row.at("low_range")[1].get<double>() + 1e-9);
    CHECK(result.high >= row.at("high_range")[0].get<double>() - 1e-9);
    CHECK(result.high <= row.at("high_range")[1].get<double>() + 1e-9);
  }
  for (const nlohmann::json& row : golden.at("simulated")) {
    const auto result = eso::paired_bootstrap(row.at("a").get<std::vector<double>>(),
                                              row.at("b").get<std::vector<double>>(), many, 22);
    const double error = row.at("standard_error").get<double>();
    CHECK(result.difference == Approx(row.at("difference").get<double>()).margin(1e-6));
    CHECK(result.standard_error == Approx(error).epsilon(0.03));
    CHECK(result.low == Approx(row.at("low").get<double>()).margin(0.1 * error));
    CHECK(result.high == Approx(row.at("high").get<double>()).margin(0.1 * error));
  }
}
