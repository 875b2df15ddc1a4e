// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "report/plot.hpp"
#include "report/records.hpp"
#include "report/reward_unit.hpp"

namespace eso_program {

/// The first step at which the method is active; missing where it never is or always was.
double first_active_step(const Metrics& metrics);

/// The curve of a metric: smoothed, with the single values (or the range of each bucket, in a long run)
/// behind it. At most 500 points.
Curve metric_curve(const Metrics& metrics, const std::string& column, const std::string& name,
                   const std::string& style, double factor = 1);

/// The plots of a run over its steps, as one block of HTML. Metrics that the run lacks have no plot.
std::string run_plots(const Metrics& metrics, const std::string& method, const RewardUnit& unit);

}  // namespace eso_program
