// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <vector>

namespace eso_program {

/// The part of an axis that a plot shows.
struct Range {
  double low = 0;
  double high = 1;
};

/// Round numbers (1, 2 or 5 times a power of ten apart) inside `range`, about `count` of them.
std::vector<double> nice_ticks(Range range, int count);

/// The smallest and the largest finite value; 0 to 1 where there is none, widened where all are equal.
Range range_of(std::span<const double> values);

/// `range` with the share `margin` of its width added at both ends.
Range widened(Range range, double margin);

/// As `range_of`, without the outermost hundredths where these would take up most of the axis.
Range robust_range_of(std::span<const double> values);

/// Ticks with their labels. `factor` is what each label was divided by, 1 unless the numbers are very large
/// or small; `unit` names it ("×10⁻⁴").
struct TickLabels {
  std::vector<double> ticks;
  std::vector<std::string> labels;
  double factor = 1;
  std::string unit;
};

/// Nice ticks of `range` and labels with just enough digits to tell them apart.
TickLabels labelled_ticks(Range range, int count);

}  // namespace eso_program
