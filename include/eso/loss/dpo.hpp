// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

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

  /// \throws Error if `logp`, or `reference_logp` where it is read, is not (N, R), a prompt has several
  ///         chosen or rejected responses, an option is out of range, or `totals` count no pair.
  LossResult operator()(const Batch& batch, const LogProbs& logp, const Totals& totals) const {
    check_shape("DpoLoss", logp, batch);
    check_options();
    LossResult result{.value = 0, .d_logp = LogProbs::Zero(logp.rows(), logp.cols()), .parts = {}};
    double rewards[2] = {0, 0}, sums[2] = {0, 0}, accuracy = 0;
    for (Index p = 0; p < batch.prompt_count(); ++p) {
      const std::vector<Index> sides[2] = {batch.rows_of(p, Kind::chosen), batch.rows_of(p, Kind::rejected)};
      if (sides[0].empty() || sides[1].empty()) continue;
      if (sides[0].size() > 1 || sides[1].size() > 1)
        throw input_error("DpoLoss", fmt::format("prompt {} has more than one pair", p));
      require(totals.pairs >= 1, "DpoLoss", "totals count no pairs");
      if (!reference_free) check_shape("DpoLoss, reference_logp", batch.reference_logp, batch);
      const double share = 1.0 / static_cast<double>(totals.pairs);
      double ratio[2];
      for (int side = 0; side < 2; ++side) {
        const Index n = sides[side].front();
        const double sum = summed(batch, logp, n);
        ratio[side] = reference_free ? sum : sum - summed(batch, batch.reference_logp, n);
        sums[side] += share * sum;
        rewards[side] += share * scaled(ratio[side]);
      }
      accuracy += ratio[0] > ratio[1] ? share : 0;
      const auto [value, slope] = of_difference(ratio[0] - ratio[1]);
      result.value += share * value;
      const auto set = [&](Index n, double d) {
        result.d_logp.row(n).head(static_cast<Index>(batch.response(n).tokens.size())) = d;
      };
      set(sides[0].front(), share * slope);
      set(sides[1].front(), -share * slope);
    }
    result.parts = {{fmt::format("loss/{}", name), result.value},
                    {"rewards/chosen", rewards[0]},
                    {"rewards/rejected", rewards[1]},
                    {"rewards/accuracies", accuracy},
                    {"rewards/margins", rewards[0] - rewards[1]},
                    {"logps/chosen", sums[0]},
                    {"logps/rejected", sums[1]}};
    return result;
  }

 private:
  void check_options() const {
    if (!(std::isfinite(beta) && beta > 0))
      throw input_error("DpoLoss", "beta is out of range", fmt::format("{}", beta), "a number above 0");
    if (!(label_smoothing >= 0 && label_smoothing < 0.5)) {
      throw input_error("DpoLoss", "label_smoothing is out of range", fmt::format("{}", label_smoothing),
                        "at least 0, below 0.5");
    }
  }

  static double summed(const Batch& batch, const LogProbs& logp, Index n) {
    return logp.row(n).head(static_cast<Index>(batch.response(n).tokens.size())).sum();
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
