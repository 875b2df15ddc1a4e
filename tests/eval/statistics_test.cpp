// SPDX-License-Identifier: MIT
#include "eso/eval/statistics.hpp"

#include <catch2/catch.hpp>
#include <vector>

TEST_CASE("mean and standard deviation by hand") {
  // 2, 4, 9: mean 5, squared deviations 9 + 1 + 16 = 26, 26 / 2 = 13.
  const std::vector<double> values{2, 4, 9};
  const eso::MeanStd result = eso::mean_std(values);
  CHECK(result.mean == Approx(5));
  REQUIRE(result.std.has_value());
  CHECK(*result.std == Approx(std::sqrt(13.0)));
}

TEST_CASE("one value has a mean and no standard deviation") {
  const std::vector<double> values{0.3};
  CHECK(eso::mean_std(values).mean == 0.3);
  CHECK_FALSE(eso::mean_std(values).std.has_value());
}

TEST_CASE("no value is an error") { CHECK_THROWS_AS(eso::mean_std({}), eso::Error); }

TEST_CASE("equal values give exactly their value and zero") {
  const std::vector<double> values(7, 0.1);  // 7 x 0.1 / 7 would round to another number
  CHECK(eso::mean_std(values).mean == 0.1);
  CHECK(*eso::mean_std(values).std == 0.0);
}

TEST_CASE("a large common offset does not drown the standard deviation") {
  const std::vector<double> values{1e9 + 1, 1e9 + 2, 1e9 + 3};
  CHECK(*eso::mean_std(values).std == Approx(1.0));
}
