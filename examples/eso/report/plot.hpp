// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "report/scale.hpp"

namespace eso_program {

/// One curve of a line plot. `style` is a colour class of the style sheet ("k0" ... "k7"); values may be
/// missing.
struct Curve {
  std::string name;
  std::string style = "k1";
  std::vector<double> x, y;
  std::vector<double> faint = {};           ///< the single values behind a smoothed `y`; may be empty
  std::vector<double> low = {}, high = {};  ///< a band; may be empty
  bool dashed = false;
};

/// A vertical line with a word beside it.
struct Mark {
  double x = 0;
  std::string text;
};

/// A line plot of about 420 by 240 units that reads well between 320 and 640 pixels of width.
struct LinePlot {
  std::string title;  ///< plain text, as all here
  std::string unit;   ///< of the values
  std::string note;   ///< a remark under the plot; may be empty
  std::string x_name = "step";
  std::vector<Curve> curves;
  std::optional<Mark> mark = std::nullopt;
  std::optional<Range> y_range = std::nullopt;  ///< shared with other plots; otherwise from the values
};

/// The plot as a `<figure>`. Empty where no curve has a value.
std::string draw(const LinePlot& plot);

/// One system at several decoding temperatures: a point (entropy, score) each, in the order of the
/// temperatures.
struct DecodingCurve {
  std::string name;
  std::string style = "k1";
  std::vector<double> temperature, entropy, score;
};

/// Score against entropy, one curve a system, points labelled with their temperature; drawn once for wide and
/// once for narrow screens.
std::string draw_decoding_curves(std::span<const DecodingCurve> curves, const std::string& x_name,
                                 const std::string& y_name);

/// One row of a dot plot: a value with an interval around it.
struct Dot {
  std::string name;
  std::string style = "k1";
  double value = 0;
  double low = 0, high = 0;        ///< the interval; missing where there is none
  std::vector<double> parts = {};  ///< single values behind `value`, drawn small
  std::string remark = {};         ///< text at the right end
};

/// Rows under a heading.
struct DotGroup {
  std::string title;
  std::vector<Dot> dots;
  double reference = 0;  ///< drawn as a line through the rows; missing for none
};

/// A dot plot that fits any width: `marks` are lines through all groups.
std::string draw_dots(std::span<const DotGroup> groups, std::span<const Mark> marks,
                      const std::string& axis_name, const std::string& remark_name);

/// A legend entry for each name.
std::string legend(std::span<const Curve> curves);

}  // namespace eso_program
