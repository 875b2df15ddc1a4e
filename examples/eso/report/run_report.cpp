// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "eso/error.hpp"
#include "report/comparison.hpp"
#include "report/html.hpp"
#include "report/numbers.hpp"
#include "report/parts.hpp"
#include "report/records.hpp"
#include "report/report.hpp"
#include "report/run_plots.hpp"
#include "report/samples.hpp"
#include "report/series.hpp"

namespace eso_program {
namespace {

/// The mean of the first or the last tenth of the values that are there.
double tenth(const std::vector<double>& column, bool last) {
  std::vector<double> values;
  std::copy_if(column.begin(), column.end(), std::back_inserter(values),
               [](double v) { return std::isfinite(v); });
  const std::size_t count = std::max<std::size_t>(values.size() / 10, 1);
  if (values.empty()) return missing;
  const std::span<const double> all(values);
  return mean_of(last ? all.last(count) : all.first(count));
}

double last_value(const std::vector<double>& column) {
  for (auto value = column.rbegin(); value != column.rend(); ++value) {
    if (std::isfinite(*value)) return *value;
  }
  return missing;
}

std::string from_to(const Metrics& metrics, const std::string& column, double factor, int decimals) {
  const double first = factor * tenth(metrics.column(column), false);
  const double last = factor * tenth(metrics.column(column), true);
  return fixed(first, decimals) + " → " + fixed(last, decimals);
}

std::string key_figures(const Metrics& metrics, const CompletionIndex& index, const RewardUnit& unit) {
  std::vector<KeyFigure> figures;
  const double epochs = last_value(metrics.column("epoch"));
  double seconds = 0;
  for (const double time : metrics.column("step_time")) seconds += std::isfinite(time) ? time : 0;
  std::string extent = std::isfinite(epochs) ? fixed(epochs, 2) + " epochs" : std::string{};
  if (metrics.has("step_time")) extent += (extent.empty() ? "" : ", ") + duration(seconds);
  figures.push_back({compact(static_cast<double>(metrics.step.size())), "steps", extent});
  if (metrics.has("loss"))
    figures.push_back({from_to(metrics, "loss", 1, 2), "loss", "nats, first to last tenth"});
  if (metrics.has("reward")) {
    figures.push_back({from_to(metrics, "reward", unit.factor, unit.decimals), "reward", unit.name});
  }
  if (metrics.has("entropy"))
    figures.push_back({from_to(metrics, "entropy", 1, 2), "entropy", "nats a token at T=1"});
  if (metrics.has("rewards/accuracies")) {
    figures.push_back(
        {from_to(metrics, "rewards/accuracies", 100, 0) + " %", "pairs ranked as labelled", ""});
  }
  const double tokens = last_value(metrics.column("num_tokens"));
  const std::string responses =
      index.responses > 0 ? ", " + counted(static_cast<double>(index.responses), "response") + " logged"
                          : std::string{};
  if (std::isfinite(tokens)) figures.push_back({compact(tokens), "tokens", "through the model" + responses});
  return key_figure_list(figures);
}

std::string evaluation_section(const std::filesystem::path& path) {
  const nlohmann::json one = read_json(path);
  const nlohmann::json as_comparison = {{"methods", {{"this model", {{"eval", {one}}}}}}};
  const Comparison comparison = read_comparison(as_comparison, path.string());
  std::string note = fmt::format("ROUGE F1 × 100 on {}", counted(comparison.examples, "example"));
  const double nll = figure_of(comparison.arms.front().nll).mean;
  if (std::isfinite(nll)) note += fmt::format("; {} nats a reference token", fixed(nll, 3));
  return section("evaluation", "Evaluation",
                 fmt::format("<p class=\"note\">{}.</p>", note) + results_table(comparison, false));
}

}  // namespace

std::string run_report(const std::filesystem::path& run_directory) {
  const auto config_path = run_directory / "config.toml";
  const auto metrics_path = run_directory / "metrics.jsonl";
  const auto completions_path = run_directory / "completions.jsonl";
  if (!is_file(config_path) && !is_file(metrics_path)) {
    throw eso::input_error(run_directory.string(),
                           "no run directory: neither config.toml nor metrics.jsonl is there");
  }
  const std::string config = is_file(config_path) ? read_text(config_path) : std::string{};
  const Metrics metrics = is_file(metrics_path) ? read_metrics(metrics_path) : Metrics{};
  const CompletionIndex index =
      is_file(completions_path) ? index_completions(completions_path) : CompletionIndex{};
  const RewardUnit unit = reward_unit(config);
  const std::string method = toml_value(config, "method");
  const std::string model = toml_value(config, "model");

  const std::string title = (method.empty() ? std::string("Training run") : "Training with " + method);
  const std::string of_model = model.empty() ? std::string{} : "Model: " + model;
  std::string body = page_head("run", title, of_model) + "<main>\n";
  body += key_figures(metrics, index, unit);
  if (metrics.step.empty()) body += "<p class=\"lede\">No step has been logged yet.</p>\n";
  if (is_file(run_directory / "eval.json")) body += evaluation_section(run_directory / "eval.json");
  if (!metrics.step.empty()) {
    body += section("steps", "Over the steps", run_plots(metrics, method.empty() ? "method" : method, unit));
  }
  const std::string samples = sampled_responses(completions_path, index, unit);
  if (!samples.empty()) {
    const std::string note = fmt::format(
        "<p class=\"note\">The first examples of some steps, unselected. The number after the name is the "
        "reward "
        "({}), the signed one the advantage; blue is better than {}, orange worse.</p>",
        escape(unit.name), method == "drl" ? "the greedy response" : "the mean of the prompt's samples");
    body += section("samples", "Sampled responses", note + samples);
  }
  if (!config.empty())
    body += section("settings", "Settings", "<pre class=\"config\">" + escape(config) + "</pre>");
  return page(title + (model.empty() ? "" : " · " + model), body + "</main>\n" + page_foot());
}

}  // namespace eso_program
