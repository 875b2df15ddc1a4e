// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/random.hpp"

namespace eso::testing {

/// Random numbers one after the other, for tests.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : name_{.seed = seed, .purpose = Purpose::perturbing} {}

  /// Uniform on [low, high).
  double between(double low, double high) { return low + (high - low) * uniform01(name_, position_++); }

  /// Uniform on 0 ... count - 1.
  Index below(Index count) { return static_cast<Index>(between(0, static_cast<double>(count))); }

  Tokens tokens(Index length, Index vocabulary) {
    Tokens result;
    for (Index i = 0; i < length; ++i) result.push_back(static_cast<TokenId>(below(vocabulary)));
    return result;
  }

  /// 0 ... count - 1 in random order.
  std::vector<Index> order(Index count) {
    std::vector<Index> result(static_cast<std::size_t>(count));
    for (Index i = 0; i < count; ++i) result[static_cast<std::size_t>(i)] = i;
    for (Index i = count; i > 1; --i) {
      std::swap(result[static_cast<std::size_t>(i - 1)], result[static_cast<std::size_t>(below(i))]);
    }
    return result;
  }

 private:
  StreamName name_;
  std::uint64_t position_ = 0;
};

/// What a law suite for models may assume and how closely it looks.
///
/// The defaults suit a model that computes in double. One that computes in float wants about
/// `tolerance = 1e-4`, `gradient_tolerance = 2e-2`, `step = 1e-2`. The parameters should be random and large
/// enough that tokens differ by much more than `tolerance`.
struct ModelLaws {
  Index vocabulary = 0;              ///< V; a batch of V short responses must be affordable
  Index context = 0;                 ///< at least `longest_prompt + longest_response`
  Index longest_prompt = 6;          ///< of the random texts, at least 2
  Index longest_response = 7;        ///< at least 3
  double tolerance = 1e-9;           ///< what rounding may change in a log-probability, nats
  double gradient_tolerance = 1e-6;  ///< relative error of central differences
  double step = 1e-4;                ///< of central differences
  int probes = 3;                    ///< directions, and single numbers, tried in every array
  std::uint64_t seed = 0;            ///< of texts and directions
  bool fresh = true;                 ///< no `log_probs` was called on the model yet: `backward` must refuse

  /// \throws Error if the limits leave no room for the texts.
  void check_limits() const {
    require(vocabulary >= 4, "ModelLaws", "vocabulary must be at least 4");
    require(longest_prompt >= 2 && longest_response >= 3, "ModelLaws", "the texts are too short");
    require(context >= longest_prompt + longest_response, "ModelLaws",
            "the context is too short for the texts");
  }
};

/// A response of `Kind::sample` of which nothing but the tokens is known.
inline Response plain_response(Index prompt, Index sample, Tokens tokens) {
  Response response;
  response.prompt = prompt;
  response.sample = sample;
  response.tokens = std::move(tokens);
  return response;
}

/// A prompt and a response as a batch of their own.
inline Batch one_text(Tokens prompt, Tokens response) {
  Batch batch;
  batch.prompts.push_back({.tokens = std::move(prompt)});
  batch.responses.push_back(plain_response(0, 0, std::move(response)));
  return batch;
}

/// Four prompts with 3, 0, 1 and 2 responses that are not in the order of the prompts, all lengths from one
/// token to the longest, every id allowed everywhere.
inline Batch random_batch(const ModelLaws& limits, std::uint64_t seed) {
  Dice dice(seed);
  Batch batch;
  for (const Index length :
       {limits.longest_prompt, Index{2}, Index{1}, 1 + dice.below(limits.longest_prompt)}) {
    batch.prompts.push_back(
        {.tokens = dice.tokens(length, limits.vocabulary), .example = batch.prompt_count()});
  }
  const Index lengths[] = {limits.longest_response,
                           1,
                           2,
                           1 + dice.below(limits.longest_response),
                           3,
                           1 + dice.below(limits.longest_response)};
  const Index prompts[] = {3, 0, 2, 0, 3, 0};
  for (std::size_t n = 0; n < std::size(lengths); ++n) {
    batch.responses.push_back(
        plain_response(prompts[n], static_cast<Index>(n), dice.tokens(lengths[n], limits.vocabulary)));
  }
  return batch;
}

/// Batches that `check` refuses, each with what is wrong with it.
inline std::vector<std::pair<std::string, Batch>> refused_batches(const ModelLaws& limits) {
  const auto v = static_cast<TokenId>(limits.vocabulary);
  Batch stray = one_text({1}, {1}), negative = stray;
  stray.responses[0].prompt = 1;
  negative.responses[0].prompt = -1;
  Batch unanswered = one_text({1}, {1});
  unanswered.prompts.push_back({Tokens(static_cast<std::size_t>(limits.context) + 1, 1), 1});
  return {{"a prompt without a token", one_text({}, {1})},
          {"a response without a token", one_text({1}, {})},
          {"the id V in a prompt", one_text({1, v}, {1})},
          {"the id V in a response", one_text({1}, {1, v})},
          {"a negative id in a prompt", one_text({-1}, {1})},
          {"a negative id in a response", one_text({1}, {-1})},
          {"a text beyond the context", one_text(Tokens(static_cast<std::size_t>(limits.context), 1), {1})},
          {"a prompt beyond the context, without a response", unanswered},
          {"a response of no prompt", stray},
          {"a response of prompt -1", negative}};
}

/// (N, R) uniform on [-1, 1) within the lengths, `beyond` elsewhere.
inline LogProbs random_weights(const Batch& batch, Dice& dice, double beyond = 0) {
  LogProbs weights = LogProbs::Constant(batch.response_count(), batch.longest(), beyond);
  for (Index n = 0; n < batch.response_count(); ++n) {
    for (std::size_t t = 0; t < batch.response(n).tokens.size(); ++t) {
      weights(n, static_cast<Index>(t)) = dice.between(-1, 1);
    }
  }
  return weights;
}

/// The batch with each response at a prompt of its own: response n belongs to prompt n.
inline Batch unshared(const Batch& batch) {
  Batch result = batch;
  result.prompts.clear();
  for (Response& response : result.responses) {
    result.prompts.push_back(batch.prompts[static_cast<std::size_t>(response.prompt)]);
    response.prompt = result.prompt_count() - 1;
  }
  return result;
}

/// The batch in another order: new prompt i is old prompt `prompts[i]`, new response i old `responses[i]`.
inline Batch reordered(const Batch& batch, const std::vector<Index>& prompts,
                       const std::vector<Index>& responses) {
  Batch result = batch;
  std::vector<Index> place(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    place[static_cast<std::size_t>(prompts[i])] = static_cast<Index>(i);
    result.prompts[i] = batch.prompts[static_cast<std::size_t>(prompts[i])];
  }
  for (std::size_t i = 0; i < responses.size(); ++i) {
    result.responses[i] = batch.response(responses[i]);
    result.responses[i].prompt = place[static_cast<std::size_t>(result.responses[i].prompt)];
  }
  if (batch.reference_logp.size() > 0) result.reference_logp = batch.reference_logp(responses, Eigen::all);
  if (batch.old_logp.size() > 0) result.old_logp = batch.old_logp(responses, Eigen::all);
  return result;
}

}  // namespace eso::testing
