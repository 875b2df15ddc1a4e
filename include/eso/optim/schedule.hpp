// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "eso/error.hpp"

namespace eso {

/// How the learning rate goes on after the warm-up.
enum class ScheduleKind {
  constant,  ///< stays at its peak
  linear,    ///< falls in a straight line to the minimum
  cosine,    ///< falls along half a cosine to the minimum
};

/// The learning rate as a function of the step.
///
/// With T = `total_steps` and W = `warmup_steps`, step s, counted from 0, has
///
///     s < W:      peak s / W
///     otherwise:  constant  peak
///                 linear    minimum + (peak - minimum) (1 - q)
///                 cosine    minimum + (peak - minimum) (1 + cos(pi q)) / 2,    q = (s - W) / max(1, T - W)
///
/// and s >= T the minimum. The first step of a warm-up has the rate 0, as in transformers: the same flags
/// then give the same rates as there, step for step. The minimum is reached at step T, one after the last.
///
/// Source: get_cosine_schedule_with_warmup and get_linear_schedule_with_warmup of transformers; with a
/// minimum and no warm-up, torch's CosineAnnealingLR (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5).
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double peak = 1e-4;
  double minimum = 0;  ///< of linear and cosine
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 0;  ///< not read by constant

  /// The rate of `step`, counted from 0. Throws an input `Error` for a negative step or setting, or a rate
  /// that is not finite.
  double operator()(std::int64_t step) const {
    require(step >= 0 && warmup_steps >= 0 && total_steps >= 0, "Schedule", "a number of steps is negative");
    require(std::isfinite(peak) && std::isfinite(minimum) && peak >= 0 && minimum >= 0, "Schedule",
            "a learning rate is negative or not finite");
    if (step < warmup_steps) return peak * (static_cast<double>(step) / static_cast<double>(warmup_steps));
    if (kind == ScheduleKind::constant) return peak;
    if (step >= total_steps) return minimum;
    const double q = static_cast<double>(step - warmup_steps) /
                     static_cast<double>(std::max<std::int64_t>(1, total_steps - warmup_steps));
    const double height = kind == ScheduleKind::linear ? 1 - q : 0.5 * (1 + std::cos(std::numbers::pi * q));
    return minimum + (peak - minimum) * height;
  }
};

}  // namespace eso
