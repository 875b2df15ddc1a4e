// SPDX-License-Identifier: MIT
#include "report/series.hpp"

#include <algorithm>
#include <cmath>

#include "report/numbers.hpp"

namespace eso_program {

double mean_of(std::span<const double> values) {
  double sum = 0;
  double count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return count > 0 ? sum / count : missing;
}

Thinned thin(std::span<const double> x, std::span<const double> y, std::size_t most_points) {
  Thinned result;
  if (y.empty() || most_points == 0) return result;
  result.bucket = (y.size() + most_points - 1) / most_points;
  for (std::size_t start = 0; start < y.size(); start += result.bucket) {
    const auto values = y.subspan(start, std::min(result.bucket, y.size() - start));
    double low = missing;
    double high = missing;
    for (const double value : values) {
      if (!std::isfinite(value)) continue;
      low = std::fmin(low, value);
      high = std::fmax(high, value);
    }
    result.x.push_back(mean_of(x.subspan(start, values.size())));
    result.mean.push_back(mean_of(values));
    result.low.push_back(low);
    result.high.push_back(high);
  }
  return result;
}

std::vector<double> moving_mean(std::span<const double> y, std::size_t window) {
  std::vector<double> sum(y.size() + 1, 0.0);
  std::vector<double> count(y.size() + 1, 0.0);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const bool there = std::isfinite(y[i]);
    sum[i + 1] = sum[i] + (there ? y[i] : 0);
    count[i + 1] = count[i] + (there ? 1 : 0);
  }
  const std::size_t half = window / 2;
  std::vector<double> means(y.size(), missing);
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!std::isfinite(y[i])) continue;
    const std::size_t first = i > half ? i - half : 0;
    const std::size_t end = std::min(i + half + 1, y.size());
    means[i] = (sum[end] - sum[first]) / (count[end] - count[first]);
  }
  return means;
}

std::size_t smoothing_window(std::size_t count) { return count < 40 ? 1 : 2 * (count / 50) + 1; }

}  // namespace eso_program
