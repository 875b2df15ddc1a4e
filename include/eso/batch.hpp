// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"

namespace eso {

// Shapes, used in every comment of the library:
//   P  prompts of a batch
//   N  responses of a batch, in any number per prompt, also none
//   R  the longest response of the batch, in tokens
//   V  the vocabulary: rows of the model's embedding
//   K  samples per prompt
//   H  width of the model
//
// Log-probabilities are natural logarithms (nats). Lengths are explicit: nothing is ever padding because of
// its token id, and a response's length counts its end-of-sequence token when it has one.

using Index = Eigen::Index;           ///< of rows, columns and counts: signed
using TokenId = std::int32_t;         ///< of a token, from 0 to V - 1
using Tokens = std::vector<TokenId>;  ///< a text, or a piece of one

/// (N, R): row n belongs to response n, column t to its token t; zero beyond the length of the response.
using LogProbs = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What a response is, which decides which losses read it.
enum class Kind : std::uint8_t {
  target,    ///< the reference answer of the data: SFT, and RRHF's candidate of reward 1
  sample,    ///< drawn from the model: ESO, Unlike, RRHF, PPO
  greedy,    ///< the model's most likely continuation, a baseline: DRL, ESO with `Baseline::greedy`
  chosen,    ///< the better of a preference pair: DPO, reward model
  rejected,  ///< the worse one
};

/// A prompt, tokenised on its own.
struct Prompt {
  Tokens tokens;      ///< at least one
  Index example = 0;  ///< which example of the data it is: names its random streams and its lines in logs
};

/// A response to a prompt: its tokens and what is known of them.
struct Response {
  Index prompt = 0;  ///< row of `Batch::prompts`
  Kind kind = Kind::sample;
  Index sample = 0;          ///< its number among the responses of this kind to this prompt
  Tokens tokens;             ///< at least one; ends with the end-of-sequence token where that was produced
  double temperature = 1;    ///< it was drawn at; 0 is greedy, not a number: not drawn
  bool finished = false;     ///< the last token is the end-of-sequence token
  std::vector<double> logp;  ///< of the tokens when they were drawn, at temperature 1; empty if not drawn
  double entropy = 0;  ///< sum over the tokens of the entropy at temperature 1 when they were drawn, nats
  double entropy_drawn = 0;  ///< the same of the distribution that was drawn from (temperature 1 for greedy)
  double reward = std::numeric_limits<double>::quiet_NaN();  ///< not a number: not scored
};

/// What a loss and a model see of one step, or of a part of one (a micro-batch).
///
/// A prompt stands once however many responses it has, so a model computes it once. All prompts have
/// responses of their own lengths; responses of one prompt need not be neighbours.
struct Batch {
  std::vector<Prompt> prompts;      ///< P
  std::vector<Response> responses;  ///< N
  LogProbs reference_logp;          ///< (N, R) under a frozen reference model, or empty: DPO, PPO, RLOO
  LogProbs old_logp;                ///< (N, R) before the first update on these responses, or empty: PPO

  Index prompt_count() const { return static_cast<Index>(prompts.size()); }
  Index response_count() const { return static_cast<Index>(responses.size()); }

  /// R, 0 for a batch without responses.
  Index longest() const {
    Index longest = 0;
    for (const Response& response : responses) {
      longest = std::max(longest, static_cast<Index>(response.tokens.size()));
    }
    return longest;
  }

  /// Rows of the responses to prompt `p` of this kind, ascending.
  std::vector<Index> rows_of(Index p, Kind kind) const {
    std::vector<Index> rows;
    for (Index n = 0; n < response_count(); ++n) {
      if (responses[static_cast<std::size_t>(n)].prompt == p &&
          responses[static_cast<std::size_t>(n)].kind == kind) {
        rows.push_back(n);
      }
    }
    return rows;
  }

  const Response& response(Index n) const { return responses[static_cast<std::size_t>(n)]; }
};

/// What the losses divide by, counted over everything that one update sees, and what part of a run it is.
///
/// A step may be computed in micro-batches or on several ranks, so a loss never counts for itself: with the
/// totals of the whole, the values and gradients of the parts add up to those of the whole.
struct Totals {
  Index prompts = 0;
  Index pairs = 0;           ///< prompts with a chosen and a rejected response
  Index target_tokens = 0;   ///< tokens of the responses of `Kind::target`
  Index sampled_tokens = 0;  ///< tokens of the responses of `Kind::sample`
  Index sampled = 0;         ///< responses of `Kind::sample`
  Index kept_prompts = 0;    ///< prompts above `EsoLoss::min_mean_reward`, see `EsoLoss::count`
  bool active = true;        ///< the step lies in an epoch where the method beside SFT is on

  /// The totals of one batch that is a whole step.
  static Totals of(const Batch& batch) {
    Totals totals{.prompts = batch.prompt_count()};
    std::vector<int> sides(batch.prompts.size(), 0);
    for (const Response& response : batch.responses) {
      const auto length = static_cast<Index>(response.tokens.size());
      if (response.kind == Kind::target) totals.target_tokens += length;
      if (response.kind == Kind::sample) totals.sampled_tokens += length, ++totals.sampled;
      if (response.kind == Kind::chosen) sides[static_cast<std::size_t>(response.prompt)] |= 1;
      if (response.kind == Kind::rejected) sides[static_cast<std::size_t>(response.prompt)] |= 2;
    }
    totals.pairs = std::count(sides.begin(), sides.end(), 3);
    return totals;
  }
};

/// Prompts `first ... first + count - 1` of a batch with their responses: a micro-batch. O(N R).
inline Batch part(const Batch& whole, Index first, Index count) {
  Batch result;
  const auto begin = whole.prompts.begin() + first;
  result.prompts.assign(begin, begin + count);
  std::vector<Index> rows;
  for (Index n = 0; n < whole.response_count(); ++n) {
    const Response& response = whole.response(n);
    if (response.prompt < first || response.prompt >= first + count) continue;
    rows.push_back(n);
    result.responses.push_back(response);
    result.responses.back().prompt -= first;
  }
  const auto rows_and_columns = [&](const LogProbs& from) -> LogProbs {
    if (from.size() == 0) return {};
    return from(rows, Eigen::seqN(0, result.longest()));
  };
  result.reference_logp = rows_and_columns(whole.reference_logp);
  result.old_logp = rows_and_columns(whole.old_logp);
  return result;
}

/// Throws unless every prompt and response has a token, every response a prompt, every id lies in
/// [0, `vocabulary`) and every prompt, alone and with its response, fits `context` tokens. O(tokens).
inline void check(const Batch& batch, Index vocabulary, Index context, std::string_view where) {
  const auto check_ids = [&](const Tokens& tokens, const char* what, Index i) {
    if (tokens.empty()) throw input_error(std::string(where), fmt::format("{} {} has no token", what, i));
    for (const TokenId id : tokens) {
      if (id < 0 || id >= vocabulary) {
        throw input_error(std::string(where), fmt::format("{} {} has an id outside the vocabulary", what, i),
                          fmt::format("{}", id), fmt::format("0 to {}", vocabulary - 1));
      }
    }
  };
  const auto check_length = [&](std::size_t length, const char* what, Index i) {
    if (static_cast<Index>(length) <= context) return;
    throw input_error(std::string(where), fmt::format("{} {} exceed the context", what, i),
                      fmt::format("{} tokens", length), fmt::format("at most {}", context));
  };
  for (Index p = 0; p < batch.prompt_count(); ++p) {
    const Tokens& tokens = batch.prompts[static_cast<std::size_t>(p)].tokens;
    check_ids(tokens, "prompt", p);
    check_length(tokens.size(), "the tokens of prompt", p);
  }
  for (Index n = 0; n < batch.response_count(); ++n) {
    const Response& response = batch.response(n);
    check_ids(response.tokens, "response", n);
    if (response.prompt < 0 || response.prompt >= batch.prompt_count()) {
      throw input_error(std::string(where), fmt::format("response {} belongs to no prompt", n),
                        fmt::format("prompt {}", response.prompt),
                        fmt::format("0 to {}", batch.prompt_count() - 1));
    }
    check_length(
        batch.prompts[static_cast<std::size_t>(response.prompt)].tokens.size() + response.tokens.size(),
        "prompt and response", n);
  }
}

/// Throws unless `logp` is (N, R) of `batch`.
inline void check_shape(std::string_view where, const LogProbs& logp, const Batch& batch) {
  if (logp.rows() != batch.response_count() || logp.cols() != batch.longest()) {
    throw input_error(std::string(where), "log-probabilities have the wrong shape",
                      fmt::format("({}, {})", logp.rows(), logp.cols()),
                      fmt::format("({}, {})", batch.response_count(), batch.longest()));
  }
}

}  // namespace eso
