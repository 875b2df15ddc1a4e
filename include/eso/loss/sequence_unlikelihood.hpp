// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <set>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/unlike.hpp"

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

  /// \throws Error if `logp` is not (N, R), an option is out of range, or `totals` count no sampled token.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("SequenceUnlikelihoodLoss", logp, batch);
    require(n >= 1 && floor > 0 && floor < 1, "SequenceUnlikelihoodLoss",
            "n must be at least 1 and floor in (0, 1)");
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    for (Index row = 0; row < batch.response_count(); ++row) {
      const Response& response = batch.response(row);
      if (response.kind != Kind::sample || response.tokens.empty()) continue;
      require(totals.sampled_tokens >= 1, "SequenceUnlikelihoodLoss", "totals count no sampled tokens");
      const double share = 1.0 / static_cast<double>(totals.sampled_tokens);
      const std::vector<bool> mask = repeated(response.tokens, static_cast<std::size_t>(n), skips_last);
      for (std::size_t t = 0; t < mask.size(); ++t) {
        if (!mask[t]) continue;
        const auto [value, slope] = unlikelihood(logp(row, static_cast<Index>(t)), floor);
        result.value += share * value;
        result.d_logp(row, static_cast<Index>(t)) = share * slope;
      }
    }
    result.parts.emplace_back(fmt::format("loss/{}", name), result.value);
    return result;
  }
};

}  // namespace eso
