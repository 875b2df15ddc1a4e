// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "eso/error.hpp"

namespace eso {

/// The factor on all gradients that brings their global norm down to `limit`: min(1, limit / (norm + 1e-6)).
///
/// `limit` 0 is off and gives 1. A norm that is not finite gives not-a-number, which no optimizer takes.
/// Throws an input `Error` for a negative limit.
///
/// Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks", algorithm 1, with
/// the 1e-6 of torch.nn.utils.clip_grad_norm_, so that both give the same number.
inline double clip_scale(double norm, double limit) {
  require(limit >= 0, "clip_scale", "the limit is negative or not a number");
  if (limit == 0) return 1;
  if (!std::isfinite(norm)) return std::numeric_limits<double>::quiet_NaN();
  return std::min(1.0, limit / (norm + 1e-6));
}

}  // namespace eso
