// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/eval/statistics.hpp"
#include "eso/loss/eso.hpp"
#include "eso/train/step.hpp"

namespace eso {

/// What the samples of a step look like together: responses of `Kind::sample` alone.
struct SampleStatistics {
  double reward = 0, reward_std = 0;          ///< over all samples; std with n - 1
  double entropy = 0;                         ///< mean over response tokens at temperature 1, nats
  double mean_length = 0, clipped_ratio = 0;  ///< tokens; share of samples without an end of sequence
  Index min_length = 0, max_length = 0;
  double frac_reward_zero_std = 0;  ///< share of prompts whose samples have equal rewards
};

/// Statistics of the samples of a scored batch; nothing if it has none. O(N P).
inline std::optional<SampleStatistics> sample_statistics(const Batch& batch) {
  SampleStatistics s;
  std::vector<double> rewards;
  double tokens = 0;
  for (const Response& response : batch.responses) {
    if (response.kind != Kind::sample) continue;
    const auto length = static_cast<Index>(response.tokens.size());
    s.min_length = rewards.empty() ? length : std::min(s.min_length, length);
    s.max_length = std::max(s.max_length, length);
    s.entropy += response.entropy;
    s.clipped_ratio += response.finished ? 0 : 1;
    tokens += static_cast<double>(length);
    rewards.push_back(response.reward);
  }
  if (rewards.empty()) return std::nullopt;
  const auto count = static_cast<double>(rewards.size());
  const MeanStd of_rewards = mean_std(rewards);
  s.reward = of_rewards.mean;
  s.reward_std = of_rewards.std.value_or(0);
  s.entropy /= tokens;
  s.clipped_ratio /= count;
  s.mean_length = tokens / count;
  Index sampled_prompts = 0, flat = 0;
  for (Index p = 0; p < batch.prompt_count(); ++p) {
    const std::vector<Index> rows = batch.rows_of(p, Kind::sample);
    if (rows.empty()) continue;
    ++sampled_prompts;
    const double first = batch.response(rows.front()).reward;
    flat += std::all_of(rows.begin(), rows.end(), [&](Index n) { return batch.response(n).reward == first; });
  }
  s.frac_reward_zero_std = static_cast<double>(flat) / static_cast<double>(sampled_prompts);
  return s;
}

/// What differs from method to method in the records of its steps.
struct RecordStyle {
  bool over_greedy = false;  ///< one sample a prompt, compared with its greedy response: DRL
  std::optional<double> reference_reward = {};  ///< the target is a candidate with this reward: RRHF
};

/// A step as an object of `metrics.jsonl`, under the names that TRL uses where it has them. Numbers that are
/// not finite become null.
template <class Json = nlohmann::ordered_json>
Json metrics_record(const Step& step, const RecordStyle& style = {}) {
  Json record{{"step", step.number}, {"epoch", step.epoch}, {"loss", step.loss}};
  for (const auto& [name, value] : step.parts) record[name] = value;
  record["grad_norm"] = step.gradient_norm;
  record["learning_rate"] = step.learning_rate;
  record["num_tokens"] = step.tokens;
  record["step_time"] = step.times.total;
  record["active"] = step.active;
  if (!step.updated) record["updated"] = false;
  const std::optional<SampleStatistics> samples = sample_statistics(step.batch);
  if (!samples) return record;
  record["reward"] = samples->reward;
  record["reward_std"] = samples->reward_std;
  record["entropy"] = samples->entropy;
  record["completions/mean_length"] = samples->mean_length;
  record["completions/min_length"] = samples->min_length;
  record["completions/max_length"] = samples->max_length;
  record["completions/clipped_ratio"] = samples->clipped_ratio;
  if (!style.over_greedy) record["frac_reward_zero_std"] = samples->frac_reward_zero_std;
  record["time/sample"] = step.times.sample;
  record["time/reward"] = step.times.reward;
  record["time/forward"] = step.times.forward;
  record["time/backward"] = step.times.backward;
  record["time/update"] = step.times.update;
  return record;
}

/// A candidate of a step as an object of `completions.jsonl`; `compared_with` is what its advantage is over,
/// nothing for a response that has none.
template <Tokenizer T>
nlohmann::ordered_json completion_record(const Step& step, const Example& example, const Response& response,
                                         std::optional<double> compared_with, const T& tokenizer) {
  const bool given = response.kind == Kind::target;
  nlohmann::ordered_json record{{"step", step.number},
                                {"example", example.number},
                                {"sample", response.sample},
                                {"kind", given                           ? "reference"
                                         : response.kind == Kind::greedy ? "greedy"
                                                                         : "sample"},
                                {"temperature", response.temperature},
                                {"prompt", example.prompt_text},
                                {"prompt_ids", example.prompt},
                                {"response", tokenizer.decode(response.tokens, true)},
                                {"response_ids", response.tokens},
                                {"logp", response.logp},
                                {"reward", response.reward},
                                {"advantage", nullptr},
                                {"finish", response.finished ? "eos" : "length"},
                                {"reference", example.reference}};
  if (given) record["finish"] = nullptr;
  if (compared_with) record["advantage"] = response.reward - *compared_with;
  return record;
}

/// The candidates of a step as objects of `completions.jsonl`: as the examples stand in the batch, then by
/// kind and sample. `advantage` is the reward minus the mean of the prompt's samples, or minus that of its
/// greedy response, null for greedy responses and references. A reference has the number after the samples'.
template <Tokenizer T>
std::vector<nlohmann::ordered_json> completion_records(const Step& step, const T& tokenizer,
                                                       const RecordStyle& style = {}) {
  std::vector<nlohmann::ordered_json> records;
  for (Index p = 0; p < step.batch.prompt_count(); ++p) {
    const Example& example = *step.examples[static_cast<std::size_t>(p)];
    const std::vector<Index> samples = step.batch.rows_of(p, Kind::sample),
                             greedy = step.batch.rows_of(p, Kind::greedy);
    const double baseline = mean_reward(step.batch, style.over_greedy ? greedy : samples);
    const auto add = [&](const Response& response, std::optional<double> compared_with) {
      records.push_back(completion_record(step, example, response, compared_with, tokenizer));
    };
    for (const Index n : samples) add(step.batch.response(n), baseline);
    for (const Index n : greedy) add(step.batch.response(n), std::nullopt);
    if (!style.reference_reward || samples.empty()) continue;
    for (const Index n : step.batch.rows_of(p, Kind::target)) {
      Response reference = step.batch.response(n);
      reference.sample = static_cast<Index>(samples.size());
      reference.reward = *style.reference_reward;
      add(reference, std::nullopt);
    }
  }
  return records;
}

}  // namespace eso
