// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <set>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/loss/unlikelihood.hpp"

namespace eso {

/// Value and gradient of a loss on logits.
struct LogitsLoss {
  double value = 0;          ///< nats
  Eigen::ArrayXXd d_logits;  ///< (T, V) d value / d logits
};

/// The cross-entropy of the targets and the unlikelihood, at each position, of the targets before it.
///
///     value = 1/T sum over t of [ -log p_t(y_t) + alpha sum over c in C_t of -log(max(1 - p_t(c), floor)) ]
///     C_t   = {y_1 ... y_(t-1)} without y_t, each id once;  p_t = softmax of row t of `logits` (T, V)
///
/// Source: Welleck et al. 2020, arXiv 1908.04319, equations 4 and 5; alpha 1 and floor 1e-5 as in the
/// released code. It needs the probabilities of tokens other than the targets, which a `Loss` does not see: a
/// backend that trains with it calls this on the logits of each text and pulls `d_logits` back itself.
///
/// \throws Error if there is not a target for each row, a target is outside the vocabulary, or an option is
///         out of range. Cost O(T (V + T)).
inline LogitsLoss token_unlikelihood(const Eigen::ArrayXXd& logits, const Tokens& targets, double alpha = 1,
                                     double floor = 1e-5) {
  require(logits.rows() == static_cast<Index>(targets.size()), "token_unlikelihood",
          "needs a target for each row of logits");
  require(std::isfinite(alpha) && alpha >= 0 && floor > 0 && floor < 1, "token_unlikelihood",
          "alpha must be finite and at least 0, floor in (0, 1)");
  LogitsLoss loss{.value = 0, .d_logits = Eigen::ArrayXXd::Zero(logits.rows(), logits.cols())};
  const double share = logits.rows() > 0 ? 1.0 / static_cast<double>(logits.rows()) : 0;
  std::set<TokenId> before;
  for (Index t = 0; t < logits.rows(); ++t) {
    const TokenId target = targets[static_cast<std::size_t>(t)];
    require(target >= 0 && target < logits.cols(), "token_unlikelihood",
            "a target is outside the vocabulary");
    const double largest = logits.row(t).maxCoeff();
    const Eigen::ArrayXXd logp = logits.row(t) - (largest + std::log((logits.row(t) - largest).exp().sum()));
    double pulled = 1;  // minus what the softmax's own part adds to every logit
    loss.value -= share * logp(0, target);
    loss.d_logits(t, target) -= share;
    for (const TokenId c : before) {
      if (c == target) continue;
      const auto [value, slope] = unlikelihood(logp(0, c), floor);
      loss.value += share * alpha * value;
      loss.d_logits(t, c) += share * alpha * slope;
      pulled -= alpha * slope;
    }
    loss.d_logits.row(t) += share * pulled * logp.exp();
    before.insert(target);
  }
  return loss;
}

}  // namespace eso
