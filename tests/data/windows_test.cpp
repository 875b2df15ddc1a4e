// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "eso/data/windows.hpp"

namespace {

using eso::Tokens;

/// Prompt and target of each window, joined again.
std::vector<Tokens> joined(const std::vector<eso::Example>& windows) {
  std::vector<Tokens> result;
  for (const eso::Example& window : windows) {
    CHECK(window.prompt.size() == 1);
    CHECK(window.number == static_cast<eso::Index>(result.size()));
    result.push_back(window.prompt);
    result.back().insert(result.back().end(), window.target.begin(), window.target.end());
  }
  return result;
}

std::vector<Tokens> cut(const std::vector<Tokens>& texts, eso::Index window, std::uint64_t seed = 1) {
  return joined(eso::windows(std::span<const Tokens>(texts), 0, window, seed));
}

}  // namespace

TEST_CASE("without shuffling texts stand in windows as they come", "[data]") {
  const std::vector<Tokens> texts{{1, 2}, {3}, {4, 5}, {6}};
  CHECK(joined(eso::windows(texts, 0, 5, 7, false)) == std::vector<Tokens>{{1, 2, 0, 3, 0}, {4, 5, 0, 6, 0}});
}

TEST_CASE("one text is cut into windows by hand", "[data]") {
  // 1 2 3 4 5 6 7 and the end, 0: eight tokens
  const std::vector<Tokens> text{{1, 2, 3, 4, 5, 6, 7}};
  CHECK(cut(text, 4) == std::vector<Tokens>{{1, 2, 3, 4}, {5, 6, 7, 0}});
  CHECK(cut(text, 3) == std::vector<Tokens>{{1, 2, 3}, {4, 5, 6}, {7, 0}});  // a rest of two is kept
  CHECK(cut(text, 7) == std::vector<Tokens>{{1, 2, 3, 4, 5, 6, 7}});         // a rest of one is not
  CHECK(cut(text, 100) == std::vector<Tokens>{{1, 2, 3, 4, 5, 6, 7, 0}});
  CHECK(cut(text, 2).size() == 4);
}

TEST_CASE("windows hold every text once, each with its end behind it", "[data]") {
  std::vector<Tokens> texts;
  for (eso::TokenId i = 1; i <= 50; ++i) texts.push_back(Tokens(static_cast<std::size_t>(i % 5), i));
  const auto once = cut(texts, 1000, 3);
  REQUIRE(once.size() == 1);  // 100 tokens and 50 ends
  CHECK(once[0].size() == 150);
  CHECK(std::count(once[0].begin(), once[0].end(), 0) == 50);
  for (eso::TokenId i = 1; i <= 50; ++i) CHECK(std::count(once[0].begin(), once[0].end(), i) == i % 5);
  std::size_t breaks = 0;  // neighbours differ only across an end, so texts are whole
  for (std::size_t t = 1; t < once[0].size(); ++t) {
    breaks += once[0][t] != once[0][t - 1] && once[0][t] != 0 && once[0][t - 1] != 0 ? 1U : 0U;
  }
  CHECK(breaks == 0);

  Tokens small_ones;  // the same stream whatever the window
  for (const Tokens& window : cut(texts, 7, 3))
    small_ones.insert(small_ones.end(), window.begin(), window.end());
  CHECK(small_ones == once[0]);
  CHECK(cut(texts, 1000, 4)[0] != once[0]);  // another seed, another order
}

TEST_CASE("windows equal those of an independent program", "[data]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/data.json");
  const auto golden = nlohmann::json::parse(file);
  REQUIRE(golden["windows"].size() == 2);
  for (const auto& entry : golden["windows"]) {
    const auto texts = entry["texts"].get<std::vector<Tokens>>();
    const auto made = eso::windows(std::span<const Tokens>(texts), entry["eos"].get<eso::TokenId>(),
                                   entry["window"].get<eso::Index>(), entry["seed"].get<std::uint64_t>());
    CHECK(joined(made) == entry["windows"].get<std::vector<Tokens>>());
  }
}

TEST_CASE("windows refuse what gives none", "[data]") {
  CHECK_THROWS_AS(cut({{1, 2, 3}}, 1), eso::Error);
  CHECK_THROWS_AS(cut({{1, 2, 3}}, -5), eso::Error);
  CHECK_THROWS_AS(cut({}, 4), eso::Error);
  CHECK_THROWS_AS(cut({{}}, 4), eso::Error);
}
