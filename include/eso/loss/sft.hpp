// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

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

  /// \throws Error if `logp` is not (N, R) or if `totals` count no prompt or no target token though the batch
  ///         has some.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("SftLoss", logp, batch);
    const bool per_token = reduction == SftReduction::token_mean;
    const Index whole = per_token ? totals.target_tokens : totals.prompts;
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Response& response = batch.response(n);
      const auto length = static_cast<Index>(response.tokens.size());
      if (response.kind != Kind::target || length == 0) continue;
      if (whole < 1) {
        throw input_error("SftLoss", per_token ? "totals count no target tokens" : "totals count no prompts",
                          fmt::format("{}", whole), "those of the whole step");
      }
      const Index divisor = reduction == SftReduction::sequence_mean ? whole * length : whole;
      const double weight = -1.0 / static_cast<double>(divisor);
      result.value += weight * logp.row(n).head(length).sum();
      result.d_logp.row(n).head(length) = weight;
    }
    result.parts.emplace_back(fmt::format("loss/{}", name), result.value);
    return result;
  }
};

}  // namespace eso
