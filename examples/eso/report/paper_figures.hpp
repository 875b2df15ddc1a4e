// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "report/comparison.hpp"

namespace eso_program {

/// A row of the paper's tables 1 and 2: ROUGE F1 x 100 on the test set, sampled at temperature 1, of a model
/// trained for 5 epochs. One seed; the paper gives no errors. GPT-2-medium's rows on Self-Instruct and Vicuna
/// are those of the model trained on Dolly.
struct PaperFigure {
  std::string_view format, model, method;  ///< the first and the last as in the flags
  double rouge_1 = missing, rouge_2 = missing, rouge_l = missing;
};

/// The rows on the data set of a format, none where the paper has none. GPT-2-medium's stand first; SFT,
/// Unlike, DRL, RRHF, ESO.
std::vector<PaperFigure> paper_figures(std::string_view format);

/// A line of the table that puts a comparison beside the paper.
struct BesidePaper {
  std::string method;                ///< as in the flag
  std::string model, arm;            ///< one of them: the paper's model, or the arm of the comparison
  Figure rouge_1, rouge_2, rouge_l;  ///< x 100, at temperature 1
  double gain = missing;  ///< of ROUGE-L over SFT of the same model, or over a baseline that is SFT
};

/// The paper's figures on the data set of the comparison and the arms of the same methods, by method; nothing
/// where the paper has no figures.
std::vector<BesidePaper> beside_paper(const Comparison& comparison);

/// What the paper's figures are, as a sentence for under such a table.
std::string beside_paper_note();

}  // namespace eso_program
