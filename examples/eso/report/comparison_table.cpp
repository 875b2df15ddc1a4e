// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/comparison.hpp"
#include "report/html.hpp"
#include "report/paper_figures.hpp"
#include "report/report.hpp"

namespace eso_program {
namespace {

constexpr std::size_t widest_line = 110;
constexpr std::size_t most_name = 26;

/// A column of the table: its heading and a cell a row.
struct Column {
  std::string heading;
  std::vector<std::string> cells;

  std::size_t width() const {
    std::size_t widest = length_of(heading);
    for (const std::string& cell : cells) widest = std::max(widest, length_of(cell));
    return widest;
  }
};

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
  const std::string space(width > length_of(text) ? width - length_of(text) : 0, ' ');
  return to_the_right ? space + text : text + space;
}

std::string with_spread(Figure figure, double factor, int decimals) {
  if (!std::isfinite(figure.mean)) return "–";
  const std::string mean = fixed(factor * figure.mean, decimals);
  return std::isfinite(figure.std) ? mean + "±" + fixed(factor * figure.std, decimals) : mean;
}

/// One line of a name for the terminal.
std::string label(const std::string& name) {
  std::string line = printable(name);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::replace(line.begin(), line.end(), '\t', ' ');
  return cut(line, most_name - 1);
}

Column names(const Comparison& comparison) {
  Column column{"method", {}};
  for (const Arm& arm : comparison.arms)
    column.cells.push_back(label(arm.name) + (arm.never_on ? " (never on)" : ""));
  if (comparison.lead) column.cells.push_back("first " + compact(comparison.lead->words) + " words");
  return column;
}

std::vector<Column> score_columns(const Comparison& comparison) {
  std::vector<Column> columns;
  for (const double temperature : comparison.temperatures()) {
    Column score{decoding_name(temperature), {}};
    Column difference{"diff", {}};
    bool any = false;
    for (const Arm& arm : comparison.arms) {
      score.cells.push_back(with_spread(figure_at(arm, temperature, &TemperatureResult::rouge_l), 100, 1));
      const auto paired = paired_at(arm, temperature);
      any = any || paired;
      std::string cell;
      if (paired) cell = with_sign(100 * paired->difference, 1);
      if (paired && std::isfinite(paired->standard_error))
        cell += "±" + fixed(100 * paired->standard_error, 1);
      if (paired && (paired->low > 0 || paired->high < 0)) cell += "*";
      difference.cells.push_back(cell);
    }
    if (comparison.lead) {
      score.cells.push_back(fixed(100 * comparison.lead->rouge_l, 1));
      difference.cells.emplace_back();
    }
    columns.push_back(std::move(score));
    if (any) columns.push_back(std::move(difference));
  }
  return columns;
}

/// Entropy at the hottest temperature, nll and training time.
std::vector<Column> other_columns(const Comparison& comparison) {
  const std::vector<double> temperatures = comparison.temperatures();
  Column entropy{"entropy", {}};
  Column nll{"nll", {}};
  Column seconds{"seconds", {}};
  for (const Arm& arm : comparison.arms) {
    const Figure found =
        temperatures.empty() ? Figure{} : figure_at(arm, temperatures.front(), &TemperatureResult::entropy);
    entropy.cells.push_back(fixed(found.mean, 2));
    nll.cells.push_back(fixed(figure_of(arm.nll).mean, 2));
    const double time = figure_of(arm.train_seconds).mean;
    seconds.cells.push_back(fixed(time, time < 10 ? 1 : 0));
  }
  for (Column* column : {&entropy, &nll, &seconds}) {
    if (comparison.lead) column->cells.emplace_back();
  }
  return {entropy, nll, seconds};
}

std::string block(const Column& name, const std::vector<Column>& columns) {
  std::string out = padded(name.heading, name.width(), false);
  for (const Column& column : columns) out += "  " + padded(column.heading, column.width(), true);
  const std::size_t width = length_of(out);
  out += '\n';
  for (std::size_t i = 0; i < width; ++i) out += '-';
  for (std::size_t row = 0; row < name.cells.size(); ++row) {
    std::string line = padded(name.cells[row], name.width(), false);
    for (const Column& column : columns) line += "  " + padded(column.cells[row], column.width(), true);
    line.erase(line.find_last_not_of(' ') + 1);
    out += '\n' + line;
  }
  return out + '\n';
}

std::string legend_lines(const Comparison& comparison) {
  const bool many = comparison.training_seeds() > 1;
  std::string out = fmt::format("ROUGE-L F1 x 100 on {}, mean ± standard deviation over {} seeds.\n",
                                counted(comparison.examples, "example"), many ? "training" : "sampling");
  if (comparison.baseline) {
    out += fmt::format(
        "diff: to {}, ± its bootstrap standard error, paired over examples; *: the 95 % interval excludes "
        "0.\n",
        label(comparison.baseline_name()));
  }
  const std::vector<double> temperatures = comparison.temperatures();
  if (!temperatures.empty()) {
    out += fmt::format(
        "entropy: nats a token at {}; nll: nats a reference token; seconds: training of one seed.\n",
        decoding_name(temperatures.front()));
  }
  if (std::any_of(comparison.arms.begin(), comparison.arms.end(),
                  [](const Arm& arm) { return arm.never_on; }))
    out += "never on: the runs of the arm ended before its method began.\n";
  return out;
}

/// The comparison beside the paper's tables; empty where they have nothing on its data.
std::string paper_block(const Comparison& comparison) {
  const std::vector<BesidePaper> lines = beside_paper(comparison);
  if (lines.empty()) return {};
  Column method{"method", {}}, of{"of", {}}, rouge_1{"ROUGE-1", {}}, rouge_2{"ROUGE-2", {}},
      rouge_l{"ROUGE-L", {}}, gain{"to sft", {}};
  for (const BesidePaper& line : lines) {
    method.cells.push_back(line.method);
    of.cells.push_back(line.arm.empty() ? "the paper, " + line.model : "here, " + label(line.arm));
    rouge_1.cells.push_back(with_spread(line.rouge_1, 1, 2));
    rouge_2.cells.push_back(with_spread(line.rouge_2, 1, 2));
    rouge_l.cells.push_back(with_spread(line.rouge_l, 1, 2));
    gain.cells.push_back(std::isfinite(line.gain) ? with_sign(line.gain, 2) : "–");
  }
  return "\n" + block(method, {of, rouge_1, rouge_2, rouge_l, gain}) + "\n" + beside_paper_note() + "\n";
}

}  // namespace

std::string comparison_table(const nlohmann::json& value) {
  const Comparison comparison = read_comparison(value, "comparison");
  const Column name = names(comparison);
  std::vector<Column> columns = score_columns(comparison);
  for (Column& column : other_columns(comparison)) columns.push_back(std::move(column));
  std::string out;
  std::vector<Column> line;
  std::size_t width = name.width();
  for (Column& column : columns) {
    const std::size_t needed = column.width() + 2;
    if (!line.empty() && width + needed > widest_line) {
      out += block(name, line) + '\n';
      line.clear();
      width = name.width();
    }
    width += needed;
    line.push_back(std::move(column));
  }
  return out + block(name, line) + '\n' + legend_lines(comparison) + paper_block(comparison);
}

}  // namespace eso_program
