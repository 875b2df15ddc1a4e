// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "eso/threads.hpp"

/// Seconds of the fastest of `repeats` runs of `work(part)` on all threads.
inline double fastest(eso::Threads& threads, int repeats, const auto& work) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    threads.for_each(threads.count(), work);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

/// Operations a second of float32 multiply-adds in registers, all threads, two operations each.
inline double fused_multiply_adds(eso::Threads& threads) {
  using Lanes = Eigen::internal::packet_traits<float>::type;
  constexpr int chains = 16, lanes = Eigen::internal::packet_traits<float>::size, rounds = 2'000'000;
  std::vector<float> sink(static_cast<std::size_t>(threads.count()));
  const double seconds = fastest(threads, 15, [&](eso::Index part) {
    [&]<int... c>(std::integer_sequence<int, c...>) {
      Lanes sum[chains] = {Eigen::internal::pset1<Lanes>(static_cast<float>(c))...};
      const Lanes a = Eigen::internal::pset1<Lanes>(0.999F), b = Eigen::internal::pset1<Lanes>(0.001F);
      for (int i = 0; i < rounds; ++i) ((sum[c] = Eigen::internal::pmadd(sum[c], a, b)), ...);
      sink[static_cast<std::size_t>(part)] = (Eigen::internal::predux(sum[c]) + ...);
    }(std::make_integer_sequence<int, chains>());
  });
  return 2.0 * rounds * chains * lanes * threads.count() / seconds;
}

/// Bytes a second of summing an array of 512 MiB, all threads.
inline double read_bandwidth(eso::Threads& threads) {
  using Lanes = Eigen::internal::packet_traits<float>::type;
  constexpr int chains = 8, lanes = Eigen::internal::packet_traits<float>::size;
  const Eigen::Index count = Eigen::Index{1} << 27;
  const Eigen::ArrayXf data = Eigen::ArrayXf::Ones(count);
  std::vector<float> sink(static_cast<std::size_t>(threads.count()));
  const double seconds = fastest(threads, 9, [&](eso::Index part) {
    const Eigen::Index length = count / threads.count();
    const float* from = data.data() + part * length;
    [&]<int... c>(std::integer_sequence<int, c...>) {
      Lanes sum[chains] = {Eigen::internal::pset1<Lanes>(static_cast<float>(c))...};
      for (Eigen::Index i = 0; i < length; i += chains * lanes) {
        ((sum[c] = Eigen::internal::padd(sum[c], Eigen::internal::ploadu<Lanes>(from + i + c * lanes))), ...);
      }
      sink[static_cast<std::size_t>(part)] = (Eigen::internal::predux(sum[c]) + ...);
    }(std::make_integer_sequence<int, chains>());
  });
  return 4.0 * static_cast<double>(count) / seconds;
}

/// Bytes a second of a = b + s c over arrays of 256 MiB, all threads; three arrays counted.
inline double triad_bandwidth(eso::Threads& threads) {
  const Eigen::Index count = Eigen::Index{1} << 26;
  Eigen::ArrayXf a = Eigen::ArrayXf::Zero(count), b = Eigen::ArrayXf::Ones(count), c = b;
  const double seconds = fastest(threads, 7, [&](eso::Index part) {
    const Eigen::Index length = count / threads.count(), from = part * length;
    a.segment(from, length) = b.segment(from, length) + 0.5F * c.segment(from, length);
  });
  return 12.0 * static_cast<double>(count) / seconds;
}
