// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/data/example.hpp"
#include "eso/error.hpp"

namespace eso {

/// Seconds that the phases of a step took.
struct StepTimes {
  double total = 0, sample = 0, reward = 0, forward = 0, backward = 0, update = 0;
};

/// What one step of a run did; what observers see.
struct Step {
  std::int64_t number = 0;                            ///< 1-based
  std::int64_t steps = 0;                             ///< of the whole run
  double epoch = 0;                                   ///< examples seen / examples
  bool active = false;                                ///< the method beside SFT was on
  double loss = 0;                                    ///< the objective on the step's batch before the update
  std::vector<std::pair<std::string, double>> parts;  ///< named parts of it, without their weights
  double gradient_norm = 0;                           ///< before clipping
  double learning_rate = 0;
  bool updated = false;     ///< false: loss or gradient was not finite, and the parameters were left alone
  std::int64_t tokens = 0;  ///< ids of prompts and responses through the model so far
  double reward =
      std::numeric_limits<double>::quiet_NaN();  ///< mean over the samples; not a number without any
  Batch batch;                                   ///< with the rewards
  std::vector<const Example*> examples;          ///< (P) what the prompts come from
  StepTimes times;
};

/// \throws Error (input) naming the example and sample of a drawn response whose reward is not finite.
inline void check_rewards(const Batch& batch, const std::vector<const Example*>& examples) {
  for (const Response& response : batch.responses) {
    if (response.kind != Kind::sample && response.kind != Kind::greedy) continue;
    if (!std::isfinite(response.reward)) {
      throw input_error("reward",
                        fmt::format("of sample {} of example {} is not finite", response.sample,
                                    examples[static_cast<std::size_t>(response.prompt)]->number),
                        fmt::format("{}", response.reward));
    }
  }
}

/// Scores the drawn responses of a batch in place.
///
/// \throws Error as `check_rewards`.
template <Reward R>
void score(Batch& batch, const std::vector<const Example*>& examples, const R& reward) {
  std::vector<Response*> drawn;
  for (Response& response : batch.responses) {
    if (response.kind == Kind::sample || response.kind == Kind::greedy) drawn.push_back(&response);
  }
  const auto example_of = [&](const Response& response) {
    return examples[static_cast<std::size_t>(response.prompt)];
  };
  if constexpr (requires(const Response& r, const Example& e) { reward(r, e); }) {
    for (Response* response : drawn) response->reward = reward(*response, *example_of(*response));
  } else {
    std::vector<const Response*> responses(drawn.begin(), drawn.end());
    std::vector<const Example*> of;
    for (const Response* response : drawn) of.push_back(example_of(*response));
    const std::vector<double> rewards = reward(responses, of);
    require(rewards.size() == drawn.size(), "reward", "needs one value for each response");
    for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i]->reward = rewards[i];
  }
  check_rewards(batch, examples);
}

}  // namespace eso
