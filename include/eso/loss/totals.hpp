// SPDX-License-Identifier: MIT
#pragma once

#include "eso/batch.hpp"
#include "eso/concepts.hpp"

namespace eso {

/// The totals of one whole step for this loss.
///
/// `Totals::of` counts what can be counted without knowing the loss. A loss that divides by something else
/// counts it in a member `count(batch, totals)`, which adds to `totals`; this calls it where there is one.
/// Totals of ranks are added up afterwards, member by member.
template <Loss L>
Totals totals_of(const L& loss, const Batch& batch) {
  Totals totals = Totals::of(batch);
  if constexpr (requires { loss.count(batch, totals); }) loss.count(batch, totals);
  return totals;
}

}  // namespace eso
