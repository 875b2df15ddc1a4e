// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/frame.hpp"
#include "report/html.hpp"
#include "report/numbers.hpp"
#include "report/plot.hpp"
#include "report/series.hpp"

namespace eso_program {
namespace {

constexpr std::size_t label_characters = 14;

void append_all(std::vector<double>& all, const std::vector<double>& values) {
  all.insert(all.end(), values.begin(), values.end());
}

/// The range of y: all of every smoothed curve and band, and what of the single values does not dwarf them.
Range y_range_of(const LinePlot& plot) {
  std::vector<double> firm;
  std::vector<double> all;
  for (const Curve& curve : plot.curves) {
    append_all(curve.faint.empty() ? all : firm, curve.y);
    append_all(all, curve.faint);
    append_all(all, curve.low);
    append_all(all, curve.high);
  }
  Range range = robust_range_of(all);
  if (!firm.empty()) {
    const Range needed = range_of(firm);
    range = {std::min(range.low, needed.low), std::max(range.high, needed.high)};
  }
  const bool starts_at_zero = range.low >= 0 && range.low < 0.25 * range.high;
  Range shown = widened(range, 0.04);
  if (starts_at_zero) shown.low = 0;
  return shown;
}

Range x_range_of(const LinePlot& plot) {
  std::vector<double> all;
  for (const Curve& curve : plot.curves) append_all(all, curve.x);
  return range_of(all);
}

/// The first value of the drawn ones that lies above the axis, said in words; empty where none does.
std::string peak_note(const LinePlot& plot, const Frame& frame, double factor, int decimals) {
  double peak = frame.y.high;
  double at = missing;
  for (const Curve& curve : plot.curves) {
    for (const std::vector<double>* values : {&curve.y, &curve.faint, &curve.high}) {
      for (std::size_t i = 0; i < values->size() && i < curve.x.size(); ++i) {
        if (!((*values)[i] > peak)) continue;
        peak = (*values)[i];
        at = curve.x[i];
      }
    }
  }
  if (!std::isfinite(at) || plot.y_range) return {};
  return fmt::format(" Cut at the top: the peak is {} near {} {}.", fixed(peak / factor, decimals),
                     plot.x_name, compact(at));
}

std::string curve_svg(const Frame& frame, const Curve& curve) {
  std::string out = fmt::format("<g class=\"{}\">", curve.style);
  if (!curve.low.empty()) {
    out += fmt::format("<path class=\"band\" d=\"{}\"/>", band_data(frame, curve.x, curve.low, curve.high));
  }
  if (!curve.faint.empty()) {
    out += fmt::format("<path class=\"faint\" d=\"{}\"/>", path_data(frame, curve.x, curve.faint));
  }
  out += fmt::format("<path class=\"line{}\" d=\"{}\"/></g>", curve.dashed ? " dashed" : "",
                     path_data(frame, curve.x, curve.y));
  return out;
}

/// Names at the right ends of the curves, moved apart.
std::string end_labels(const Frame& frame, const std::vector<Curve>& curves) {
  std::vector<double> heights;
  std::vector<const Curve*> labelled;
  for (const Curve& curve : curves) {
    for (std::size_t i = curve.y.size(); i > 0; --i) {
      if (!std::isfinite(curve.y[i - 1])) continue;
      heights.push_back(frame.py(curve.y[i - 1]));
      labelled.push_back(&curve);
      break;
    }
  }
  const std::vector<double> placed = spread(heights, 13, frame.top + 4, frame.height - frame.bottom);
  std::string out;
  for (std::size_t i = 0; i < labelled.size(); ++i) {
    out += fmt::format("<text class=\"direct {}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", labelled[i]->style,
                       frame.width - frame.right + 6, placed[i] + 4,
                       escape(cut(labelled[i]->name, label_characters)));
  }
  return out;
}

/// Invisible strips that say the values below the pointer.
std::string hover_strips(const Frame& frame, const LinePlot& plot, double factor, int decimals) {
  constexpr std::size_t most_strips = 80;
  const auto longest =
      std::max_element(plot.curves.begin(), plot.curves.end(),
                       [](const Curve& a, const Curve& b) { return a.x.size() < b.x.size(); });
  const std::size_t count = longest->x.size();
  const std::size_t bucket = (count + most_strips - 1) / most_strips;
  std::string out = "<g class=\"hits\">";
  for (std::size_t start = 0; start < count; start += bucket) {
    const std::size_t end = std::min(start + bucket, count);
    const double first = longest->x[start];
    const double last = longest->x[end - 1];
    std::string words = plot.x_name + " " + compact(first) + (end - start > 1 ? "–" + compact(last) : "");
    for (const Curve& curve : plot.curves) {
      std::vector<double> inside;
      for (std::size_t i = 0; i < curve.x.size() && i < curve.y.size(); ++i) {
        if (curve.x[i] >= first && curve.x[i] <= last) inside.push_back(curve.y[i]);
      }
      const double mean = mean_of(inside);
      if (std::isfinite(mean)) words += fmt::format("\n{}: {}", curve.name, fixed(mean / factor, decimals));
    }
    const double from =
        start == 0 ? frame.px(first) : (frame.px(first) + frame.px(longest->x[start - 1])) / 2;
    const double to = end == count ? frame.px(last) : (frame.px(last) + frame.px(longest->x[end])) / 2;
    out += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{}</title></rect>", from,
        frame.top, std::max(to - from, 0.5), frame.height - frame.top - frame.bottom, escape(words));
  }
  return out + "</g>";
}

std::string mark_svg(const Frame& frame, const Mark& mark) {
  if (!frame.shows_x(mark.x)) return {};
  const double at = frame.px(mark.x);
  const bool left = at > (frame.left + frame.width - frame.right) / 2;
  return fmt::format(
      "<g class=\"mark\"><path d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/><text class=\"{3}\" x=\"{4:.1f}\" "
      "y=\"{5:.1f}\">{6}"
      "</text></g>",
      at, frame.top, frame.height - frame.bottom, left ? "end" : "start", at + (left ? -5 : 5), frame.top + 9,
      escape(cut(mark.text, 28)));
}

bool has_value(const Curve& curve) {
  return std::any_of(curve.y.begin(), curve.y.end(), [](double value) { return std::isfinite(value); });
}

}  // namespace

std::string legend(std::span<const Curve> curves) {
  std::string out = "<span class=\"legend\">";
  for (const Curve& curve : curves) {
    out += fmt::format("<span class=\"key {}{}\"><i></i>{}</span> ", curve.style,
                       curve.dashed ? " dashed" : "", escape(curve.name));
  }
  return out + "</span>";
}

std::string draw(const LinePlot& given) {
  LinePlot plot = given;
  std::erase_if(plot.curves, [](const Curve& curve) { return !has_value(curve); });
  if (plot.curves.empty()) return {};
  Frame frame;
  frame.x = x_range_of(plot);
  frame.y = plot.y_range.value_or(y_range_of(plot));
  const TickLabels x = labelled_ticks(frame.x, 5);
  const TickLabels y = labelled_ticks(frame.y, 4);
  std::size_t widest = 1;
  for (const std::string& label : y.labels) widest = std::max(widest, length_of(label));
  frame.left = 12 + 6.6 * static_cast<double>(widest);
  if (plot.curves.size() > 1) {
    std::size_t name = 0;
    for (const Curve& curve : plot.curves)
      name = std::max(name, std::min(label_characters, length_of(curve.name)));
    frame.right = 12 + 7.2 * static_cast<double>(name);
  }
  const double size = std::max(std::abs(frame.y.low), std::abs(frame.y.high)) / y.factor;
  const int decimals = size >= 100 ? 1 : size >= 10 ? 2 : 3;

  const std::string unit = plot.unit + (plot.unit.empty() || y.unit.empty() ? "" : ", ") + y.unit;
  std::string out = fmt::format(
      "<figure class=\"plot\"><figcaption><b>{}</b> <span class=\"unit\">{}</span>{}</figcaption>",
      escape(plot.title), escape(unit), plot.curves.size() > 1 ? legend(plot.curves) : "");
  out += fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">", frame.width,
                     frame.height, escape(plot.title));
  out += axes(frame, x, y, plot.x_name);
  for (const Curve& curve : plot.curves) out += curve_svg(frame, curve);
  if (plot.mark) out += mark_svg(frame, *plot.mark);
  if (plot.curves.size() > 1) out += end_labels(frame, plot.curves);
  out += hover_strips(frame, plot, y.factor, decimals) + "</svg>";
  const std::string note = plot.note + peak_note(plot, frame, y.factor, decimals);
  if (!note.empty()) out += fmt::format("<p class=\"note\">{}</p>", escape(note));
  return out + "</figure>\n";
}

}  // namespace eso_program
