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
#include "eso/loss/advantages.hpp"
#include "eso/loss/terms.hpp"

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

  Reads reads() const { return {.targets = include_reference, .samples = true}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    require(std::isfinite(length_exponent) && std::isfinite(reference_reward), "RrhfLoss",
            "length_exponent and reference_reward must be finite");
    require(std::isfinite(best_weight) && best_weight >= 0, "RrhfLoss",
            "best_weight must be finite and at least 0");
  }

  /// \throws Error if `logp` is not (N, R), a sample has no finite reward, an option is out of range, or
  ///         `totals` count no prompt.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("RrhfLoss", batch, logp);
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Candidate> all = candidates(loss, batch, p);
      if (all.empty()) continue;
      const double share = loss.share(totals.prompts, "prompts");
      for (const Candidate& worse : all) {
        for (const Candidate& better : all) {
          if (!(worse.reward < better.reward) || !(worse.score > better.score)) continue;
          loss.add(share * (worse.score - better.score));
          loss.pull(worse.row, share / worse.divisor), loss.pull(better.row, -share / better.divisor);
        }
      }
      if (best_weight > 0) add_best(loss, all, share * best_weight);
    }
    return std::move(loss).result(name);
  }

 private:
  struct Candidate {
    Index row, divided_by;
    double reward, divisor, score;
  };

  /// Those of a prompt that have a token; none if it has no samples.
  std::vector<Candidate> candidates(const Terms& loss, const Batch& batch, Index p) const {
    std::vector<Index> rows = batch.rows_of(p, Kind::sample);
    if (rows.empty()) return {};
    if (include_reference) {
      for (const Index n : batch.rows_of(p, Kind::target)) rows.push_back(n);
    }
    Index longest = 0;
    for (const Index n : rows) longest = std::max(longest, loss.length(n));
    const auto prompt = static_cast<Index>(batch.prompts[static_cast<std::size_t>(p)].tokens.size());
    std::vector<Candidate> all;
    for (const Index n : rows) {
      if (loss.length(n) == 0) continue;
      const bool given = batch.response(n).kind == Kind::target;
      const Index divided_by = length_mode == RrhfLengthMode::response ? loss.length(n) : prompt + longest;
      const double divisor = std::pow(static_cast<double>(divided_by), length_exponent);
      all.push_back({.row = n,
                     .divided_by = divided_by,
                     .reward = given ? reference_reward : finite_reward(batch, n),
                     .divisor = divisor,
                     .score = loss.logp(n) / divisor});
    }
    return all;
  }

  static void add_best(Terms& loss, const std::vector<Candidate>& all, double weight) {
    const Candidate* best = &all.front();
    for (const Candidate& candidate : all) {
      if (candidate.reward > best->reward) best = &candidate;
    }
    loss.add(best->row, -weight / static_cast<double>(best->divided_by));
  }
};

}  // namespace eso
