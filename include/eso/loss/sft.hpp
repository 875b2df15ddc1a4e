// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/loss/terms.hpp"

namespace eso {

/// How the token losses of the targets become one number.
enum class SftReduction : std::uint8_t {
  token_mean,                ///< mean over all target tokens of the step: long targets weigh more
  sequence_sum_prompt_mean,  ///< sum over the tokens of a target, mean over prompts: equation 1 to the letter
  sequence_mean,             ///< mean over the tokens of a target, mean over prompts
};

/// Supervised fine-tuning: the cross-entropy of the target responses.
///
/// Source: Huang et al. 2025, "When Evolution Strategy Meets Language Models Tuning", COLING 2025
/// (main 357), equation 1.
///
///     value = - sum over targets n and t of logp(n, t) / divisor(n)                              in nats
///     divisor(n) = T,  P  or  P * length(n)      with T target tokens and P prompts in the step
///
/// Differs from equation 1, which sums over tokens: the default is the mean over all target tokens, as in the
/// authors' code and in the trainers it derives from. Their code takes that mean per micro-batch, this loss
/// over the step. The choice decides the weight of a term added to it: a mean over tokens is smaller than a
/// sum by the length of the targets.
///
/// Reads responses of `Kind::target`, of which a prompt ordinarily has one; the end-of-sequence token counts.
/// Part `"loss/sft"`. Cost O(N R).
struct SftLoss {
  static constexpr std::string_view name = "sft";

  SftReduction reduction = SftReduction::token_mean;

  /// The reduction that equation 1 writes.
  static constexpr SftLoss literal() { return {.reduction = SftReduction::sequence_sum_prompt_mean}; }

  Reads reads() const { return {.targets = true}; }

  /// \throws Error if `logp` is not (N, R) or if `totals` count no prompt or no target token though the batch
  ///         has some.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    Terms loss("SftLoss", batch, logp);
    for (const Index n : rows_of(batch, Kind::target)) {
      if (loss.length(n) > 0) loss.add(n, -1.0 / divisor(loss, n, totals));
    }
    return std::move(loss).result(name);
  }

 private:
  double divisor(const Terms& loss, Index n, const Totals& totals) const {
    const bool per_token = reduction == SftReduction::token_mean;
    const Index whole = per_token ? totals.target_tokens : totals.prompts;
    loss.share(whole, per_token ? "target tokens" : "prompts");
    return static_cast<double>(reduction == SftReduction::sequence_mean ? whole * loss.length(n) : whole);
  }
};

}  // namespace eso
