// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <optional>
#include <span>

#include "eso/error.hpp"

namespace eso {

/// The mean of some values and, where there are two or more, their standard deviation.
struct MeanStd {
  double mean = 0;
  std::optional<double> std;  ///< with n - 1; none for a single value
};

/// mean = (1/n) sum x_i and std = sqrt(sum (x_i - mean)^2 / (n - 1)).
///
/// Works on the differences to the first value, so equal values give exactly that value and 0. Non-finite
/// values propagate. Errors: no value at all. O(n).
inline MeanStd mean_std(std::span<const double> values) {
  require(!values.empty(), "eso::mean_std: values", "no value to take the mean of");
  const double first = values.front();
  const auto count = static_cast<double>(values.size());
  double shift = 0;
  for (const double value : values) shift += value - first;
  MeanStd result{first + shift / count, std::nullopt};
  if (values.size() == 1) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.std = std::sqrt(squares / (count - 1));
  return result;
}

}  // namespace eso
