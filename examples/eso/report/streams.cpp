// SPDX-License-Identifier: MIT
#include "report/streams.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "eso/error.hpp"
#include "report/html.hpp"
#include "report/parts.hpp"
#include "report/plot.hpp"
#include "report/records.hpp"
#include "report/reward_unit.hpp"
#include "report/series.hpp"

namespace eso_program {
namespace {

constexpr std::size_t most_points = 500;
constexpr std::size_t most_streams = 8;

/// Values by step, to be averaged over training seeds.
struct ByStep {
  std::map<double, std::vector<double>> values;

  Curve curve(const std::string& name, const std::string& style, bool smooth) const {
    std::vector<double> x;
    std::vector<double> y;
    for (const auto& [step, of_step] : values) {
      x.push_back(step);
      y.push_back(mean_of(of_step));
    }
    Thinned thinned = thin(x, y, most_points);
    const std::size_t window = window_of(thinned.mean.size());
    Curve out{.name = name, .style = style, .x = thinned.x, .y = moving_mean(thinned.mean, window)};
    if (!smooth && window > 1) out.faint = std::move(thinned.mean);
    return out;
  }
  static std::size_t window_of(std::size_t count) { return count < 20 ? 1 : 2 * (count / 24) + 1; }
};

using StreamKey = std::tuple<std::string, double, double>;  // kind, sample, temperature

/// What the runs of an arm hold about its sampling.
struct ArmStreams {
  ByStep entropy, reward;
  std::map<StreamKey, ByStep> streams;
  RewardUnit unit;
};

/// A run directory below `directory`. Errors: a path that leads out of it.
std::filesystem::path run_below(const std::filesystem::path& directory, const std::string& run) {
  const std::filesystem::path inside = std::filesystem::path(run).lexically_normal();
  if (inside.is_absolute() || inside.empty() || *inside.begin() == "..") {
    throw eso::input_error((directory / "comparison.json").string(), "a run outside the directory", run);
  }
  return directory / inside;
}

void add_metrics(const Metrics& metrics, ArmStreams& out) {
  const std::vector<double> entropy = metrics.column("entropy");
  const std::vector<double> reward = metrics.column("reward");
  for (std::size_t i = 0; i < metrics.step.size(); ++i) {
    if (std::isfinite(entropy[i])) out.entropy.values[metrics.step[i]].push_back(entropy[i]);
    if (std::isfinite(reward[i])) out.reward.values[metrics.step[i]].push_back(out.unit.factor * reward[i]);
  }
}

ArmStreams streams_of(const std::filesystem::path& directory, const Arm& arm) {
  ArmStreams out;
  for (const std::string& run : arm.runs) {
    const std::filesystem::path path = run_below(directory, run);
    if (is_file(path / "config.toml")) out.unit = reward_unit(read_text(path / "config.toml"));
    if (is_file(path / "metrics.jsonl")) add_metrics(read_metrics(path / "metrics.jsonl"), out);
    if (!is_file(path / "completions.jsonl")) continue;
    for (const RewardStream& stream : index_completions(path / "completions.jsonl").streams) {
      ByStep& by_step = out.streams[{stream.kind, stream.sample, stream.temperature}];
      for (std::size_t i = 0; i < stream.step.size(); ++i) {
        by_step.values[stream.step[i]].push_back(out.unit.factor * stream.reward[i]);
      }
    }
  }
  return out;
}

std::string stream_name(const StreamKey& key, bool numbered) {
  const auto& [kind, sample, temperature] = key;
  const std::string decoding = temperature == 0 ? "greedy" : fmt::format("T={:g}", temperature);
  return numbered ? fmt::format("{} · {}", compact(sample + 1), decoding) : decoding;
}

/// Whether two streams share their temperature, so that only their number tells them apart.
bool repeats_temperature(const std::map<StreamKey, ByStep>& streams) {
  std::set<double> seen;
  return std::any_of(streams.begin(), streams.end(),
                     [&](const auto& stream) { return !seen.insert(std::get<2>(stream.first)).second; });
}

LinePlot stream_plot(const Arm& arm, const ArmStreams& found) {
  LinePlot plot{.title = cut(arm.name, 60), .unit = found.unit.name, .note = {}, .curves = {}};
  const bool numbered = repeats_temperature(found.streams);
  for (const auto& [key, by_step] : found.streams) {
    if (plot.curves.size() == most_streams) break;
    const std::string style = fmt::format("k{}", 1 + plot.curves.size() % 7);
    plot.curves.push_back(by_step.curve(stream_name(key, numbered), style, true));
  }
  std::set<double> temperatures;
  for (const auto& [key, unused] : found.streams) temperatures.insert(std::get<2>(key));
  if (temperatures.size() == 1 && found.streams.size() > 1) {
    plot.note = "All samples share one temperature: the curves differ by chance alone.";
  }
  return plot;
}

/// The temperatures that an arm samples at, in order; a greedy baseline is no sample.
std::vector<double> sampled_at(const ArmStreams& found) {
  std::vector<double> temperatures;
  for (const auto& [key, unused] : found.streams) {
    if (std::get<0>(key) == "sample") temperatures.push_back(std::get<2>(key));
  }
  std::sort(temperatures.begin(), temperatures.end());
  temperatures.erase(std::unique(temperatures.begin(), temperatures.end()), temperatures.end());
  return temperatures;
}

/// One range for the plots of all arms, so that they compare by eye.
void share_range(std::vector<LinePlot>& plots) {
  std::vector<double> all;
  for (const LinePlot& plot : plots) {
    for (const Curve& curve : plot.curves) all.insert(all.end(), curve.y.begin(), curve.y.end());
  }
  Range range = widened(range_of(all), 0.05);
  if (range.low > 0 && range.low < 0.3 * range.high) range.low = 0;
  for (LinePlot& plot : plots) plot.y_range = range;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + cut(name, 60);
  return out;
}

}  // namespace

std::string stream_plots(const std::filesystem::path& directory, const Comparison& comparison) {
  LinePlot entropy{.title = "Entropy", .unit = "nats a token, T=1", .note = {}, .curves = {}};
  LinePlot reward{.title = "Mean reward of the samples", .unit = {}, .note = {}, .curves = {}};
  std::vector<LinePlot> by_arm;
  std::vector<std::string> silent;
  std::set<std::vector<double>> ladders;
  for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
    const Arm& arm = comparison.arms[i];
    const ArmStreams found = streams_of(directory, arm);
    const std::string style = style_of(comparison, i);
    if (!found.entropy.values.empty()) entropy.curves.push_back(found.entropy.curve(arm.name, style, false));
    if (!found.reward.values.empty()) reward.curves.push_back(found.reward.curve(arm.name, style, false));
    if (reward.unit.empty()) reward.unit = found.unit.name;
    if (!found.streams.empty()) by_arm.push_back(stream_plot(arm, found));
    if (!found.streams.empty()) ladders.insert(sampled_at(found));
    if (found.streams.empty() && found.entropy.values.empty()) silent.push_back(arm.name);
  }
  if (ladders.size() > 1)
    reward.note = "Not all arms sample at the same temperatures: compare each with its own beginning.";
  std::string out;
  if (!reward.curves.empty() || !entropy.curves.empty()) {
    out +=
        "<p class=\"note\">Lines: moving means over about a twelfth of the steps, averaged over training "
        "seeds; light: each step.</p>";
    out += "<div class=\"plots two\">\n" + draw(reward) + draw(entropy) + "</div>\n";
  }
  share_range(by_arm);
  if (!by_arm.empty()) {
    out += "<h3>Reward of each sample stream</h3>\n<div class=\"plots\">\n";
    for (const LinePlot& plot : by_arm) out += draw(plot);
    out += "</div>\n";
  }
  if (!silent.empty()) {
    out += fmt::format("<p class=\"note\">No samples were logged for: {}.</p>\n", escape(joined(silent)));
  }
  return out;
}

}  // namespace eso_program
