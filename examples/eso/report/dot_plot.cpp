// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.hpp"
#include "report/numbers.hpp"
#include "report/plot.hpp"

namespace eso_program {
namespace {

/// Where a value lies on the shared axis, in percent of the strip's width.
double percent(Range range, double value) {
  return std::clamp(100 * (value - range.low) / (range.high - range.low), 0.0, 100.0);
}

Range axis_range(std::span<const DotGroup> groups, std::span<const Mark> marks) {
  std::vector<double> all;
  for (const Mark& mark : marks) all.push_back(mark.x);
  for (const DotGroup& group : groups) {
    all.push_back(group.reference);
    for (const Dot& dot : group.dots) {
      all.insert(all.end(), {dot.value, dot.low, dot.high});
      all.insert(all.end(), dot.parts.begin(), dot.parts.end());
    }
  }
  return widened(range_of(all), 0.06);
}

std::string vertical(const char* kind, Range range, double value) {
  const double at = percent(range, value);
  return fmt::format("<line class=\"{}\" x1=\"{:.2f}%\" x2=\"{:.2f}%\" y1=\"0\" y2=\"100%\"/>", kind, at, at);
}

std::string background(Range range, const TickLabels& ticks, const DotGroup& group,
                       std::span<const Mark> marks) {
  std::string out;
  for (const double tick : ticks.ticks) out += vertical("grid", range, tick);
  if (std::isfinite(group.reference)) out += vertical("reference", range, group.reference);
  for (const Mark& mark : marks) out += vertical("lead", range, mark.x);
  return out;
}

std::string dot_svg(Range range, const Dot& dot) {
  std::string out = fmt::format("<g class=\"{}\">", dot.style);
  if (std::isfinite(dot.low) && std::isfinite(dot.high)) {
    const double low = percent(range, dot.low);
    const double high = percent(range, dot.high);
    out +=
        fmt::format("<line class=\"error\" x1=\"{:.2f}%\" x2=\"{:.2f}%\" y1=\"14\" y2=\"14\"/>", low, high);
    for (const double end : {low, high}) {
      out += fmt::format("<line class=\"error\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y1=\"9\" y2=\"19\"/>", end);
    }
  }
  for (const double part : dot.parts) {
    out += fmt::format("<circle class=\"part\" cx=\"{:.2f}%\" cy=\"14\" r=\"3\"/>", percent(range, part));
  }
  if (std::isfinite(dot.value)) {
    out +=
        fmt::format("<circle class=\"dot\" cx=\"{:.2f}%\" cy=\"14\" r=\"5.5\"/>", percent(range, dot.value));
  }
  return out + "</g>";
}

std::string row(Range range, const TickLabels& ticks, const DotGroup& group, const Dot& dot,
                std::span<const Mark> marks) {
  const std::string words =
      fmt::format("{}, {}: {} {}", dot.name, group.title, fixed(dot.value, 1), dot.remark);
  return fmt::format(
      "<div class=\"row {}\"><span class=\"name\" title=\"{}\">{}</span><svg class=\"strip\" height=\"28\" "
      "role=\"img\" "
      "aria-label=\"{}\"><title>{}</title>{}{}</svg><span class=\"value\">{}</span><span "
      "class=\"remark\">{}</span>"
      "</div>\n",
      dot.style, escape(dot.name), escape(cut(dot.name, 40)), escape(words), escape(words),
      background(range, ticks, group, marks), dot_svg(range, dot), fixed(dot.value, 1), escape(dot.remark));
}

/// A label below or above the strip, kept inside it at both ends.
std::string label(Range range, const char* kind, double value, int y, const std::string& text) {
  const double at = percent(range, value);
  const char* anchor = at > 80 ? "end" : at < 20 ? "start" : "mid";
  return fmt::format("<text class=\"{} {}\" x=\"{:.2f}%\" y=\"{}\">{}</text>", kind, anchor, at, y,
                     escape(text));
}

std::string axis_row(Range range, const TickLabels& ticks, const std::string& axis_name) {
  std::string out =
      "<div class=\"row axis\"><span class=\"name\"></span><svg class=\"strip\" height=\"34\" "
      "aria-hidden=\"true\"><line class=\"base\" x1=\"0\" x2=\"100%\" y1=\"0.5\" y2=\"0.5\"/>";
  for (std::size_t i = 0; i < ticks.ticks.size(); ++i) {
    const double at = percent(range, ticks.ticks[i]);
    out += fmt::format("<line class=\"base\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y1=\"0\" y2=\"4\"/>", at);
    out += fmt::format("<text class=\"mid\" x=\"{:.2f}%\" y=\"16\">{}</text>", at, ticks.labels[i]);
  }
  return out + fmt::format("<text class=\"end name\" x=\"100%\" y=\"31\">{}</text></svg></div>\n",
                           escape(axis_name));
}

std::string head_row(Range range, const DotGroup& group, std::span<const Mark> marks,
                     const std::string& remark_name) {
  std::string labels;
  for (const Mark& mark : marks) labels += label(range, "lead", mark.x, 15, mark.text);
  return fmt::format(
      "<div class=\"row head\"><span class=\"name\">{}</span><svg class=\"strip\" height=\"20\" "
      "aria-hidden=\"true\">"
      "{}</svg><span class=\"value\"></span><span class=\"remark\">{}</span></div>\n",
      escape(group.title), labels, escape(remark_name));
}

}  // namespace

std::string draw_dots(std::span<const DotGroup> groups, std::span<const Mark> marks,
                      const std::string& axis_name, const std::string& remark_name) {
  const Range range = axis_range(groups, marks);
  const TickLabels ticks = labelled_ticks(range, 6);
  std::string out = "<figure class=\"dots\">\n";
  for (const DotGroup& group : groups) {
    out += "<div class=\"group\">" + head_row(range, group, marks, remark_name);
    for (const Dot& dot : group.dots) out += row(range, ticks, group, dot, marks);
    out += axis_row(range, ticks, axis_name) + "</div>\n";
  }
  return out + "</figure>\n";
}

}  // namespace eso_program
