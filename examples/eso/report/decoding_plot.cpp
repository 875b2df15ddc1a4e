// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/frame.hpp"
#include "report/html.hpp"
#include "report/numbers.hpp"
#include "report/plot.hpp"

namespace eso_program {
namespace {

/// A rectangle of the drawing that something already covers.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

bool overlaps(const Box& a, const Box& b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/// Places texts where nothing else stands.
class Labels {
 public:
  Labels(const Frame& frame, std::vector<Box> taken) : frame_(frame), taken_(std::move(taken)) {}

  /// A label of `size` pixels for the point at (x, y), in the first free place around it; none where all are
  /// taken.
  std::string place(double x, double y, const std::string& text, const std::string& style, double size) {
    struct Try {
      double dx, dy;
      const char* anchor;
    };
    static constexpr Try tries[] = {
        {9, 4, "start"},   {0, -9, "mid"},   {0, 18, "mid"},     {-9, 4, "end"},
        {8, -7, "start"},  {-8, -7, "end"},  {8, 15, "start"},   {-8, 15, "end"},
        {0, -21, "mid"},   {0, 30, "mid"},   {12, -18, "start"}, {12, 26, "start"},
        {-12, -18, "end"}, {-12, 26, "end"}, {16, -32, "start"}, {16, 40, "start"}};
    const double width = 0.62 * size * static_cast<double>(length_of(text));
    for (const Try& at : tries) {
      const double anchor_x = x + at.dx;
      const double share = at.anchor[0] == 'm' ? 0.5 : at.anchor[0] == 'e' ? 1 : 0;
      const double left = anchor_x - share * width;
      const Box box{left - 1, y + at.dy - 0.8 * size, left + width + 1, y + at.dy + 0.2 * size};
      if (!is_free(box)) continue;
      taken_.push_back(box);
      return fmt::format("<text class=\"{} {}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", style, at.anchor,
                         anchor_x, y + at.dy, escape(text));
    }
    return {};
  }

 private:
  bool is_free(const Box& box) const {
    const bool inside = box.left > frame_.left - 4 && box.right < frame_.width && box.top > 0 &&
                        box.bottom < frame_.height - frame_.bottom + 2;
    return inside &&
           std::none_of(taken_.begin(), taken_.end(), [&](const Box& other) { return overlaps(box, other); });
  }

  Frame frame_;
  std::vector<Box> taken_;
};

/// Boxes along a curve, so that no label lies on it.
void cover_curve(const Frame& frame, const DecodingCurve& curve, std::vector<Box>& taken) {
  for (std::size_t i = 0; i < curve.score.size(); ++i) {
    const double x = frame.px(curve.entropy[i]);
    const double y = frame.py(curve.score[i]);
    taken.push_back({x - 4, y - 4, x + 4, y + 4});
    if (i + 1 == curve.score.size()) continue;
    const double next_x = frame.px(curve.entropy[i + 1]);
    const double next_y = frame.py(curve.score[i + 1]);
    const int pieces = std::max(1, static_cast<int>(std::hypot(next_x - x, next_y - y) / 4));
    for (int piece = 1; piece < pieces; ++piece) {
      const double share = static_cast<double>(piece) / pieces;
      const double at_x = x + share * (next_x - x);
      const double at_y = y + share * (next_y - y);
      taken.push_back({at_x - 1, at_y - 1, at_x + 1, at_y + 1});
    }
  }
}

std::string points_svg(const Frame& frame, const DecodingCurve& curve, const std::string& x_name) {
  std::string out = fmt::format("<g class=\"{}\"><path class=\"line\" d=\"{}\"/>", curve.style,
                                path_data(frame, curve.entropy, curve.score));
  for (std::size_t i = 0; i < curve.score.size(); ++i) {
    const std::string words =
        fmt::format("{}, {}\nROUGE-L {}\n{} {}", curve.name, decoding_name(curve.temperature[i]),
                    fixed(curve.score[i], 1), x_name, fixed(curve.entropy[i], 2));
    out += fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}</title></circle>",
                       frame.px(curve.entropy[i]), frame.py(curve.score[i]), escape(words));
  }
  return out + "</g>";
}

/// The names of the curves at their hottest points, then the temperatures of all points.
std::string labels_svg(const Frame& frame, std::span<const DecodingCurve> curves) {
  constexpr double name_size = 13;  // as the style sheet says
  constexpr double point_size = 11;
  std::vector<Box> taken;
  for (const DecodingCurve& curve : curves) cover_curve(frame, curve, taken);
  Labels labels(frame, std::move(taken));
  std::string out = "<g class=\"labels\">";
  for (const DecodingCurve& curve : curves) {
    const auto hottest = std::max_element(curve.temperature.begin(), curve.temperature.end());
    const auto i = static_cast<std::size_t>(hottest - curve.temperature.begin());
    out += labels.place(frame.px(curve.entropy[i]), frame.py(curve.score[i]), cut(curve.name, 26),
                        "direct " + curve.style, name_size);
  }
  for (const DecodingCurve& curve : curves) {
    for (std::size_t i = 0; i < curve.score.size(); ++i) {
      const std::string name =
          curve.temperature[i] == 0 ? "greedy" : fmt::format("{:g}", curve.temperature[i]);
      out += labels.place(frame.px(curve.entropy[i]), frame.py(curve.score[i]), name, "point " + curve.style,
                          point_size);
    }
  }
  return out + "</g>";
}

std::string drawing(std::span<const DecodingCurve> curves, const char* kind, double width, double height,
                    const std::string& x_name, const std::string& y_name) {
  Frame frame;
  frame.width = width;
  frame.height = height;
  frame.top = 26;
  frame.right = 26;
  std::vector<double> x;
  std::vector<double> y;
  for (const DecodingCurve& curve : curves) {
    x.insert(x.end(), curve.entropy.begin(), curve.entropy.end());
    y.insert(y.end(), curve.score.begin(), curve.score.end());
  }
  frame.x = widened(range_of(x), 0.05);
  frame.y = widened(range_of(y), 0.07);
  if (frame.x.low < 0.1 * frame.x.high) frame.x.low = std::min(0.0, range_of(x).low) - 0.03 * frame.x.high;
  std::string out = fmt::format(
      "<svg class=\"{}\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{} against {}\">", kind,
      width, height, escape(y_name), escape(x_name));
  out += axes(frame, labelled_ticks(frame.x, width > 500 ? 8 : 5), labelled_ticks(frame.y, 6), x_name);
  out += fmt::format("<text class=\"name start\" x=\"2\" y=\"13\">{}</text>", escape(y_name));
  for (const DecodingCurve& curve : curves) out += points_svg(frame, curve, x_name);
  return out + labels_svg(frame, curves) + "</svg>";
}

}  // namespace

std::string draw_decoding_curves(std::span<const DecodingCurve> curves, const std::string& x_name,
                                 const std::string& y_name) {
  std::vector<DecodingCurve> drawn;
  std::vector<Curve> keys;
  for (const DecodingCurve& curve : curves) {
    if (curve.score.empty()) continue;
    drawn.push_back(curve);
    keys.push_back({.name = curve.name, .style = curve.style, .x = {}, .y = {}});
  }
  if (drawn.empty()) return {};
  return "<figure class=\"plot wide\"><figcaption>" + legend(keys) + "</figcaption>" +
         drawing(drawn, "on-wide", 1072, 520, x_name, y_name) +
         drawing(drawn, "on-narrow", 380, 420, x_name, y_name) + "</figure>\n";
}

}  // namespace eso_program
