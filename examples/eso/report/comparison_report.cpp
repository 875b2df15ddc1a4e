// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <cmath>

#include "report/comparison.hpp"
#include "report/findings.hpp"
#include "report/html.hpp"
#include "report/numbers.hpp"
#include "report/paper_figures.hpp"
#include "report/parts.hpp"
#include "report/plot.hpp"
#include "report/records.hpp"
#include "report/report.hpp"
#include "report/samples.hpp"
#include "report/streams.hpp"

namespace eso_program {
namespace {

std::string remark_of(const std::optional<Paired>& paired) {
  if (!paired) return {};
  std::string out = with_sign(100 * paired->difference, 1);
  if (std::isfinite(paired->low) && std::isfinite(paired->high)) {
    out += fmt::format(" ({} to {})", with_sign(100 * paired->low, 1), with_sign(100 * paired->high, 1));
  }
  return out;
}

/// The rows of one temperature. The interval of an arm is that of its difference to the baseline, drawn
/// around the arm's own score.
DotGroup dot_group(const Comparison& comparison, double temperature) {
  DotGroup group{temperature == 0 ? "Greedy" : fmt::format("T = {:g}", temperature), {}, missing};
  if (comparison.baseline) {
    group.reference =
        100 * figure_at(*comparison.baseline_arm(), temperature, &TemperatureResult::rouge_l).mean;
  }
  for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
    const Arm& arm = comparison.arms[i];
    const double score = 100 * figure_at(arm, temperature, &TemperatureResult::rouge_l).mean;
    Dot dot{
        .name = arm.name, .style = style_of(comparison, i), .value = score, .low = missing, .high = missing};
    const auto paired = paired_at(arm, temperature);
    if (paired) {
      dot.low = score + 100 * (paired->low - paired->difference);
      dot.high = score + 100 * (paired->high - paired->difference);
    }
    dot.remark = remark_of(paired);
    if (arm.results.size() > 1) {
      for (const double part : values_at(arm, temperature, &TemperatureResult::rouge_l))
        dot.parts.push_back(100 * part);
    }
    group.dots.push_back(std::move(dot));
  }
  return group;
}

std::string reading_note(const Comparison& comparison) {
  std::string out = fmt::format(
      "<p class=\"note\">ROUGE-L F1 × 100 on {}. Bars: 95 % interval of the difference to {}, by a bootstrap "
      "paired "
      "over the examples; a bar clear of the vertical line of {} is a difference that the examples support. "
      "Each "
      "interval stands alone, without correction for the number of comparisons.",
      counted(comparison.examples, "example"), escape(cut(comparison.baseline_name(), 60)),
      escape(cut(comparison.baseline_name(), 60)));
  const std::size_t seeds = comparison.training_seeds();
  if (seeds > 1) out += fmt::format(" Small dots: the {} training seeds.", seeds);
  if (seeds == 1) out += " One training seed: the bars do not show how much another one would change.";
  return out + "</p>\n";
}

std::string scores_section(const Comparison& comparison) {
  std::vector<DotGroup> groups;
  for (const double temperature : comparison.temperatures())
    groups.push_back(dot_group(comparison, temperature));
  std::vector<Mark> marks;
  if (comparison.lead && std::isfinite(comparison.lead->rouge_l)) {
    marks.push_back(
        {100 * comparison.lead->rouge_l, fmt::format("first {} words: {}", compact(comparison.lead->words),
                                                     fixed(100 * comparison.lead->rouge_l, 1))});
  }
  const std::string remark =
      comparison.baseline ? "to " + cut(comparison.baseline_name(), 20) : std::string{};
  std::string out = groups.empty() ? std::string{} : draw_dots(groups, marks, "ROUGE-L", remark);
  return section("scores", "1. ROUGE-L by decoding",
                 out + reading_note(comparison) + finding_list(score_findings(comparison)));
}

std::string curves_section(const Comparison& comparison) {
  std::vector<DecodingCurve> curves;
  for (std::size_t i = 0; i < comparison.arms.size(); ++i) {
    DecodingCurve curve{cut(comparison.arms[i].name, 60), style_of(comparison, i), {}, {}, {}};
    for (const CurvePoint& point : mean_curve(comparison.arms[i])) {
      curve.temperature.push_back(point.temperature);
      curve.entropy.push_back(point.entropy);
      curve.score.push_back(100 * point.rouge_l);
    }
    curves.push_back(std::move(curve));
  }
  const std::string figure =
      draw_decoding_curves(curves, "entropy of the decoding distribution, nats a token", "ROUGE-L");
  if (figure.empty())
    return section("curves", "2. Improvement or sharpening",
                   "<p class=\"note\">No curve over decoding temperatures was measured.</p>");
  const std::string base = escape(cut(comparison.baseline_name(), 60));
  const std::string intro = fmt::format(
      "<p>Lowering the temperature makes any model more certain and, here, its score moves along a curve. An "
      "arm above "
      "the curve of <b>{0}</b> says better things at the same certainty: improvement. An arm that only lies "
      "further along "
      "it says what <b>{0}</b> says at a lower temperature: sharpening. Points carry their "
      "temperature.</p>\n",
      base);
  const std::vector<Finding> findings = curve_findings(comparison);
  const char* note = findings.empty()
                         ? ""
                         : "<p class=\"note\">Scores between the measured temperatures are interpolated. The "
                           "noise is 1.96 standard errors of the arm's paired difference at its hottest "
                           "temperature, at least half a point.</p>\n";
  return section("curves", "2. Improvement or sharpening", intro + figure + note + finding_list(findings));
}

std::string answer_heading(const char* decoding, double score) {
  std::string out = fmt::format("<span class=\"who\">{}</span>", decoding);
  if (std::isfinite(score)) out += fmt::format(" <span class=\"score\">{}</span>", fixed(100 * score, 1));
  return out;
}

std::string example_html(const Comparison& comparison, const ComparedExample& example) {
  std::string out = fmt::format(
      "<div class=\"example\"><div class=\"given\"><div class=\"part\"><h4>Prompt {}</h4>{}</div><div "
      "class=\"part\">"
      "<h4>Reference</h4>{}</div></div>\n<div class=\"answers\">",
      compact(example.number), quoted(example.prompt, 420), quoted(example.reference, 600));
  for (const Answer& answer : example.answers) {
    std::size_t arm = 0;
    while (arm + 1 < comparison.arms.size() && comparison.arms[arm].name != answer.arm) ++arm;
    out += fmt::format("<div class=\"answer\"><h5 class=\"key {}\"><i></i>{}</h5>{}{}</div>\n",
                       style_of(comparison, arm), escape(cut(answer.arm, 60)),
                       response_card(answer_heading("greedy", answer.greedy_rouge_l), answer.greedy, missing),
                       response_card(answer_heading("T=1", answer.sampled_rouge_l), answer.sampled, missing));
  }
  return out + "</div></div>\n";
}

std::string examples_section(const Comparison& comparison) {
  if (comparison.compared_examples.empty()) return {};
  std::string out = fmt::format(
      "<p class=\"note\">The first {} of the evaluation, unselected; each arm's greedy response and one "
      "sample at "
      "T=1, with its ROUGE-L × 100.</p>\n",
      counted(static_cast<double>(comparison.compared_examples.size()), "example"));
  for (const ComparedExample& example : comparison.compared_examples)
    out += example_html(comparison, example);
  return section("examples", "4. What the arms write", out);
}

std::string table_section(const Comparison& comparison) {
  const bool many = comparison.training_seeds() > 1;
  const std::string note = fmt::format(
      "<p class=\"note\">ROUGE F1 × 100, mean ± standard deviation over {} seeds; the highest ROUGE-L of "
      "each decoding "
      "is bold. Entropy is that of the distribution sampled from (for greedy: at T=1); nll is that of the "
      "reference "
      "texts.</p>\n",
      many ? "training" : "sampling");
  return section("table", "5. All figures", note + results_table(comparison, true));
}

std::string paper_cell(Figure figure) {
  std::string out = "<td>" + fixed(figure.mean, 2);
  if (std::isfinite(figure.std)) out += "<small> ± " + fixed(figure.std, 2) + "</small>";
  return out + "</td>";
}

/// The comparison beside the paper's tables; empty where they have nothing on its data.
std::string paper_section(const Comparison& comparison) {
  const std::vector<BesidePaper> lines = beside_paper(comparison);
  if (lines.empty()) return {};
  std::string out =
      "<div class=\"scroll\"><table><thead><tr><th>method</th><th>of</th><th>ROUGE-1</th><th>ROUGE-2</th>"
      "<th>ROUGE-L</th><th>above SFT<small>ROUGE-L</small></th></tr></thead>\n";
  std::string method;
  for (const BesidePaper& line : lines) {
    if (line.method != method) out += method.empty() ? "<tbody>" : "</tbody>\n<tbody>";
    const bool first = line.method != method;
    method = line.method;
    out += fmt::format(
        "<tr><th>{}</th><td>{}</td>{}{}{}<td>{}</td></tr>\n", first ? escape(method) : "",
        line.arm.empty() ? "the paper, " + escape(line.model) : "<b>" + escape(cut(line.arm, 60)) + "</b>",
        paper_cell(line.rouge_1), paper_cell(line.rouge_2), paper_cell(line.rouge_l),
        std::isfinite(line.gain) ? with_sign(line.gain, 2) : "–");
  }
  return section(
      "paper", "6. Beside the paper",
      "<p class=\"note\">" + escape(beside_paper_note()) + "</p>\n" + out + "</tbody></table></div>\n");
}

std::string setting_row(const std::string& name, const std::string& value) {
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", escape(name), escape(cut(value, 4000)));
}

std::string settings_section(const Comparison& comparison, const char* title) {
  std::string out = "<table class=\"settings\"><tbody>\n";
  if (comparison.settings.is_object()) {
    for (const auto& [name, value] : comparison.settings.items()) {
      std::string words = name;
      for (char& c : words) c = c == '_' ? ' ' : c;
      const auto lossy = nlohmann::json::error_handler_t::replace;
      out += setting_row(words,
                         value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, lossy));
    }
  }
  for (const Arm& arm : comparison.arms)
    out += setting_row(arm.name, arm.flags.empty() ? arm.method : arm.flags);
  return section("settings", title, out + "</tbody></table>\n");
}

std::string key_figures(const Comparison& comparison) {
  std::vector<KeyFigure> figures;
  for (const double temperature : comparison.temperatures()) {
    const Arm* best = nullptr;
    double highest = missing;
    for (const Arm& arm : comparison.arms) {
      const double score = figure_at(arm, temperature, &TemperatureResult::rouge_l).mean;
      if (!std::isfinite(score) || score <= highest) continue;
      highest = score;
      best = &arm;
    }
    if (best == nullptr) continue;
    std::string remark = "highest: " + cut(best->name, 40);
    if (comparison.baseline && best != comparison.baseline_arm()) {
      const double base =
          figure_at(*comparison.baseline_arm(), temperature, &TemperatureResult::rouge_l).mean;
      remark += fmt::format("; {}: {}", cut(comparison.baseline_name(), 24), fixed(100 * base, 1));
    }
    figures.push_back({fixed(100 * highest, 1), "ROUGE-L, " + decoding_name(temperature), remark});
  }
  return figures.empty() ? std::string{} : key_figure_list(figures);
}

}  // namespace

std::string comparison_report(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "comparison.json";
  const Comparison comparison = read_comparison(read_json(path), path.string());
  const std::string title =
      fmt::format("{} from one start", counted(static_cast<double>(comparison.arms.size()), "method"));
  std::string body =
      page_head("comparison", title, headline(comparison)) + "<main>\n" + key_figures(comparison);
  body += scores_section(comparison);
  body += curves_section(comparison);
  const std::string streams = stream_plots(directory, comparison);
  if (!streams.empty()) body += section("streams", "3. While training", streams);
  body += examples_section(comparison);
  body += table_section(comparison);
  const std::string paper = paper_section(comparison);
  body += paper;
  body += settings_section(comparison, paper.empty() ? "6. Settings" : "7. Settings");
  return page("Comparison · eso", body + "</main>\n" + page_foot());
}

}  // namespace eso_program
