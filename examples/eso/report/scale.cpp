// SPDX-License-Identifier: MIT
#include "report/scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eso/eval/bootstrap.hpp"
#include "report/numbers.hpp"

namespace eso_program {
namespace {

double nice_step(Range range, int count) {
  const double rough = (range.high - range.low) / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double share = rough / power;
  return power * (share < 1.5 ? 1 : share < 3.5 ? 2 : share < 7.5 ? 5 : 10);
}

std::vector<double> finite_sorted(std::span<const double> values) {
  std::vector<double> kept;
  for (const double value : values) {
    if (std::isfinite(value)) kept.push_back(value);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

Range opened(Range range) {
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  if (range.high - range.low > 1e-9 * size) return range;
  const double half = size > 0 ? 0.1 * size : 0.5;
  return {range.low - half, range.high + half};
}

std::string superscript(int number) {
  static constexpr const char* digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = number < 0 ? "⁻" : "";
  for (const char c : std::to_string(std::abs(number))) out += digits[c - '0'];
  return out;
}

}  // namespace

std::vector<double> nice_ticks(Range range, int count) {
  const double step = nice_step(range, count);
  std::vector<double> ticks;
  if (!std::isfinite(step) || step <= 0) return ticks;
  const double first = std::ceil(range.low / step - 1e-9);
  const double last = std::floor(range.high / step + 1e-9);
  for (double i = first; i <= last && ticks.size() < 100; ++i) ticks.push_back(i * step);
  return ticks;
}

Range range_of(std::span<const double> values) {
  const std::vector<double> sorted = finite_sorted(values);
  return sorted.empty() ? Range{} : opened({sorted.front(), sorted.back()});
}

Range widened(Range range, double margin) {
  const double extra = margin * (range.high - range.low);
  return {range.low - extra, range.high + extra};
}

Range robust_range_of(std::span<const double> values) {
  const std::vector<double> sorted = finite_sorted(values);
  if (sorted.empty()) return {};
  const Range inner = opened({eso::quantile(sorted, 0.01), eso::quantile(sorted, 0.99)});
  const bool outliers_dominate = sorted.back() - sorted.front() > 2.5 * (inner.high - inner.low);
  return outliers_dominate ? widened(inner, 0.15) : opened({sorted.front(), sorted.back()});
}

TickLabels labelled_ticks(Range range, int count) {
  TickLabels result;
  result.ticks = nice_ticks(range, count);
  const double size = std::max(std::abs(range.low), std::abs(range.high));
  const int exponent = size > 0 && std::isfinite(size) ? static_cast<int>(std::floor(std::log10(size))) : 0;
  std::string suffix;
  if (exponent <= -3 || exponent >= 9) {
    result.factor = std::pow(10.0, exponent);
    result.unit = "×10" + superscript(exponent);
  } else if (exponent >= 4) {
    result.factor = exponent >= 6 ? 1e6 : 1e3;
    suffix = exponent >= 6 ? "M" : "k";
  }
  const double step = nice_step(range, count) / result.factor;
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 6);
  for (const double tick : result.ticks) {
    const bool zero = std::abs(tick) < 1e-9 * size;
    result.labels.push_back(zero ? "0" : fixed(tick / result.factor, decimals) + suffix);
  }
  return result;
}

}  // namespace eso_program
