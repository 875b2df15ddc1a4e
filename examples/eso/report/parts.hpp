// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "report/comparison.hpp"
#include "report/findings.hpp"

namespace eso_program {

/// A number that stands large at the head of a page; all plain text.
struct KeyFigure {
  std::string value, name, remark;
};

std::string key_figure_list(const std::vector<KeyFigure>& figures);

/// The head of a page: a word for its kind, the title and a sentence, all plain text.
std::string page_head(const std::string& kind, const std::string& title, const std::string& sentence);

/// The last line of a page.
std::string page_foot();

/// A section with a heading; `content` is HTML.
std::string section(const std::string& id, const std::string& title, const std::string& content);

/// Findings as a list with a tag each.
std::string finding_list(const std::vector<Finding>& findings);

/// ROUGE-1/2/L, length, EOS share and entropy of every arm at every temperature; with `by_arm`, names, nll,
/// training seconds and the lead baseline too.
std::string results_table(const Comparison& comparison, bool by_arm);

/// The colour class of an arm: neutral for the baseline, the others in their order.
std::string style_of(const Comparison& comparison, std::size_t arm);

}  // namespace eso_program
