// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/eso.hpp"

namespace eso {

/// What length a candidate's log-probability is divided by.
enum class RrhfLengthMode : std::uint8_t {
  response,    ///< its own tokens: the paper
  padded_row,  ///< prompt and longest candidate: the released code, whose mask is all ones
};

/// Ranking of candidates: wherever a better one is less probable than a worse one, draw them together.
///
///     value = 1/P sum over prompts of [ sum over pairs with r_i < r_j of max(0, p_i - p_j) + b L_best ]
///     p_i   = sum over t of logp(i, t) / length_i ^ length_exponent                              in nats
///     L_best = - sum over t of logp(best, t) / length_best,   best: the first of the largest reward
///
/// Source: Yuan et al. 2023, "RRHF", arXiv 2304.05302, equations 2 to 4; the sum goes over all pairs, there
/// is no margin, equal rewards give no pair, and where p_i = p_j the gradient is 0. The authors add the
/// cross-entropy of the best candidate with weight 1. Here `Combined{SftLoss{}, 1, RrhfLoss{}}` has it,
/// because the reference is the best candidate under a reward that compares with it; `best_weight` b brings
/// it back for other rewards. Their code divides by the length of the padded row by mistake, prompt
/// included, and takes the mean of L_best over it too: `padded_row`.
///
/// Candidates are the responses of `Kind::sample` with their rewards and, with `include_reference`, the
/// prompt's `Kind::target` with `reference_reward`. A prompt without samples adds nothing. Part
/// `"loss/rrhf"`. Cost O(N (P + R + k)) for k candidates a prompt.
struct RrhfLoss {
  static constexpr std::string_view name = "rrhf";

  RrhfLengthMode length_mode = RrhfLengthMode::response;
  double length_exponent = 1;
  bool include_reference = true;
  double reference_reward = 1;  ///< in units of the reward
  double best_weight = 0;       ///< b, at least 0

  /// \throws Error if `logp` is not (N, R), a sample has no finite reward, an option is out of range, or
  ///         `totals` count no prompt.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("RrhfLoss", logp, batch);
    require(std::isfinite(length_exponent) && std::isfinite(reference_reward), "RrhfLoss",
            "length_exponent and reference_reward must be finite");
    require(std::isfinite(best_weight) && best_weight >= 0, "RrhfLoss",
            "best_weight must be finite and at least 0");
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Candidate> all = candidates(batch, logp, p);
      if (all.empty()) continue;
      require(totals.prompts >= 1, "RrhfLoss", "totals count no prompts");
      const double share = 1.0 / static_cast<double>(totals.prompts);
      for (const Candidate& worse : all) {
        for (const Candidate& better : all) {
          if (!(worse.reward < better.reward) || !(worse.score > better.score)) continue;
          result.value += share * (worse.score - better.score);
          result.d_logp.row(worse.row).head(worse.length) += share / worse.divisor;
          result.d_logp.row(better.row).head(better.length) -= share / better.divisor;
        }
      }
      if (best_weight > 0) add_best(logp, all, share * best_weight, result);
    }
    result.parts.emplace_back(fmt::format("loss/{}", name), result.value);
    return result;
  }

 private:
  struct Candidate {
    Index row, length, divided_by;
    double reward, divisor, score;
  };

  /// Those of a prompt that have a token; none if it has no samples.
  std::vector<Candidate> candidates(const Batch& batch, const LogProbs& logp, Index p) const {
    std::vector<Index> rows = batch.rows_of(p, Kind::sample);
    if (rows.empty()) return {};
    const std::size_t samples = rows.size();
    if (include_reference) {
      for (const Index n : batch.rows_of(p, Kind::target)) rows.push_back(n);
    }
    Index longest = 0;
    for (const Index n : rows)
      longest = std::max(longest, static_cast<Index>(batch.response(n).tokens.size()));
    const auto prompt = static_cast<Index>(batch.prompts[static_cast<std::size_t>(p)].tokens.size());
    std::vector<Candidate> all;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Index n = rows[i], length = static_cast<Index>(batch.response(n).tokens.size());
      if (length == 0) continue;
      const Index divided_by = length_mode == RrhfLengthMode::response ? length : prompt + longest;
      const double divisor = std::pow(static_cast<double>(divided_by), length_exponent);
      all.push_back({.row = n,
                     .length = length,
                     .divided_by = divided_by,
                     .reward = i < samples ? mean_reward(batch, {n}) : reference_reward,
                     .divisor = divisor,
                     .score = logp.row(n).head(length).sum() / divisor});
    }
    return all;
  }

  static void add_best(const LogProbs& logp, const std::vector<Candidate>& all, double weight,
                       LossResult& result) {
    const Candidate* best = &all.front();
    for (const Candidate& candidate : all) {
      if (candidate.reward > best->reward) best = &candidate;
    }
    const double each = -weight / static_cast<double>(best->divided_by);
    result.value += each * logp.row(best->row).head(best->length).sum();
    result.d_logp.row(best->row).head(best->length) += each;
  }
};

}  // namespace eso
