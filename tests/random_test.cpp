// SPDX-License-Identifier: MIT
#include "eso/random.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <vector>

namespace {

using Words = std::array<std::uint32_t, 4>;

// The known answers of Random123 for philox4x32-10. Constant expressions, so a wrong one does not compile.
static_assert(eso::philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(eso::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
              Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
static_assert(eso::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
              Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

}  // namespace

TEST_CASE("Philox gives the known answers of Random123 at run time too") {
  const std::array<std::uint32_t, 4> pi = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  CHECK(eso::philox(pi, {0xa4093822, 0x299f31d0}) == Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("every part of a stream's name and the position give other numbers") {
  const eso::StreamName name{.seed = 5, .step = 2, .prompt = 3, .sample = 4};
  std::vector<eso::StreamName> others(7, name);
  others[0].seed = 6;
  others[1].seed = 5 + (std::uint64_t{1} << 32);
  others[2].purpose = eso::Purpose::shuffling;
  others[3].step = 3;
  others[4].prompt = 4;
  others[5].sample = 5;
  others[6].prompt = 2, others[6].step = 3;  // exchanged
  std::set<std::uint64_t> bits{eso::random_bits(name, 0), eso::random_bits(name, 1),
                               eso::random_bits(name, std::uint64_t{2} << 32)};
  for (const eso::StreamName& other : others) bits.insert(eso::random_bits(other, 0));
  CHECK(bits.size() == 10);
  CHECK(eso::random_bits(name, 7) == eso::random_bits(name, 7));
}

TEST_CASE("uniform numbers are at least 0, below 1 and have the moments of the uniform distribution") {
  const eso::StreamName name{.seed = 11};
  constexpr int count = 200000;
  double sum = 0, squares = 0, neighbours = 0, before = 0.5, least = 1, most = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double u = eso::uniform01(name, i);
    least = std::min(least, u), most = std::max(most, u);
    sum += u, squares += u * u, neighbours += (u - 0.5) * (before - 0.5);
    before = u;
  }
  CHECK(least >= 0);
  CHECK(most < 1);
  // Four standard errors: sqrt(1/12/n), sqrt(4/45/n) and 1/12/sqrt(n).
  CHECK(sum / count == Approx(0.5).margin(4 * std::sqrt(1.0 / 12 / count)));
  CHECK(squares / count == Approx(1.0 / 3).margin(4 * std::sqrt(4.0 / 45 / count)));
  CHECK(neighbours / count == Approx(0).margin(4.0 / 12 / std::sqrt(count)));
}

TEST_CASE("normal numbers have the moments of the normal distribution") {
  const eso::StreamName name{.seed = 12};
  constexpr int count = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const double x = eso::normal(name, i);
    REQUIRE(std::isfinite(x));
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  CHECK(sum / count == Approx(0).margin(4 / std::sqrt(count)));
  CHECK(squares / count == Approx(1).margin(4 * std::sqrt(2.0 / count)));
  CHECK(fourth / count == Approx(3).margin(4 * std::sqrt(96.0 / count)));
}

TEST_CASE("a permutation holds each number once and every order equally often") {
  const auto ten = eso::permutation(10, {.seed = 1});
  std::vector<std::size_t> sorted = ten;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < 10; ++i) CHECK(sorted[i] == i);
  CHECK(ten == eso::permutation(10, {.seed = 1}));
  CHECK(ten != eso::permutation(10, {.seed = 2}));
  CHECK(eso::permutation(0, {}).empty());
  std::map<std::vector<std::size_t>, int> counts;
  constexpr int draws = 60000;
  for (std::uint64_t seed = 0; seed < draws; ++seed) ++counts[eso::permutation(3, {.seed = seed})];
  CHECK(counts.size() == 6);
  double chi_square = 0;
  for (const auto& [order, count] : counts)
    chi_square += (count - draws / 6.0) * (count - draws / 6.0) / (draws / 6.0);
  CHECK(chi_square < 20.5);  // 5 degrees of freedom, 1 in 1000
}
