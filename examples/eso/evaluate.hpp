// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend.hpp"
#include "eso/data/example.hpp"
#include "eso/reward/rouge.hpp"
#include "eso/text/byte_level_bpe.hpp"

namespace eso_program {

/// One response of an evaluation.
struct EvaluatedResponse {
  eso::Index example = 0;  ///< its number in the data
  std::string text;        ///< decoded without special tokens
  eso::Tokens tokens;
  std::vector<double> logp;  ///< nats, at temperature 1
  bool finished = false;
  double entropy = 0;  ///< sum over its tokens, nats: of what was drawn from, of temperature 1 for greedy
  eso::RougeScores scores;  ///< against the reference, with stemmer
};

/// The responses of all examples with one seed.
struct EvaluatedSeed {
  std::uint64_t seed = 0;
  std::vector<EvaluatedResponse> responses;

  /// Mean over the examples of something of a response.
  double mean(const std::function<double(const EvaluatedResponse&)>& of) const;
  /// ROUGE-L F1 of each example.
  std::vector<double> rouge_l() const;
  /// Mean entropy a response token, nats.
  double entropy() const;
};

/// What a model does at one temperature.
struct EvaluatedTemperature {
  double temperature = 1;
  std::vector<std::uint64_t> seeds;  ///< asked for; a greedy pass is made once for all
  std::vector<EvaluatedSeed> passes;

  /// `{"temperature", "seeds", "rouge1": {"mean", "std"}, ...}` as `eso eval` writes it.
  nlohmann::ordered_json json() const;
};

/// How responses are drawn, and how much at once.
struct EvaluationSettings {
  std::vector<double> temperatures = {1, 0};
  std::vector<std::uint64_t> seeds = {10, 20, 30, 40, 50};
  std::vector<double> curve = {};  ///< further temperatures, with the first seed alone
  eso::Index max_response_tokens = 128, batch_size = 64, top_k = 0;
  double top_p = 1;
  std::string title = {};  ///< before each line of progress
};

/// Draws and scores responses to all examples at each temperature with each seed; those of the curve come
/// last. Response streams are named by (seed, step 0, the example's number, sample 0). A prompt is computed
/// once for all of its responses.
std::vector<EvaluatedTemperature> evaluate(const AnyModel& model, const eso::ByteLevelBpe& tokenizer,
                                           std::span<const eso::Example> examples,
                                           const EvaluationSettings& settings);

/// Mean negative log-probability of the reference tokens, end of sequence included: nats a token.
double reference_nll(AnyModel& model, std::span<const eso::Example> examples, eso::Index batch_size);

}  // namespace eso_program
