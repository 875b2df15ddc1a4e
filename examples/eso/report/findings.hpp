// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "report/comparison.hpp"

namespace eso_program {

/// What an arm changed against the baseline, judged by its paired 95 % intervals.
enum class Effect {
  improves,  ///< every decoding is better
  sharpens,  ///< better when sampled hottest, not greedily, and the entropy fell by a tenth or more
  samples,   ///< better when sampled hottest, not greedily, at much the same entropy
  hurts,     ///< worse somewhere, better nowhere
  unclear,   ///< no interval excludes zero
  mixed,     ///< any other pattern
  unknown,   ///< nothing to judge by
};

/// One sentence or two about the figures. `text` is escaped HTML.
struct Finding {
  std::string tag;    ///< a word or two for the margin
  std::string style;  ///< "good", "part", "bad" or "plain"
  std::string text;
};

Effect effect_of(const Arm& arm, const Comparison& comparison);

/// What the scores say: each arm against the baseline, greedy decoding against sampling, the lead baseline.
/// Every statement is decided by the numbers.
std::vector<Finding> score_findings(const Comparison& comparison);

/// What the curves over decoding temperatures say: each arm against the baseline decoded to the same entropy.
std::vector<Finding> curve_findings(const Comparison& comparison);

/// One plain sentence with the most important result, for the head of the page; not escaped.
std::string headline(const Comparison& comparison);

}  // namespace eso_program
