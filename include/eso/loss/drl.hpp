// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/loss/advantages.hpp"
#include "eso/loss/terms.hpp"

namespace eso {

/// Self-critical policy gradient: raise the probability of a sample that scores above the greedy response to
/// its prompt, lower it where it scores below, in proportion to the distance.
///
///     value = 1/P sum over prompts of sum over samples j of -(R_j - R_greedy) LP_j               in nats
///     LP_j  = sum over t of logp(j, t),  with `length_norm` divided by the tokens of the sample
///
/// Source: Paulus et al. 2018, arXiv 1705.04304, equation 15, with one sample a prompt; the DRL of Huang et
/// al. 2025, COLING 2025 (main 357). Common code takes the mean over tokens instead of the paper's sum:
/// `length_norm`. Their combination with maximum likelihood is gamma * DRL + (1 - gamma) * SFT; beside it,
/// `Combined{SftLoss{}, lambda, DrlLoss{}}` adds it as the other methods are added. It is `EsoLoss` with
/// `Baseline::greedy`.
///
/// Reads responses of `Kind::sample` and, of each prompt that has one, one of `Kind::greedy`, with their
/// rewards; samples are meant to be drawn at temperature 1. A prompt without samples adds nothing. Part
/// `"loss/drl"`. Cost O(N (P + R)).
struct DrlLoss {
  static constexpr std::string_view name = "drl";

  bool length_norm = false;

  Reads reads() const { return {.samples = true, .greedy = true}; }

  /// \throws Error if `logp` is not (N, R), a prompt has samples but not exactly one greedy response, a
  ///         reward is not finite, or `totals` count no prompt.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    Terms loss("DrlLoss", batch, logp);
    const std::vector<double> advantage = advantages(batch, Baseline::greedy, AdvantageNorm::none, "DrlLoss");
    for (const Index n : rows_of(batch, Kind::sample)) {
      const double weight = -advantage[static_cast<std::size_t>(n)] * loss.share(totals.prompts, "prompts");
      loss.add(n, length_norm ? weight / static_cast<double>(loss.length(n)) : weight);
    }
    return std::move(loss).result(name);
  }
};

}  // namespace eso
