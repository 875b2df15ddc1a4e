// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "eso/data/split.hpp"

namespace {

std::vector<std::size_t> numbers(std::size_t count) {
  std::vector<std::size_t> result(count);
  std::iota(result.begin(), result.end(), std::size_t{0});
  return result;
}

}  // namespace

TEST_CASE("the first n are for testing, the others for training", "[data]") {
  const auto split = eso::test_split_named("first-n:2");
  CHECK(split.part(numbers(5), true) == std::vector<std::size_t>{0, 1});
  CHECK(split.part(numbers(5), false) == std::vector<std::size_t>{2, 3, 4});
}

TEST_CASE("a seeded split draws what an independent generator draws, and both parts keep the order",
          "[data][golden]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/formats.json");
  const auto golden = nlohmann::json::parse(file)["splits"];
  REQUIRE(golden.size() == 4);
  for (const auto& expected : golden) {
    const auto count = expected["count"].get<std::size_t>(), n = expected["examples"].get<std::size_t>();
    const auto seed = expected["seed"].get<std::uint64_t>();
    const auto split = eso::test_split_named(fmt::format("seeded:{}:{}", count, seed));
    const auto test = split.part(numbers(n), true), train = split.part(numbers(n), false);
    CHECK(test == expected["test"].get<std::vector<std::size_t>>());
    CHECK(train.size() == n - count);
    CHECK(std::is_sorted(train.begin(), train.end()));
    std::vector<std::size_t> all = test;
    all.insert(all.end(), train.begin(), train.end());
    std::sort(all.begin(), all.end());
    CHECK(all == numbers(n));
  }
  CHECK(eso::test_split_named("seeded:3").part(numbers(10), true) ==
        golden[0]["test"].get<std::vector<std::size_t>>());  // seed 0
}

TEST_CASE("splits that are none, or leave a part without an example, are refused by the flag", "[data]") {
  for (const char* name : {"", "first-n", "first-n:", "first-n:0", "first-n:-1", "first-n:1:2", "first-n:1x",
                           "seeded:", "seeded:0", "seeded:5:", "seeded:5:x", "seeded:5:1:2", "random:5",
                           "first-n: 1", "seeded:99999999999999999999", "seeded:1:99999999999999999999"}) {
    INFO(name);
    CHECK_THROWS_WITH(eso::test_split_named(name, "--test-split"),
                      Catch::Matchers::StartsWith("--test-split: is no split"));
  }
  const auto split = eso::test_split_named("first-n:3");
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}})
    CHECK_THROWS_WITH(
        split.part(numbers(n), true, "--test-split"),
        fmt::format("--test-split: cannot take 3 of {} examples, expected one for each part at least", n));
  CHECK(split.part(numbers(4), false) == std::vector<std::size_t>{3});
}
