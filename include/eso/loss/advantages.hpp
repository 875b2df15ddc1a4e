// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"

namespace eso {

/// What the reward of a sample is compared with.
enum class Baseline : std::uint8_t {
  mean,           ///< the mean of all samples of the prompt, itself included: the paper
  leave_one_out,  ///< the mean of the other samples; the advantages of `mean` times k / (k - 1)
  greedy,         ///< the reward of the prompt's response of `Kind::greedy`
};

/// What the difference to the baseline is divided by.
enum class AdvantageNorm : std::uint8_t {
  none,  ///< nothing: the paper
  std,   ///< the standard deviation (n - 1) of the prompt's rewards, plus 1e-4
};

/// The reward of response n.
///
/// \throws Error naming prompt and sample if it is not finite.
inline double finite_reward(const Batch& batch, Index n) {
  const Response& response = batch.response(n);
  if (std::isfinite(response.reward)) return response.reward;
  throw input_error(
      "finite_reward",
      fmt::format("prompt {}, {} {} has no finite reward", response.prompt,
                  response.kind == Kind::greedy ? "greedy response" : "sample", response.sample),
      fmt::format("{}", response.reward), "a number");
}

/// Mean of the rewards of these responses, all equal rewards giving exactly that reward.
///
/// \throws Error naming prompt and sample if a reward is not finite.
inline double mean_reward(const Batch& batch, const std::vector<Index>& rows) {
  double origin = 0, sum = 0;  // sums of differences lose nothing when the rewards are equal
  for (const Index n : rows) {
    const double reward = finite_reward(batch, n);
    if (n == rows.front()) origin = reward;
    sum += reward - origin;
  }
  return rows.empty() ? 0 : origin + sum / static_cast<double>(rows.size());
}

/// (N): reward minus baseline for responses of `Kind::sample`, 0 for the others. Equal rewards give exactly 0
/// with the baselines of the samples; `loss` is what errors call the caller. O(P + N).
///
///     mean            A_j = R_j - u                    u = mean of the prompt's k rewards
///     leave_one_out   A_j = (R_j - u) k / (k - 1)      = R_j - mean of the others
///     greedy          A_j = R_j - R_greedy
///     std             A_j / (s + 1e-4)                 s^2 = sum of (R_j - u)^2 / (k - 1); 0 where s is 0
///
/// \throws Error if a prompt has one sample where two are needed (`leave_one_out` and `std`), if it has
///         samples but not exactly one greedy response for `Baseline::greedy`, or if a reward is not finite.
inline std::vector<double> advantages(const Batch& batch, Baseline baseline = Baseline::mean,
                                      AdvantageNorm norm = AdvantageNorm::none,
                                      std::string_view loss = "advantages") {
  std::vector<double> result(batch.responses.size(), 0.0);
  const std::size_t least = baseline == Baseline::leave_one_out || norm == AdvantageNorm::std ? 2 : 1;
  for (Index p = 0; p < batch.prompt_count(); ++p) {
    const std::vector<Index> rows = batch.rows_of(p, Kind::sample);
    if (rows.empty()) continue;
    if (rows.size() < least) {
      throw input_error(std::string(loss), fmt::format("prompt {} has {} sample", p, rows.size()), {},
                        fmt::format("at least {}", least));
    }
    const auto k = static_cast<double>(rows.size());
    const double mean = mean_reward(batch, rows);
    double compared_with = mean, factor = 1;
    if (baseline == Baseline::leave_one_out) factor = k / (k - 1);
    if (baseline == Baseline::greedy) {
      const std::vector<Index> greedy = batch.rows_of(p, Kind::greedy);
      if (greedy.size() != 1) {
        throw input_error(std::string(loss),
                          fmt::format("prompt {} has {} greedy responses", p, greedy.size()), {}, "1");
      }
      compared_with = mean_reward(batch, greedy);
    }
    if (norm == AdvantageNorm::std) {
      double squares = 0;
      for (const Index n : rows) squares += std::pow(batch.response(n).reward - mean, 2);
      factor = squares > 0 ? factor / (std::sqrt(squares / (k - 1)) + 1e-4) : 0;
    }
    for (const Index n : rows) {
      result[static_cast<std::size_t>(n)] = factor * (batch.response(n).reward - compared_with);
    }
  }
  return result;
}

}  // namespace eso
