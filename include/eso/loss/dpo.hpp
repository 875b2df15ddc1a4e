// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"
#include "eso/loss/terms.hpp"

namespace eso {

/// The function of the difference of the two responses that DPO makes small.
enum class DpoObjective : std::uint8_t {
  sigmoid,  ///< -log sigmoid(beta h): Rafailov et al. 2023
  ipo,      ///< (h - 1 / (2 beta))^2: Azar et al. 2023, arXiv 2310.12036
};

/// log(1 + exp(x)) without overflow.
inline double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

/// Direct preference optimisation: make the chosen response of a pair more probable than the rejected one,
/// relative to a frozen reference model.
///
///     h     = (LP(w) - LP(l)) - (LP_ref(w) - LP_ref(l))                      w chosen, l rejected
///     value = 1/pairs sum of -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)    sigmoid, in nats
///           = 1/pairs sum of (h - 1 / (2 beta))^2                                     ipo
///
/// with LP summed over the tokens of the response and e the `label_smoothing`. Source: Rafailov et al. 2023,
/// arXiv 2305.18290, equation 7; label smoothing as in the authors' code (conservative DPO). IPO here takes
/// sums as that code does, where others take means over tokens.
///
/// Reads, of each prompt that has both, the response of `Kind::chosen` and that of `Kind::rejected`, and
/// `Batch::reference_logp`. Other prompts add nothing. Parts, each a mean over the step's pairs:
/// `"loss/dpo"`, `"rewards/chosen"` and `"rewards/rejected"` (beta (LP - LP_ref)), `"rewards/accuracies"`,
/// `"rewards/margins"`, `"logps/chosen"`, `"logps/rejected"`. Cost O(N (P + R)).
struct DpoLoss {
  static constexpr std::string_view name = "dpo";

  DpoObjective objective = DpoObjective::sigmoid;
  double beta = 0.1;            ///< above 0
  double label_smoothing = 0;   ///< in [0, 0.5); read by `sigmoid` alone
  bool reference_free = false;  ///< LP_ref is taken as 0, and no reference is read

  Reads reads() const { return {.pairs = true, .reference = !reference_free}; }

  /// \throws Error for an option that is out of range.
  void check() const {
    if (!(std::isfinite(beta) && beta > 0))
      throw input_error("DpoLoss", "beta is out of range", fmt::format("{}", beta), "a number above 0");
    if (!(label_smoothing >= 0 && label_smoothing < 0.5)) {
      throw input_error("DpoLoss", "label_smoothing is out of range", fmt::format("{}", label_smoothing),
                        "at least 0, below 0.5");
    }
  }

  /// \throws Error if `logp`, or `reference_logp` where it is read, is not (N, R), a prompt has several
  ///         chosen or rejected responses, an option is out of range, or `totals` count no pair.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check();
    Terms loss("DpoLoss", batch, logp);
    Logged logged;
    for (const auto& [w, l] : pairs_of(batch, "DpoLoss")) {
      const double share = loss.share(totals.pairs, "pairs");
      const double better = log_ratio(loss, batch, w), worse = log_ratio(loss, batch, l);
      const auto [value, slope] = of_difference(better - worse);
      loss.add(share * value);
      loss.pull(w, share * slope), loss.pull(l, -share * slope);
      logged.add(share, {loss.logp(w), loss.logp(l)}, {scaled(better), scaled(worse)}, better > worse);
    }
    logged.write(loss);
    return std::move(loss).result(name);
  }

 private:
  /// What logs show of the pairs, each a mean over those of the step.
  struct Logged {
    std::array<double, 2> logp{}, reward{};
    double accuracy = 0;

    void add(double share, const std::array<double, 2>& sums, const std::array<double, 2>& rewards,
             bool right) {
      for (std::size_t side = 0; side < 2; ++side)
        logp[side] += share * sums[side], reward[side] += share * rewards[side];
      accuracy += right ? share : 0;
    }
    void write(Terms& loss) const {
      loss.log("rewards/chosen", reward[0]);
      loss.log("rewards/rejected", reward[1]);
      loss.log("rewards/accuracies", accuracy);
      loss.log("rewards/margins", reward[0] - reward[1]);
      loss.log("logps/chosen", logp[0]);
      loss.log("logps/rejected", logp[1]);
    }
  };

  /// LP(n) - LP_ref(n).
  double log_ratio(const Terms& loss, const Batch& batch, Index n) const {
    if (reference_free) return loss.logp(n);
    check_shape("DpoLoss, reference_logp", batch.reference_logp, batch);
    return loss.logp(n) - loss.sum(batch.reference_logp, n);
  }

  /// beta x; the largest number of its sign where it overflows: infinity times a smoothing of 0 is none.
  double scaled(double x) const {
    constexpr double most = std::numeric_limits<double>::max();
    return std::clamp(beta * x, -most, most);
  }

  /// The objective of h and its derivative.
  std::pair<double, double> of_difference(double h) const {
    if (objective == DpoObjective::ipo) {
      const double distance = h - 1 / (2 * beta);
      return {distance * distance, 2 * distance};
    }
    const double x = scaled(h), e = label_smoothing;
    const double wrong = std::exp(-softplus(x));  // sigmoid(-x)
    return {(1 - e) * softplus(-x) + e * softplus(x), beta * (e - wrong)};
  }
};

}  // namespace eso
