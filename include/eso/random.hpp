// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace eso {

/// What random numbers are drawn for: part of a stream's name, so that no two uses share numbers.
enum class Purpose : std::uint32_t {
  sampling = 0,
  shuffling = 1,
  initialising = 2,
  dropout = 3,
  perturbing = 4
};

/// The name of a stream of random numbers. Equal names give equal numbers, on every machine and backend,
/// whatever else is drawn: there is no state that could drift.
struct StreamName {
  std::uint64_t seed = 0;
  Purpose purpose = Purpose::sampling;
  std::uint32_t step = 0;
  std::uint32_t prompt = 0;
  std::uint32_t sample = 0;
};

/// The counter-based generator Philox4x32-10: four 32-bit words of the 128-bit `counter` under the 64-bit
/// `key`.
///
/// Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", SC11; checked against the known
/// answers published with Random123.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                              std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

/// Random bits number `position` of the stream: 128 of them, in four words. O(1), any order.
constexpr std::array<std::uint32_t, 4> random_words(const StreamName& name, std::uint64_t position) {
  // The counter holds the position (32 bits), the sample (24), the purpose (8), the prompt and the step; the
  // 64 bits of the seed are the key. Positions beyond 2^32 go on in the purpose's upper neighbour, the key.
  const auto low = static_cast<std::uint32_t>(position);
  const auto high = static_cast<std::uint32_t>(position >> 32);
  const std::uint32_t use = (name.sample << 8) | static_cast<std::uint32_t>(name.purpose);
  return philox({low, use, name.prompt, name.step},
                {static_cast<std::uint32_t>(name.seed), static_cast<std::uint32_t>(name.seed >> 32) ^ high});
}

/// The first 64 bits of `random_words`.
constexpr std::uint64_t random_bits(const StreamName& name, std::uint64_t position) {
  const auto words = random_words(name, position);
  return (std::uint64_t{words[0]} << 32) | words[1];
}

/// A number uniform on [0, 1), a multiple of 2^-53.
constexpr double uniform01(const StreamName& name, std::uint64_t position) {
  return static_cast<double>(random_bits(name, position) >> 11) * 0x1.0p-53;
}

/// A standard normal number, from the uniform numbers 2 * position and 2 * position + 1 (Box and Muller).
inline double normal(const StreamName& name, std::uint64_t position) {
  const double radius = std::sqrt(-2 * std::log(1 - uniform01(name, 2 * position)));
  return radius * std::cos(2 * std::numbers::pi * uniform01(name, 2 * position + 1));
}

/// 0 ... count - 1 in an order that the stream decides (Fisher and Yates). O(count).
inline std::vector<std::size_t> permutation(std::size_t count, const StreamName& name) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = count; i > 1; --i) {
    const auto j = static_cast<std::size_t>(uniform01(name, i) * static_cast<double>(i));
    std::swap(order[i - 1], order[j]);
  }
  return order;
}

}  // namespace eso
