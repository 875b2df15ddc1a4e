// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <utility>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

namespace eso {

/// Two losses at once: SFT and, in the epochs where it is on, the method beside it.
///
/// Source: Huang et al. 2025, COLING 2025 (main 357), equation 11, with weight 0.05.
///
///     value = first + weight * second      while totals.active
///     value = first                        before and after
///
/// Parts are those of both, without the weight, so that a log shows the method's own value; while the second
/// is off it is not computed and has no part. A combination is a loss, so combinations nest.
///
/// Reads what its losses read and `Totals::active`.
template <Loss First, Loss Second>
struct Combined {
  static constexpr std::string_view name = "combined";

  First first;
  double weight = 1;
  Second second;

  Reads reads() const { return first.reads() | second.reads(); }

  /// \throws Error if the weight is not finite, and what the losses throw.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    if (!std::isfinite(weight)) {
      throw input_error("Combined", "weight is not finite", fmt::format("{}", weight), "a number");
    }
    LossResult result = first(batch, logp, totals);
    if (!totals.active) return result;
    LossResult other = second(batch, logp, totals);
    result.value += weight * other.value;
    result.d_logp += weight * other.d_logp;
    for (auto& part : other.parts) result.parts.push_back(std::move(part));
    return result;
  }

  /// Adds what the losses count themselves, see `totals_of`.
  void count(const Batch& batch, Totals& totals) const {
    if constexpr (requires { first.count(batch, totals); }) first.count(batch, totals);
    if constexpr (requires { second.count(batch, totals); }) second.count(batch, totals);
  }
};

/// `Combined{first, weight, second}` finds its types.
template <class First, class Second>
Combined(First, double, Second) -> Combined<First, Second>;

}  // namespace eso
