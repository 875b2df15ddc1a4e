// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/advantages.hpp"
#include "eso/loss/terms.hpp"

namespace eso {

/// How the token log-probabilities of a sample become one number.
enum class TokenReduce : std::uint8_t {
  sum,         ///< the log-probability of the whole sample
  mean_seq,    ///< divided by the tokens counted
  mean_batch,  ///< divided by the mean number of tokens of the step's samples: a weight beside `SftLoss`, a
               ///< mean over tokens, keeps its meaning when responses get longer
};

/// How the samples of a prompt become one number.
enum class SampleReduce : std::uint8_t {
  sum,   ///< equation 10
  mean,  ///< divided by k, as in equation 9
};

/// How the prompts of a step become one number.
enum class BatchReduce : std::uint8_t {
  mean,              ///< mean over all prompts of the step
  sum,               ///< sum over all prompts
  mean_kept,         ///< mean over the prompts whose mean reward exceeds `EsoLoss::min_mean_reward`
  sum_if_any_above,  ///< sum over all prompts if any exceeds it, else zero
};

/// Evolution Strategy Optimization: raise the probability of samples that score above the mean of their
/// prompt, lower that of the others, in proportion to the distance.
///
/// Source: Huang et al. 2025, "When Evolution Strategy Meets Language Models Tuning", COLING 2025 (main 357),
/// equation 10; its gradient is equation 12. `Combined{SftLoss{}, 0.05, EsoLoss{}}` is equation 11.
///
///     value = 1/P sum over prompts of sum over samples j of -A_j LP_j                            in nats
///     LP_j  = sum over t of logp(j, t)          A_j = R_j - u, see `advantages`
///
/// It is REINFORCE with a baseline per prompt: no importance weight, no KL term, and with the default norm
/// no division by a standard deviation. It is not bounded below: a sample below its baseline can be pushed to
/// any improbability.
///
/// Differs from the text where that is silent: the mean over prompts is the authors' code's. Their released
/// threshold keeps no prompt out (a (B) by (B, 1) product) but sums over the batch when any prompt is above
/// it; `authors_code()` has that as `sum_if_any_above`, with B the prompts of the step and not those on one
/// GPU, and without the end of sequence, which their code loses because it pads with that id.
///
/// `mean_kept` and `sum_if_any_above` divide by what lies above the threshold in the whole step: pass them
/// `totals_of(loss, batch)` of the step.
///
/// Reads responses of `Kind::sample` with their rewards, `Kind::greedy` for that baseline. A prompt without
/// samples adds nothing. Part `"loss/eso"`. Cost O(N (P + R)).
struct EsoLoss {
  static constexpr std::string_view name = "eso";

  Baseline baseline = Baseline::mean;
  AdvantageNorm advantage_norm = AdvantageNorm::none;
  TokenReduce token_reduce = TokenReduce::sum;
  SampleReduce sample_reduce = SampleReduce::sum;
  BatchReduce batch_reduce = BatchReduce::mean;
  /// In units of the reward; a prompt is kept if the mean of its samples is larger. Read by `mean_kept` and
  /// `sum_if_any_above` alone; the default keeps all.
  double min_mean_reward = -std::numeric_limits<double>::infinity();
  bool include_eos = true;  ///< false: the end-of-sequence token of a finished sample is left out of LP
  double sigma = 1;         ///< the value is divided by it: equation 9's, which equation 10 leaves out; > 0

  /// What the authors' released code computes, threshold included.
  static EsoLoss authors_code() {
    EsoLoss loss;
    loss.batch_reduce = BatchReduce::sum_if_any_above;
    loss.min_mean_reward = 0.10;
    loss.include_eos = false;
    return loss;
  }

  Reads reads() const { return {.samples = true, .greedy = baseline == Baseline::greedy}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    if (!(std::isfinite(sigma) && sigma > 0)) {
      throw input_error("EsoLoss", "sigma is out of range", fmt::format("{}", sigma), "a number above 0");
    }
    require(!std::isnan(min_mean_reward), "EsoLoss", "min_mean_reward is not a number");
  }

  /// \throws Error if `logp` is not (N, R), for what `check` and `advantages` refuse, and if `totals` count
  ///         none of what the value is divided by.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("EsoLoss", batch, logp);
    const std::vector<double> advantage = advantages(batch, baseline, advantage_norm, "EsoLoss");
    for (const std::vector<Index>& samples : rows_by_prompt(batch, Kind::sample)) {
      if (samples.empty()) continue;
      const double scale = prompt_weight(loss, batch, samples, totals);
      for (const Index n : samples) {
        const Index tokens = counted_tokens(batch.response(n));
        const double weight = -scale * advantage[static_cast<std::size_t>(n)];
        if (weight != 0 && tokens > 0) loss.add(n, weight / token_divisor(loss, tokens, totals), tokens);
      }
    }
    return std::move(loss).result(name);
  }

  /// Adds the prompts of `batch` above `min_mean_reward` to `totals.kept_prompts`; see `totals_of`.
  void count(const Batch& batch, Totals& totals) const {
    check();
    for (const std::vector<Index>& samples : rows_by_prompt(batch, Kind::sample)) {
      if (!samples.empty() && mean_reward(batch, samples) > min_mean_reward) ++totals.kept_prompts;
    }
  }

 private:
  Index counted_tokens(const Response& response) const {
    const auto length = static_cast<Index>(response.tokens.size());
    return !include_eos && response.finished && length > 0 ? length - 1 : length;
  }

  /// What the log-probability of a sample is divided by. The mean length is with the ends of sequence, whether
  /// or not they are counted.
  double token_divisor(const Terms& loss, Index tokens, const Totals& totals) const {
    if (token_reduce == TokenReduce::mean_seq) return static_cast<double>(tokens);
    if (token_reduce == TokenReduce::sum) return 1;
    loss.share(std::min(totals.sampled, totals.sampled_tokens), "sampled tokens");
    return static_cast<double>(totals.sampled_tokens) / static_cast<double>(totals.sampled);
  }

  double prompt_weight(const Terms& loss, const Batch& batch, const std::vector<Index>& samples,
                       const Totals& totals) const {
    const bool kept = mean_reward(batch, samples) > min_mean_reward;
    const double weight = batch_weight(loss, kept, totals) / sigma;
    return sample_reduce == SampleReduce::mean ? weight / static_cast<double>(samples.size()) : weight;
  }

  double batch_weight(const Terms& loss, bool kept, const Totals& totals) const {
    switch (batch_reduce) {
      case BatchReduce::mean:
        return loss.share(totals.prompts, "prompts");
      case BatchReduce::sum:
        return 1;
      case BatchReduce::mean_kept:
        return kept ? loss.share(totals.kept_prompts, "kept prompts") : 0;
      case BatchReduce::sum_if_any_above:
        if (kept) loss.share(totals.kept_prompts, "kept prompts");
        return totals.kept_prompts > 0 ? 1 : 0;
    }
    return 0;
  }
};

}  // namespace eso
