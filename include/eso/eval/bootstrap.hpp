// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "eso/error.hpp"
#include "eso/eval/statistics.hpp"
#include "eso/random.hpp"

namespace eso {

/// The value below which the share `q` of the ascending `sorted` lies, linear between neighbours (position
/// q (n - 1)). Errors: no value; q outside [0, 1]. O(1).
inline double quantile(std::span<const double> sorted, double q) {
  require(!sorted.empty(), "eso::quantile: sorted", "no value to take a quantile of");
  require(q >= 0 && q <= 1, "eso::quantile: q", "the share lies outside [0, 1]");
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

/// How far two systems differ on the same examples.
struct PairedDifference {
  double difference = 0;      ///< mean(a - b)
  double standard_error = 0;  ///< standard deviation of the resampled means
  double low = 0;             ///< lower end of the 95 % interval
  double high = 0;            ///< upper end
};

/// Compares two systems by the scores `a` and `b` that they reached on the same examples: the mean difference
/// with a bootstrap standard error and a 95 % percentile interval.
///
/// Each of `resamples` draws takes n of the n differences a_i - b_i with replacement; the interval runs from
/// the 2.5 % to the 97.5 % quantile of their means. Pairing removes what makes an example hard for both
/// systems. The numbers drawn depend on `seed` and n alone. The error tends to std(a - b) sqrt((n - 1) / n) /
/// sqrt(n); a single example says nothing about the spread and gives 0.
///
/// Errors: no example, unequal counts, a non-finite score, fewer than 2 resamples. O(n resamples) time,
/// O(n + resamples) memory.
///
/// Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 6 and 13; for systems on
/// shared examples: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation",
/// section 3.
inline PairedDifference paired_bootstrap(std::span<const double> a, std::span<const double> b,
                                         std::size_t resamples, std::uint64_t seed) {
  const char* where = "eso::paired_bootstrap";
  require(!a.empty(), where, "no example to compare on");
  require(a.size() == b.size(), where, "a and b must hold one score for each example");
  require(resamples >= 2, where, "a standard error needs 2 resamples or more");
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    differences[i] = a[i] - b[i];
    require(std::isfinite(differences[i]), where, "a score, or a difference of two, is not finite");
  }
  const double mean = mean_std(differences).mean;
  for (double& difference : differences)
    difference -= mean;  // equal differences then give an error of exactly 0

  const auto count = static_cast<double>(differences.size());
  const StreamName stream{.seed = seed, .purpose = Purpose::shuffling};
  std::vector<double> means(resamples);
  std::uint64_t position = 0;
  for (double& resampled : means) {
    double sum = 0;
    for (std::size_t draw = 0; draw < differences.size(); ++draw) {
      sum += differences[static_cast<std::size_t>(uniform01(stream, position++) * count)];
    }
    resampled = sum / count;
  }
  std::sort(means.begin(), means.end());
  return {mean, *mean_std(means).std, mean + quantile(means, 0.025), mean + quantile(means, 0.975)};
}

}  // namespace eso
