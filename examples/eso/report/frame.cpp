// SPDX-License-Identifier: MIT
#include "report/frame.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "report/html.hpp"

namespace eso_program {

double Frame::px(double value) const {
  const double share = std::clamp((value - x.low) / (x.high - x.low), 0.0, 1.0);
  return left + share * (width - left - right);
}

double Frame::py(double value) const {
  const double share = std::clamp((value - y.low) / (y.high - y.low), 0.0, 1.0);
  return height - bottom - share * (height - top - bottom);
}

std::string axes(const Frame& frame, const TickLabels& x, const TickLabels& y, const std::string& x_name) {
  std::string out = "<g class=\"axes\">";
  const double end = frame.width - frame.right;
  const double base = frame.height - frame.bottom;
  for (std::size_t i = 0; i < y.ticks.size(); ++i) {
    const double at = frame.py(y.ticks[i]);
    out += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", frame.left, at, end);
    out += fmt::format("<text class=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", frame.left - 6, at + 4,
                       y.labels[i]);
  }
  for (std::size_t i = 0; i < x.ticks.size(); ++i) {
    const double at = frame.px(x.ticks[i]);
    out += fmt::format("<path class=\"tick\" d=\"M{:.1f} {:.1f}v4\"/>", at, base);
    out += fmt::format("<text class=\"mid\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", at, base + 16, x.labels[i]);
  }
  out += fmt::format("<path class=\"base\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", frame.left, base, end);
  out += fmt::format("<text class=\"end name\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text></g>", end,
                     frame.height - 4, escape(x_name));
  return out;
}

std::string path_data(const Frame& frame, const std::vector<double>& x, const std::vector<double>& y) {
  std::string out;
  bool pen_down = false;
  for (std::size_t i = 0; i < y.size() && i < x.size(); ++i) {
    const bool there = std::isfinite(y[i]) && std::isfinite(x[i]);
    if (there) out += fmt::format("{}{:.1f} {:.1f}", pen_down ? 'L' : 'M', frame.px(x[i]), frame.py(y[i]));
    const bool alone = there && !pen_down && (i + 1 == y.size() || !std::isfinite(y[i + 1]));
    if (alone) out += "h0.1";  // a round line cap makes it a dot
    pen_down = there;
  }
  return out;
}

std::string band_data(const Frame& frame, const std::vector<double>& x, const std::vector<double>& low,
                      const std::vector<double>& high) {
  std::string out;
  const std::size_t count = std::min({x.size(), low.size(), high.size()});
  const auto there = [&](std::size_t i) {
    return i < count && std::isfinite(low[i]) && std::isfinite(high[i]);
  };
  for (std::size_t first = 0; first < count; ++first) {
    if (!there(first)) continue;
    std::size_t end = first;
    for (; there(end); ++end) {
      out += fmt::format("{}{:.1f} {:.1f}", end == first ? 'M' : 'L', frame.px(x[end]), frame.py(high[end]));
    }
    for (std::size_t i = end; i > first; --i) {
      out += fmt::format("L{:.1f} {:.1f}", frame.px(x[i - 1]), frame.py(low[i - 1]));
    }
    out += 'Z';
    first = end;
  }
  return out;
}

std::vector<double> spread(const std::vector<double>& heights, double gap, double low, double high) {
  std::vector<std::size_t> order(heights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return heights[i] < heights[j]; });
  std::vector<double> placed(heights.size());
  double next = low;
  for (const std::size_t i : order) {
    placed[i] = std::max(heights[i], next);
    next = placed[i] + gap;
  }
  double limit = high;
  for (auto i = order.rbegin(); i != order.rend(); ++i) {
    placed[*i] = std::min(placed[*i], limit);
    limit = placed[*i] - gap;
  }
  return placed;
}

}  // namespace eso_program
