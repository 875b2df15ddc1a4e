// SPDX-License-Identifier: MIT
#include "report/paper_figures.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace eso_program {
namespace {

constexpr std::array all_paper_figures{
    PaperFigure{"dolly", "GPT-2-medium", "sft", 31.92, 14.23, 24.75},
    PaperFigure{"dolly", "GPT-2-medium", "unlike", 34.64, 16.06, 27.31},
    PaperFigure{"dolly", "GPT-2-medium", "drl", 32.99, 15.05, 25.86},
    PaperFigure{"dolly", "GPT-2-medium", "rrhf", 32.14, 14.28, 24.94},
    PaperFigure{"dolly", "GPT-2-medium", "eso", 36.52, 18.16, 29.09},
    PaperFigure{"dolly", "OPT-350m", "sft", 30.39, 13.89, 23.44},
    PaperFigure{"dolly", "OPT-350m", "unlike", 29.52, 13.99, 23.75},
    PaperFigure{"dolly", "OPT-350m", "drl", 30.57, 13.53, 23.87},
    PaperFigure{"dolly", "OPT-350m", "rrhf", 30.71, 14.14, 24.19},
    PaperFigure{"dolly", "OPT-350m", "eso", 32.54, 16.40, 26.39},
    PaperFigure{"xsum", "GPT-2-medium", "sft", 34.69, 12.66, 27.46},
    PaperFigure{"xsum", "GPT-2-medium", "unlike", 36.82, 14.17, 29.34},
    PaperFigure{"xsum", "GPT-2-medium", "drl", 34.85, 12.56, 27.43},
    PaperFigure{"xsum", "GPT-2-medium", "rrhf", 34.90, 12.77, 27.53},
    PaperFigure{"xsum", "GPT-2-medium", "eso", 39.31, 16.18, 31.79},
    PaperFigure{"xsum", "OPT-350m", "sft", 32.80, 11.42, 25.90},
    PaperFigure{"xsum", "OPT-350m", "unlike", 33.78, 12.66, 27.26},
    PaperFigure{"xsum", "OPT-350m", "drl", 32.80, 11.30, 25.93},
    PaperFigure{"xsum", "OPT-350m", "rrhf", 32.89, 11.59, 26.04},
    PaperFigure{"xsum", "OPT-350m", "eso", 35.97, 14.06, 29.20},
    PaperFigure{"self-instruct", "GPT-2-medium", "sft", 17.37, 5.56, 13.48},
    PaperFigure{"self-instruct", "GPT-2-medium", "unlike", 18.24, 6.67, 14.90},
    PaperFigure{"self-instruct", "GPT-2-medium", "drl", 16.18, 5.17, 12.98},
    PaperFigure{"self-instruct", "GPT-2-medium", "rrhf", 17.38, 5.66, 13.78},
    PaperFigure{"self-instruct", "GPT-2-medium", "eso", 18.73, 6.90, 15.82},
    PaperFigure{"vicuna", "GPT-2-medium", "sft", 19.54, 4.50, 12.80},
    PaperFigure{"vicuna", "GPT-2-medium", "unlike", 21.95, 5.49, 14.26},
    PaperFigure{"vicuna", "GPT-2-medium", "drl", 18.74, 3.94, 12.31},
    PaperFigure{"vicuna", "GPT-2-medium", "rrhf", 19.75, 4.26, 12.98},
    PaperFigure{"vicuna", "GPT-2-medium", "eso", 22.37, 6.54, 14.96},
};

constexpr std::array paper_methods{"sft", "unlike", "drl", "rrhf", "eso"};

BesidePaper line_of(const PaperFigure& row, const std::vector<PaperFigure>& rows) {
  BesidePaper line{.method = std::string(row.method),
                   .model = std::string(row.model),
                   .arm = {},
                   .rouge_1 = {row.rouge_1, missing},
                   .rouge_2 = {row.rouge_2, missing},
                   .rouge_l = {row.rouge_l, missing}};
  for (const PaperFigure& other : rows) {
    if (other.model == row.model && other.method == "sft") line.gain = row.rouge_l - other.rouge_l;
  }
  return line;
}

BesidePaper line_of(const Arm& arm, const Arm* baseline) {
  const auto at = [&](Figure TemperatureResult::* member) {
    const Figure figure = figure_at(arm, 1, member);
    return Figure{100 * figure.mean, 100 * figure.std};
  };
  BesidePaper line{.method = arm.method,
                   .model = {},
                   .arm = arm.name,
                   .rouge_1 = at(&TemperatureResult::rouge_1),
                   .rouge_2 = at(&TemperatureResult::rouge_2),
                   .rouge_l = at(&TemperatureResult::rouge_l)};
  if (baseline != nullptr && baseline->method == "sft") {
    line.gain = 100 * (figure_at(arm, 1, &TemperatureResult::rouge_l).mean -
                       figure_at(*baseline, 1, &TemperatureResult::rouge_l).mean);
  }
  return line;
}

}  // namespace

std::vector<PaperFigure> paper_figures(std::string_view format) {
  std::vector<PaperFigure> rows;
  std::copy_if(all_paper_figures.begin(), all_paper_figures.end(), std::back_inserter(rows),
               [&](const PaperFigure& row) { return row.format == format; });
  return rows;
}

std::vector<BesidePaper> beside_paper(const Comparison& comparison) {
  const std::vector<PaperFigure> rows = paper_figures(comparison.evaluation_format());
  std::vector<BesidePaper> lines;
  if (rows.empty()) return lines;
  for (const std::string_view method : paper_methods) {
    for (const PaperFigure& row : rows) {
      if (row.method == method) lines.push_back(line_of(row, rows));
    }
    for (const Arm& arm : comparison.arms) {
      if (arm.method == method) lines.push_back(line_of(arm, comparison.baseline_arm()));
    }
  }
  return lines;
}

std::string beside_paper_note() {
  return "The paper's figures are of one seed and have no errors; GPT-2-medium and OPT-350m, 5 epochs, "
         "sampled at T=1. With another model, other data or another number of steps compare the gains, not "
         "the levels.";
}

}  // namespace eso_program
