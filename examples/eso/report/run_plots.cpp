// SPDX-License-Identifier: MIT
#include "report/run_plots.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/numbers.hpp"
#include "report/series.hpp"

namespace eso_program {
namespace {

constexpr std::size_t most_points = 500;

/// A metric where it has values, thinned.
Thinned thinned(const Metrics& metrics, const std::string& name, double factor) {
  const std::vector<double> all = metrics.column(name);
  std::vector<double> x;
  std::vector<double> y;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!std::isfinite(all[i])) continue;
    x.push_back(metrics.step[i]);
    y.push_back(factor * all[i]);
  }
  return thin(x, y, most_points);
}

/// What the lines of a smoothed plot are; empty where they are the values themselves.
std::string window_note(const Metrics& metrics, const std::string& column) {
  const Thinned values = thinned(metrics, column, 1);
  const std::size_t window = smoothing_window(values.mean.size()) * values.bucket;
  return window <= 1 ? std::string{} : fmt::format("Line: mean over {} steps.", window);
}

/// As `window_note`, with what stands behind the line.
std::string smoothing_note(const Metrics& metrics, const std::string& column) {
  const std::string line = window_note(metrics, column);
  if (line.empty()) return line;
  const std::size_t bucket = thinned(metrics, column, 1).bucket;
  return line + (bucket > 1 ? fmt::format(" Shaded: range over {} steps.", bucket) : " Light: each step.");
}

LinePlot loss_plot(const Metrics& metrics, const std::string& method) {
  LinePlot plot{.title = "Loss", .unit = "nats", .note = {}, .curves = {}};
  plot.curves.push_back(metric_curve(metrics, "loss", "loss", "k1"));
  int parts = 0;
  for (const auto& [name, unused] : metrics.columns) {
    if (!name.starts_with("loss/") || !metrics.has(name) || ++parts > 5) continue;
    if (metrics.column(name) == metrics.column("loss")) continue;
    const bool is_sft = name == "loss/sft";
    plot.curves.push_back(metric_curve(metrics, name, name, is_sft ? "k0" : fmt::format("k{}", 1 + parts)));
    if (is_sft) plot.curves.back().dashed = true;
  }
  for (Curve& curve : plot.curves) {
    if (plot.curves.size() == 1) break;
    curve.faint.clear();
    curve.low.clear();
    curve.high.clear();
  }
  plot.note = plot.curves.size() > 1 ? window_note(metrics, "loss") : smoothing_note(metrics, "loss");
  const double active = first_active_step(metrics);
  if (std::isfinite(active)) plot.mark = Mark{active, method + " active"};
  return plot;
}

/// Mean and a band of two other columns, or of plus and minus one.
LinePlot reward_plot(const Metrics& metrics, const RewardUnit& unit) {
  LinePlot plot{.title = "Reward of the samples", .unit = unit.name, .note = {}, .curves = {}};
  Curve curve = metric_curve(metrics, "reward", "reward", "k2", unit.factor);
  const Thinned mean = thinned(metrics, "reward", unit.factor);
  const Thinned spread = thinned(metrics, "reward_std", unit.factor);
  plot.note = smoothing_note(metrics, "reward");
  if (spread.mean.size() == mean.mean.size() && !mean.mean.empty()) {
    const std::vector<double> width = moving_mean(spread.mean, smoothing_window(spread.mean.size()));
    curve.low.clear();
    curve.high.clear();
    for (std::size_t i = 0; i < curve.y.size(); ++i) {
      curve.low.push_back(unit.factor == 1 ? curve.y[i] - width[i] : std::max(curve.y[i] - width[i], 0.0));
      curve.high.push_back(curve.y[i] + width[i]);
    }
    plot.note += " Band: ± one standard deviation over a step's samples.";
  }
  plot.curves.push_back(std::move(curve));
  return plot;
}

LinePlot length_plot(const Metrics& metrics) {
  LinePlot plot{.title = "Response length",
                .unit = "tokens",
                .note = "Line: mean; band: shortest to longest of the step.",
                .curves = {}};
  Curve curve = metric_curve(metrics, "completions/mean_length", "mean length", "k3");
  const Thinned low = thinned(metrics, "completions/min_length", 1);
  const Thinned high = thinned(metrics, "completions/max_length", 1);
  if (low.low.size() == curve.x.size() && high.high.size() == curve.x.size()) {
    curve.low = low.low;
    curve.high = high.high;
    curve.faint.clear();
  }
  plot.curves.push_back(std::move(curve));
  return plot;
}

LinePlot single(const Metrics& metrics, const std::string& column, const std::string& title,
                const std::string& unit, const std::string& style, bool exact = false) {
  LinePlot plot{.title = title, .unit = unit, .note = {}, .curves = {}};
  plot.curves.push_back(metric_curve(metrics, column, title, style));
  if (!exact) plot.note = smoothing_note(metrics, column);
  if (exact) {
    const Thinned values = thinned(metrics, column, 1);
    plot.curves.back() = {.name = title, .style = style, .x = values.x, .y = values.mean};
  }
  return plot;
}

/// Several columns of one unit in one plot, smoothed lines only.
LinePlot several(const Metrics& metrics, const std::vector<std::pair<std::string, std::string>>& columns,
                 const std::string& title, const std::string& unit) {
  LinePlot plot{.title = title, .unit = unit, .note = {}, .curves = {}};
  static constexpr const char* styles[] = {"k1", "k2", "k3", "k4"};
  for (const auto& [column, name] : columns) {
    if (!metrics.has(column)) continue;
    if (plot.note.empty()) plot.note = window_note(metrics, column);
    Curve curve = metric_curve(metrics, column, name, styles[plot.curves.size() % 4]);
    curve.faint.clear();
    curve.low.clear();
    curve.high.clear();
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

}  // namespace

RewardUnit reward_unit(std::string_view config) {
  const std::string reward = toml_value(config, "reward");
  if (reward.empty() || reward == "rougeL") return {};
  if (reward.starts_with("rouge")) return {"ROUGE-" + reward.substr(5) + " × 100", 100, 1};
  return {"reward model", 1, 3};
}

double first_active_step(const Metrics& metrics) {
  for (std::size_t i = 0; i < metrics.active.size(); ++i) {
    if (metrics.active[i]) return i == 0 ? missing : metrics.step[i];
  }
  return missing;
}

Curve metric_curve(const Metrics& metrics, const std::string& column, const std::string& name,
                   const std::string& style, double factor) {
  Thinned values = thinned(metrics, column, factor);
  const std::size_t window = smoothing_window(values.mean.size());
  Curve curve{.name = name, .style = style, .x = values.x, .y = moving_mean(values.mean, window)};
  if (values.bucket > 1) {
    curve.low = std::move(values.low);
    curve.high = std::move(values.high);
  } else if (window > 1) {
    curve.faint = std::move(values.mean);
  }
  return curve;
}

std::string run_plots(const Metrics& metrics, const std::string& method, const RewardUnit& unit) {
  std::string out = "<div class=\"plots\">\n";
  out += draw(loss_plot(metrics, method));
  out += draw(reward_plot(metrics, unit));
  out += draw(single(metrics, "entropy", "Entropy", "nats a token, T=1", "k4"));
  out += draw(length_plot(metrics));
  out += draw(several(metrics,
                      {{"completions/clipped_ratio", "cut short"}, {"frac_reward_zero_std", "equal rewards"}},
                      "Samples cut short, equal rewards", "share"));
  out += draw(
      several(metrics,
              {{"rewards/chosen", "chosen"}, {"rewards/rejected", "rejected"}, {"rewards/margins", "margin"}},
              "Rewards of the pairs", ""));
  out += draw(single(metrics, "rewards/accuracies", "Pairs ranked as labelled", "share", "k3"));
  out += draw(several(metrics, {{"logps/chosen", "chosen"}, {"logps/rejected", "rejected"}},
                      "Log-probabilities", "nats"));
  out += draw(single(metrics, "grad_norm", "Gradient norm", "before clipping", "k5"));
  out += draw(single(metrics, "learning_rate", "Learning rate", "", "k6", true));
  return out + "</div>\n";
}

}  // namespace eso_program
