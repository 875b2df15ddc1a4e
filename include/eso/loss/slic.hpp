// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

namespace eso {

/// Sequence likelihood calibration: keep the chosen response of a pair a margin more probable than the
/// rejected one, and both near the supervised model by the cross-entropy of the chosen one.
///
///     value = 1/pairs sum of  max(0, margin - LP(w) + LP(l)) - weight LP(w)                        in nats
///     w chosen, l rejected, LP summed over the response's tokens
///
/// Source: Zhao et al. 2023, "SLiC-HF: Sequence Likelihood Calibration with Human Feedback", arXiv
/// 2305.10425, section 2. The regulariser there takes the target of the supervised data; a pair's chosen
/// response stands for it here. Where the margin is kept exactly the gradient of the first term is 0.
///
/// Reads, of each prompt that has both, the response of `Kind::chosen` and that of `Kind::rejected`. Other
/// prompts add nothing. Part `"loss/slic"`. Cost O(N (P + R)).
struct SlicLoss {
  static constexpr std::string_view name = "slic";

  double margin = 1;    ///< nats, at least 0
  double weight = 0.5;  ///< of the regulariser, at least 0

  /// \throws Error if `logp` is not (N, R), a prompt has several chosen or rejected responses, an option is
  ///         out of range, or `totals` count no pair.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("SlicLoss", logp, batch);
    require(std::isfinite(margin) && margin >= 0, "SlicLoss", "margin must be finite and at least 0");
    require(std::isfinite(weight) && weight >= 0, "SlicLoss", "weight must be finite and at least 0");
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Index> chosen = batch.rows_of(p, Kind::chosen),
                               rejected = batch.rows_of(p, Kind::rejected);
      if (chosen.empty() || rejected.empty()) continue;
      if (chosen.size() > 1 || rejected.size() > 1)
        throw input_error("SlicLoss", fmt::format("prompt {} has more than one pair", p));
      require(totals.pairs >= 1, "SlicLoss", "totals count no pairs");
      const double share = 1.0 / static_cast<double>(totals.pairs);
      const auto tokens = [&](Index n) { return static_cast<Index>(batch.response(n).tokens.size()); };
      const Index w = chosen.front(), l = rejected.front();
      const double better = logp.row(w).head(tokens(w)).sum(), worse = logp.row(l).head(tokens(l)).sum();
      const bool near = margin - better + worse > 0;
      result.value += share * ((near ? margin - better + worse : 0) - weight * better);
      result.d_logp.row(w).head(tokens(w)) = -share * ((near ? 1 : 0) + weight);
      if (near) result.d_logp.row(l).head(tokens(l)) = share;
    }
    result.parts.emplace_back(fmt::format("loss/{}", name), result.value);
    return result;
  }
};

}  // namespace eso
