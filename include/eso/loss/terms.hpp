// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/error.hpp"

// The vocabulary in which the losses are written.

namespace eso {

/// Collects the value of a loss and its gradient, term by term.
///
/// LP(n) is the log-probability of response n, the sum over its tokens. Each operation costs O(R).
class Terms {
 public:
  /// Starts at 0; `loss` is what errors call the loss. The batch and the log-probabilities must outlive it.
  ///
  /// \throws Error if `logp` is not (N, R).
  Terms(std::string_view loss, const Batch& batch, const LogProbs& logp)
      : loss_(loss), batch_(batch), logp_(logp) {
    check_shape(loss, logp, batch);
    result_.d_logp = LogProbs::Zero(logp.rows(), logp.cols());
  }

  /// Tokens of response n, its end of sequence included.
  Index length(Index n) const { return static_cast<Index>(batch_.response(n).tokens.size()); }

  /// LP(n), nats.
  double logp(Index n) const { return sum(logp_, n); }
  /// The sum over the tokens of response n of another array (N, R).
  double sum(const LogProbs& of, Index n) const { return of.row(n).head(length(n)).sum(); }

  /// 1 / `whole`, a count of the whole step that `what` names.
  ///
  /// \throws Error if nothing was counted.
  double share(Index whole, std::string_view what) const {
    if (whole >= 1) return 1.0 / static_cast<double>(whole);
    throw input_error(std::string(loss_), fmt::format("totals count no {}", what), fmt::format("{}", whole),
                      "totals_of(loss, batch) of the whole step");
  }

  /// value += `value`.
  void add(double value) { result_.value += value; }
  /// d value / d LP(n) += `slope`.
  void pull(Index n, double slope) { result_.d_logp.row(n).head(length(n)) += slope; }
  /// value += `weight` LP(n).
  void add(Index n, double weight) { add(n, weight, length(n)); }
  /// value += `weight` times the log-probability of the first `tokens` tokens of response n.
  void add(Index n, double weight, Index tokens) {
    result_.value += weight * logp_.row(n).head(tokens).sum();
    result_.d_logp.row(n).head(tokens) += weight;
  }
  /// value += `weight` f(logp(n, t)), with f and its derivative at that place.
  void add(Index n, Index t, double weight, const std::pair<double, double>& value_and_slope) {
    result_.value += weight * value_and_slope.first;
    result_.d_logp(n, t) += weight * value_and_slope.second;
  }

  /// Logs a quantity that adds up over micro-batches, beside the value.
  void log(std::string name, double value) { result_.parts.emplace_back(std::move(name), value); }

  /// The loss, with its value as the first part, `"loss/NAME"`.
  LossResult result(std::string_view name) && {
    result_.parts.emplace(result_.parts.begin(), fmt::format("loss/{}", name), result_.value);
    return std::move(result_);
  }

 private:
  std::string_view loss_;
  const Batch& batch_;
  const LogProbs& logp_;
  LossResult result_;
};

/// The rows of all responses of this kind, ascending.
inline std::vector<Index> rows_of(const Batch& batch, Kind kind) {
  std::vector<Index> rows;
  for (Index n = 0; n < batch.response_count(); ++n) {
    if (batch.response(n).kind == kind) rows.push_back(n);
  }
  return rows;
}

/// (P): the rows of the responses of this kind to each prompt, ascending. O(P + N).
inline std::vector<std::vector<Index>> rows_by_prompt(const Batch& batch, Kind kind) {
  std::vector<std::vector<Index>> rows(batch.prompts.size());
  for (const Index n : rows_of(batch, kind))
    rows[static_cast<std::size_t>(batch.response(n).prompt)].push_back(n);
  return rows;
}

/// The rows of a preference pair.
struct Pair {
  Index chosen = 0, rejected = 0;
};

/// The pair of each prompt that has both sides, in the order of the prompts.
///
/// \throws Error naming `loss` and the prompt if that has several chosen or rejected responses.
inline std::vector<Pair> pairs_of(const Batch& batch, std::string_view loss) {
  const auto chosen = rows_by_prompt(batch, Kind::chosen), rejected = rows_by_prompt(batch, Kind::rejected);
  std::vector<Pair> pairs;
  for (std::size_t p = 0; p < chosen.size(); ++p) {
    if (chosen[p].empty() || rejected[p].empty()) continue;
    if (chosen[p].size() > 1 || rejected[p].size() > 1)
      throw input_error(std::string(loss), fmt::format("prompt {} has more than one pair", p));
    pairs.push_back({chosen[p].front(), rejected[p].front()});
  }
  return pairs;
}

}  // namespace eso
