// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "report/scale.hpp"

namespace eso_program {

/// Where the data of a plot lie: the drawing's size, its margins and the ranges of both axes.
struct Frame {
  double width = 420, height = 240;
  double left = 40, right = 12, top = 10, bottom = 34;
  Range x, y;

  /// Data to drawing; values outside the range land on its edge.
  double px(double value) const;
  double py(double value) const;
  bool shows_x(double value) const { return value >= x.low && value <= x.high; }
};

/// Grid lines, ticks and the name of the x axis.
std::string axes(const Frame& frame, const TickLabels& x, const TickLabels& y, const std::string& x_name);

/// The corners of a polyline as SVG path data; missing values break it.
std::string path_data(const Frame& frame, const std::vector<double>& x, const std::vector<double>& y);

/// The area between two lines as SVG path data.
std::string band_data(const Frame& frame, const std::vector<double>& x, const std::vector<double>& low,
                      const std::vector<double>& high);

/// Moves labels, given by their heights, apart to `gap` inside [low, high]; keeps their order.
std::vector<double> spread(const std::vector<double>& heights, double gap, double low, double high);

}  // namespace eso_program
