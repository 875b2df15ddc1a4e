// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/terms.hpp"
#include "eso/loss/unlikelihood.hpp"

namespace eso {

/// Which tokens stand in an n-gram that the response had before. O(length n log length).
///
/// With `skips_last` the last n-gram is never looked at, as in the released code.
inline std::vector<bool> repeated(const Tokens& tokens, std::size_t n, bool skips_last = false) {
  std::vector<bool> mask(tokens.size(), false);
  std::set<Tokens> seen;
  for (std::size_t i = 0; i + n + (skips_last ? 1 : 0) <= tokens.size(); ++i) {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(i);
    if (seen.emplace(begin, begin + static_cast<std::ptrdiff_t>(n)).second) continue;
    for (std::size_t k = i; k < i + n; ++k) mask[k] = true;
  }
  return mask;
}

/// Unlikelihood of repetition: lower the probability of tokens within an n-gram that the sample had before.
///
///     value = 1/T sum over samples and their tokens t of m_t -log(max(1 - p(t), floor))            in nats
///     m_t   = 1 if t lies in an n-gram that stands earlier in the same sample
///     T     = all sampled tokens of the step
///
/// Source: Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training", arXiv 1908.04319,
/// equation 7, with n = 4. As in the released code the divisor counts all tokens, not those of repetitions.
/// Their code takes a greedy continuation and alternates at random with the token loss (`token_unlikelihood`)
/// instead of adding. No reward is read.
///
/// Reads responses of `Kind::sample`. Part `"loss/sequence-unlikelihood"`. Cost O(N (P + R n log R)).
struct SequenceUnlikelihoodLoss {
  static constexpr std::string_view name = "sequence-unlikelihood";

  Index n = 4;              ///< tokens of a gram, at least 1
  double floor = 1e-20;     ///< least 1 - p, in (0, 1)
  bool skips_last = false;  ///< never look at a sample's last n-gram, as the released code

  Reads reads() const { return {.samples = true}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    require(n >= 1 && floor > 0 && floor < 1, "SequenceUnlikelihoodLoss",
            "n must be at least 1 and floor in (0, 1)");
  }

  /// \throws Error if `logp` is not (N, R), an option is out of range, or `totals` count no sampled token.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("SequenceUnlikelihoodLoss", batch, logp);
    for (const Index row : rows_of(batch, Kind::sample)) {
      const double share = loss.share(totals.sampled_tokens, "sampled tokens");
      const std::vector<bool> mask =
          repeated(batch.response(row).tokens, static_cast<std::size_t>(n), skips_last);
      for (Index t = 0; t < loss.length(row); ++t) {
        if (mask[static_cast<std::size_t>(t)]) loss.add(row, t, share, unlikelihood(logp(row, t), floor));
      }
    }
    return std::move(loss).result(name);
  }
};

}  // namespace eso
