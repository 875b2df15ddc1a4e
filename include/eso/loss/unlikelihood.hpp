// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <numbers>
#include <utility>

namespace eso {

/// -log(max(1 - p, floor)) of a token of log-probability `logp`, and its derivative.
///
/// 1 - p is -expm1(log p) where p is near 1 and 1 - exp(log p) elsewhere, so neither end loses digits. At and
/// beneath the floor the derivative is 0. Not a number gives no number.
inline std::pair<double, double> unlikelihood(double logp, double floor) {
  const double rest = -std::expm1(logp);  // 1 - p
  if (rest <= floor) return {-std::log(floor), 0.0};
  const double value = logp > -std::numbers::ln2 ? -std::log(rest) : -std::log1p(-std::exp(logp));
  return {value, std::exp(logp) / rest};
}

}  // namespace eso
