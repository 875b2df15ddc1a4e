// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/advantages.hpp"
#include "eso/loss/terms.hpp"
#include "eso/loss/unlikelihood.hpp"

namespace eso {

/// What is made small of a sample that is not wanted.
enum class UnlikeObjective : std::uint8_t {
  one_minus_p,  ///< -log(1 - p) of each token, bounded below by 0
  plain_logp,   ///< log p of the whole sample, unbounded below
};

/// Which samples are not wanted.
enum class UnlikeSelect : std::uint8_t {
  below_mean,  ///< a reward below the mean of the prompt's samples
  lowest,      ///< the lowest reward of the prompt, all of several
  all,         ///< every sample
  threshold,   ///< a reward below `UnlikeLoss::threshold`
};

/// What a sample that is not wanted counts.
enum class UnlikeWeight : std::uint8_t {
  one,
  gap,  ///< how far its reward is below the mean of the prompt's, 0 if it is not
};

/// Unlikelihood of the worse samples: lower the probability of what scores below the mean of its prompt.
///
///     value = 1/P sum over prompts of sum over chosen samples j of w_j U_j                       in nats
///     U_j   = sum over t of -log(max(1 - p(j, t), floor))     one_minus_p
///           = sum over t of log p(j, t)                       plain_logp
///     w_j   = 1   or   max(u - R_j, 0), with u the mean of the prompt's rewards
///
/// Source: the baseline "Unlike" of Huang et al. 2025, COLING 2025 (main 357), section 4.1, which says in
/// words that it decreases the log-probability of low-quality sentences and has no released code. The form
/// with 1 - p is that of Welleck et al. 2020, arXiv 1908.04319, which is bounded; `plain_logp` is the
/// sentence to the letter. `plain_logp` with `gap` is the half of `EsoLoss` that lowers samples. The
/// originals of Welleck et al. are `SequenceUnlikelihoodLoss` and `token_unlikelihood`.
///
/// Reads responses of `Kind::sample` with their rewards. A prompt without samples, or whose samples are
/// equal, adds nothing (`all` and `threshold` apart). Part `"loss/unlike"`. Cost O(N (P + R)).
struct UnlikeLoss {
  static constexpr std::string_view name = "unlike";

  UnlikeObjective objective = UnlikeObjective::one_minus_p;
  UnlikeSelect select = UnlikeSelect::below_mean;
  UnlikeWeight weight = UnlikeWeight::one;
  double threshold = 0;  ///< in units of the reward; read by `UnlikeSelect::threshold` alone
  double floor = 1e-5;   ///< least 1 - p, in (0, 1)

  Reads reads() const { return {.samples = true}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    if (!(floor > 0 && floor < 1)) {
      throw input_error("UnlikeLoss", "floor is out of range", fmt::format("{}", floor), "above 0, below 1");
    }
    require(!std::isnan(threshold), "UnlikeLoss", "threshold is not a number");
  }

  /// \throws Error if `logp` is not (N, R), a sample has no finite reward, an option is out of range, or
  ///         `totals` count no prompt.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("UnlikeLoss", batch, logp);
    for (const std::vector<Index>& samples : rows_by_prompt(batch, Kind::sample)) {
      if (samples.empty()) continue;
      const double mean = mean_reward(batch, samples), share = loss.share(totals.prompts, "prompts");
      for (const Index n : chosen(batch, samples, mean)) {
        const double gap = std::max(mean - batch.response(n).reward, 0.0);
        add(loss, logp, n, weight == UnlikeWeight::gap ? gap * share : share);
      }
    }
    return std::move(loss).result(name);
  }

 private:
  std::vector<Index> chosen(const Batch& batch, const std::vector<Index>& samples, double mean) const {
    if (select == UnlikeSelect::all) return samples;
    std::vector<Index> rows;
    for (const Index n : samples) {
      const double reward = batch.response(n).reward;
      if (select == UnlikeSelect::lowest) {
        if (!rows.empty() && reward < batch.response(rows.front()).reward) rows.clear();
        if (rows.empty() || reward == batch.response(rows.front()).reward) rows.push_back(n);
      } else if (reward < (select == UnlikeSelect::threshold ? threshold : mean)) {
        rows.push_back(n);
      }
    }
    if (select == UnlikeSelect::lowest && !(batch.response(rows.front()).reward < mean)) rows.clear();
    return rows;
  }

  void add(Terms& loss, const LogProbs& logp, Index n, double factor) const {
    if (objective == UnlikeObjective::plain_logp) return loss.add(n, factor);
    for (Index t = 0; t < loss.length(n); ++t) loss.add(n, t, factor, unlikelihood(logp(n, t), floor));
  }
};

}  // namespace eso
