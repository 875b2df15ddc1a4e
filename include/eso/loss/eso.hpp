// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

namespace eso {

/// What the reward of a sample is compared with.
enum class Baseline : std::uint8_t {
  mean,           ///< the mean of all samples of the prompt, itself included: the paper
  leave_one_out,  ///< the mean of the other samples; the advantages of `mean` times k / (k - 1)
  greedy,         ///< the reward of the prompt's response of `Kind::greedy`
};

/// What the difference to the baseline is divided by.
enum class AdvantageNorm : std::uint8_t {
  none,  ///< nothing: the paper
  std,   ///< the standard deviation (n - 1) of the prompt's rewards, plus 1e-4
};

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

/// Mean of the rewards of these responses, all equal rewards giving exactly that reward.
///
/// \throws Error naming prompt and sample if a reward is not finite.
inline double mean_reward(const Batch& batch, const std::vector<Index>& rows) {
  double origin = 0, sum = 0;  // sums of differences lose nothing when the rewards are equal
  for (const Index n : rows) {
    const Response& response = batch.response(n);
    if (!std::isfinite(response.reward)) {
      throw input_error(
          "mean_reward",
          fmt::format("prompt {}, {} {} has no finite reward", response.prompt,
                      response.kind == Kind::greedy ? "greedy response" : "sample", response.sample),
          fmt::format("{}", response.reward), "a number");
    }
    if (n == rows.front()) origin = response.reward;
    sum += response.reward - origin;
  }
  return rows.empty() ? 0 : origin + sum / static_cast<double>(rows.size());
}

/// (N): reward minus baseline for responses of `Kind::sample`, 0 for the others. Equal rewards give exactly 0
/// with the baselines of the samples. O(P N).
///
///     mean            A_j = R_j - u                    u = mean of the prompt's k rewards
///     leave_one_out   A_j = (R_j - u) k / (k - 1)      = R_j - mean of the others
///     greedy          A_j = R_j - R_greedy
///     std             A_j / (s + 1e-4)                 s^2 = sum of (R_j - u)^2 / (k - 1); 0 where s is 0
///
/// \throws Error if a prompt has one sample where two are needed (`leave_one_out` and `std`), if it has
///         samples but not exactly one greedy response for `Baseline::greedy`, or if a reward is not finite.
inline std::vector<double> advantages(const Batch& batch, Baseline baseline = Baseline::mean,
                                      AdvantageNorm norm = AdvantageNorm::none) {
  std::vector<double> result(batch.responses.size(), 0.0);
  const std::size_t least = baseline == Baseline::leave_one_out || norm == AdvantageNorm::std ? 2 : 1;
  for (Index p = 0; p < batch.prompt_count(); ++p) {
    const std::vector<Index> rows = batch.rows_of(p, Kind::sample);
    if (rows.empty()) continue;
    if (rows.size() < least) {
      throw input_error("EsoLoss", fmt::format("prompt {} has {} sample", p, rows.size()), {},
                        fmt::format("at least {}", least));
    }
    const auto k = static_cast<double>(rows.size());
    const double mean = mean_reward(batch, rows);
    double compared_with = mean, factor = 1;
    if (baseline == Baseline::leave_one_out) factor = k / (k - 1);
    if (baseline == Baseline::greedy) {
      const std::vector<Index> greedy = batch.rows_of(p, Kind::greedy);
      if (greedy.size() != 1) {
        throw input_error("EsoLoss", fmt::format("prompt {} has {} greedy responses", p, greedy.size()), {},
                          "1");
      }
      compared_with = mean_reward(batch, greedy);
    }
    if (norm == AdvantageNorm::std) {
      double squares = 0;
      for (const Index n : rows) squares += std::pow(batch.response(n).reward - mean, 2);
      factor = squares > 0 ? factor / (std::sqrt(squares / (k - 1)) + 1e-4) : 0;
    }
    for (const Index n : rows) {
      result[static_cast<std::size_t>(n)] = factor * (batch.response(n).reward - compared_with);
    }
  }
  return result;
}

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

  /// \throws Error if `logp` is not (N, R), for what `advantages` refuses, for a sigma that is not above 0 or
  ///         a threshold that is not a number, and if `totals` count none of what the value is divided by.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("EsoLoss", logp, batch);
    check_options();
    const std::vector<double> advantage = advantages(batch, baseline, advantage_norm);
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Index> samples = batch.rows_of(p, Kind::sample);
      if (samples.empty()) continue;
      double scale = prompt_weight(mean_reward(batch, samples) > min_mean_reward, totals) / sigma;
      if (sample_reduce == SampleReduce::mean) scale /= static_cast<double>(samples.size());
      for (const Index n : samples) {
        const Index length = counted_tokens(batch.response(n));
        double weight = -scale * advantage[static_cast<std::size_t>(n)];  // d value / d LP
        if (weight == 0 || length == 0) continue;
        if (token_reduce == TokenReduce::mean_seq) weight /= static_cast<double>(length);
        if (token_reduce == TokenReduce::mean_batch) weight /= mean_length(totals);
        result.value += weight * logp.row(n).head(length).sum();
        result.d_logp.row(n).head(length) = weight;
      }
    }
    result.parts.emplace_back(fmt::format("loss/{}", name), result.value);
    return result;
  }

  /// Adds the prompts of `batch` above `min_mean_reward` to `totals.kept_prompts`; see `totals_of`.
  void count(const Batch& batch, Totals& totals) const {
    check_options();
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Index> samples = batch.rows_of(p, Kind::sample);
      if (!samples.empty() && mean_reward(batch, samples) > min_mean_reward) ++totals.kept_prompts;
    }
  }

 private:
  void check_options() const {
    if (!(std::isfinite(sigma) && sigma > 0)) {
      throw input_error("EsoLoss", "sigma is out of range", fmt::format("{}", sigma), "a number above 0");
    }
    require(!std::isnan(min_mean_reward), "EsoLoss", "min_mean_reward is not a number");
  }

  Index counted_tokens(const Response& response) const {
    const auto length = static_cast<Index>(response.tokens.size());
    return !include_eos && response.finished && length > 0 ? length - 1 : length;
  }

  /// With the ends of sequence, whether or not they are counted.
  static double mean_length(const Totals& totals) {
    require(totals.sampled >= 1 && totals.sampled_tokens >= 1, "EsoLoss", "totals count no sampled tokens");
    return static_cast<double>(totals.sampled_tokens) / static_cast<double>(totals.sampled);
  }

  double prompt_weight(bool kept, const Totals& totals) const {
    const auto share = [](Index whole, const char* what) {
      if (whole < 1) {
        throw input_error("EsoLoss", fmt::format("totals count no {}", what), fmt::format("{}", whole),
                          "totals_of(loss, batch) of the whole step");
      }
      return 1.0 / static_cast<double>(whole);
    };
    switch (batch_reduce) {
      case BatchReduce::mean:
        return share(totals.prompts, "prompts");
      case BatchReduce::sum:
        return 1;
      case BatchReduce::mean_kept:
        return kept ? share(totals.kept_prompts, "kept prompts") : 0;
      case BatchReduce::sum_if_any_above:
        if (kept) share(totals.kept_prompts, "kept prompts");
        return totals.kept_prompts > 0 ? 1 : 0;
    }
    return 0;
  }
};

}  // namespace eso
