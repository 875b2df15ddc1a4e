// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace eso_program {

/// A series in at most so many points: the mean, smallest and largest value of each bucket of neighbours.
struct Thinned {
  std::vector<double> x, mean, low, high;
  std::size_t bucket = 1;  ///< values in a bucket (the last may hold fewer)
};

/// Thins `y` over `x` (of equal size) to at most `most_points` buckets. Missing values do not count; a bucket
/// of nothing else is missing.
Thinned thin(std::span<const double> x, std::span<const double> y, std::size_t most_points);

/// The mean over the `window` values around each (fewer at the ends); missing where the value is.
std::vector<double> moving_mean(std::span<const double> y, std::size_t window);

/// The mean of the values that are not missing; missing where all are.
double mean_of(std::span<const double> values);

/// A window for `moving_mean` that leaves the shape of `count` noisy values readable: odd, 1 for few.
std::size_t smoothing_window(std::size_t count);

}  // namespace eso_program
