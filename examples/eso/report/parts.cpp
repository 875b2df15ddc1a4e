// SPDX-License-Identifier: MIT
#include "report/parts.hpp"

#include <fmt/format.h>

#include <cmath>

#include "eso/version.hpp"
#include "report/html.hpp"

namespace eso_program {
namespace {

std::string cell(const std::string& text, const char* kind = "") {
  return fmt::format("<td{}>{}</td>", *kind == 0 ? "" : fmt::format(" class=\"{}\"", kind), text);
}

std::string with_small_spread(Figure figure, double factor, int decimals) {
  std::string out = fixed(factor * figure.mean, decimals);
  if (std::isfinite(figure.std)) out += "<small> ± " + fixed(factor * figure.std, decimals) + "</small>";
  return out;
}

std::string result_cells(const Arm& arm, double temperature, bool best) {
  const auto at = [&](Figure TemperatureResult::* member) { return figure_at(arm, temperature, member); };
  std::string out = cell(with_small_spread(at(&TemperatureResult::rouge_1), 100, 1));
  out += cell(with_small_spread(at(&TemperatureResult::rouge_2), 100, 1));
  out += cell(with_small_spread(at(&TemperatureResult::rouge_l), 100, 1), best ? "best" : "");
  out += cell(with_small_spread(at(&TemperatureResult::length), 1, 1));
  out += cell(fixed(100 * at(&TemperatureResult::eos_rate).mean, 1));
  return out + cell(with_small_spread(at(&TemperatureResult::entropy), 1, 2));
}

std::size_t sampling_seeds(const Arm& arm, double temperature) {
  for (const auto& results : arm.results) {
    for (const TemperatureResult& result : results) {
      if (result.temperature == temperature) return result.seeds;
    }
  }
  return 0;
}

double best_score(const Comparison& comparison, double temperature) {
  double best = missing;
  for (const Arm& arm : comparison.arms) {
    best = std::fmax(best, figure_at(arm, temperature, &TemperatureResult::rouge_l).mean);
  }
  return best;
}

std::string table_head(bool by_arm) {
  return std::string("<thead><tr><th>") + (by_arm ? "method" : "decoding") +
         "</th><th>ROUGE-1</th><th>ROUGE-2</th><th>ROUGE-L</th><th>length<small>tokens</small></th>"
         "<th>ends<small>% with EOS</small></th><th>entropy<small>nats a token</small></th>" +
         (by_arm ? "<th>nll<small>nats a token</small></th><th>training<small>seconds</small></th>" : "") +
         "<th>seeds</th></tr></thead>\n";
}

std::string arm_row(const Comparison& comparison, std::size_t i, double temperature, double best,
                    bool by_arm) {
  const Arm& arm = comparison.arms[i];
  const double score = figure_at(arm, temperature, &TemperatureResult::rouge_l).mean;
  std::string out = by_arm ? fmt::format("<tr><th class=\"key {}\"><i></i>{}</th>", style_of(comparison, i),
                                         escape(cut(arm.name, 60)))
                           : fmt::format("<tr><th>{}</th>", decoding_name(temperature));
  out += result_cells(arm, temperature, by_arm && score == best);
  if (by_arm)
    out += cell(with_small_spread(figure_of(arm.nll), 1, 3)) +
           cell(with_small_spread(figure_of(arm.train_seconds), 1, 0));
  const std::size_t seeds = sampling_seeds(arm, temperature);
  const std::string sampling = temperature == 0 ? "greedy" : fmt::format("{} sampling", seeds);
  return out + cell(by_arm ? fmt::format("{} training, {}", arm.results.size(), sampling) : sampling) +
         "</tr>\n";
}

std::string lead_row(const Lead& lead) {
  std::string out = fmt::format("<tr class=\"lead\"><th>first {} words</th>", compact(lead.words));
  for (const double score : {lead.rouge_1, lead.rouge_2, lead.rouge_l}) out += cell(fixed(100 * score, 1));
  for (int i = 0; i < 6; ++i) out += cell("");
  return out + "</tr>\n";
}

}  // namespace

std::string key_figure_list(const std::vector<KeyFigure>& figures) {
  std::string out = "<dl class=\"figures\">\n";
  for (const KeyFigure& figure : figures) {
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd><dd class=\"remark\">{}</dd></div>\n", escape(figure.name),
                       escape(figure.value), escape(figure.remark));
  }
  return out + "</dl>\n";
}

std::string page_head(const std::string& kind, const std::string& title, const std::string& sentence) {
  std::string out = fmt::format("<header>\n<p class=\"kind\">eso <span>{}</span></p>\n<h1>{}</h1>\n",
                                escape(kind), escape(cut(title, 160)));
  if (!sentence.empty()) out += fmt::format("<p class=\"lede\">{}</p>\n", escape(cut(sentence, 600)));
  return out + "</header>\n";
}

std::string page_foot() { return fmt::format("<footer>Written by eso {}.</footer>\n", ESO_VERSION); }

std::string section(const std::string& id, const std::string& title, const std::string& content) {
  return fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", escape(id), escape(title), content);
}

std::string finding_list(const std::vector<Finding>& findings) {
  std::string out = "<ul class=\"findings\">\n";
  for (const Finding& finding : findings) {
    out += fmt::format("<li><span class=\"tag {}\">{}</span><span>{}</span></li>\n", finding.style,
                       escape(finding.tag), finding.text);
  }
  return findings.empty() ? std::string{} : out + "</ul>\n";
}

std::string style_of(const Comparison& comparison, std::size_t arm) {
  if (comparison.baseline && *comparison.baseline == arm) return "k0";
  const std::size_t rank = arm - (comparison.baseline && *comparison.baseline < arm ? 1 : 0);
  return fmt::format("k{}", 1 + rank % 7);
}

std::string results_table(const Comparison& comparison, bool by_arm) {
  std::string out = "<div class=\"scroll\"><table>" + table_head(by_arm);
  for (const double temperature : comparison.temperatures()) {
    out += "<tbody>";
    if (by_arm) {
      out += fmt::format("<tr class=\"group\"><th colspan=\"10\">{}</th></tr>\n",
                         temperature == 0 ? "greedy" : fmt::format("temperature {:g}", temperature));
    }
    const double best = best_score(comparison, temperature);
    for (std::size_t i = 0; i < comparison.arms.size(); ++i)
      out += arm_row(comparison, i, temperature, best, by_arm);
    out += "</tbody>\n";
  }
  if (by_arm && comparison.lead) {
    out += "<tbody><tr class=\"group\"><th colspan=\"10\">without a model</th></tr>\n" +
           lead_row(*comparison.lead) + "</tbody>\n";
  }
  return out + "</table></div>\n";
}

}  // namespace eso_program
