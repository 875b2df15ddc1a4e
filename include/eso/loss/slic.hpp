// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/terms.hpp"

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

  Reads reads() const { return {.pairs = true}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    require(std::isfinite(margin) && margin >= 0, "SlicLoss", "margin must be finite and at least 0");
    require(std::isfinite(weight) && weight >= 0, "SlicLoss", "weight must be finite and at least 0");
  }

  /// \throws Error if `logp` is not (N, R), a prompt has several chosen or rejected responses, an option is
  ///         out of range, or `totals` count no pair.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("SlicLoss", batch, logp);
    for (const auto& [w, l] : pairs_of(batch, "SlicLoss")) {
      const double share = loss.share(totals.pairs, "pairs");
      const double hinge = margin - loss.logp(w) + loss.logp(l);
      if (hinge > 0) loss.add(share * hinge), loss.pull(w, -share), loss.pull(l, share);
      loss.add(w, -share * weight);
    }
    return std::move(loss).result(name);
  }
};

}  // namespace eso
