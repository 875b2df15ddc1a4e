// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/rows.hpp"
#include "eso/data/text_example.hpp"
#include "eso/error.hpp"
#include "eso/text/strip.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// What training and evaluation take: a tokenised prompt and the response to learn.
struct Example {
  Tokens prompt;            ///< at least one token
  Tokens target;            ///< at least one token; ends with the end-of-sequence token where that fitted
  Index number = 0;         ///< as in `TextExample`
  std::string prompt_text;  ///< what was tokenised
  std::string reference;    ///< the decoded target without special tokens, stripped: rewards compare with it
  Tokens rejected{};        ///< of a preference pair, whose better response is `target`; else empty
};

/// What becomes of an example whose prompt is too long, or too long for the context with its response.
enum class PromptOverflow {
  skip,      ///< it is dropped: training
  truncate,  ///< its input is cut where there is one, never the template around it: evaluation
};

/// What `tokenise` made of the examples and what it had to leave out.
struct Tokenised {
  std::vector<Example> examples;
  std::size_t too_long_prompts = 0;  ///< dropped: the prompt alone is longer than allowed
  std::size_t beyond_context = 0;    ///< dropped: prompt and target together exceed the context
  std::size_t cut_prompts = 0;       ///< kept, but the prompt lost tokens
  std::size_t cut_targets = 0;       ///< kept, but a response lost tokens
  DroppedRows dropped{};             ///< empty, or equal responses, once they are tokens and cut
};

/// A prompt as text and as ids.
struct TokenisedPrompt {
  Tokens tokens;
  std::string text;
};

/// The prompt of `text`, whose ids are `tokens`, cut to at most `limit` of them: the longest beginning of its
/// input that a bisection over characters finds to fit between what surrounds it, or, if its end is to be
/// kept, its last ids. Nothing if that leaves no input. O(tokens x log characters).
///
/// Source: the last ids are kept as in the code of DPO ("keep_end").
template <class Tokenizer>
std::optional<TokenisedPrompt> cut_prompt(const TextExample& text, Tokens tokens, const Tokenizer& tokenizer,
                                          Index limit) {
  if (limit < 1) return std::nullopt;
  if (text.keep_end) {
    const Index surplus = std::max<Index>(static_cast<Index>(tokens.size()) - limit, 0);
    tokens.erase(tokens.begin(), tokens.begin() + surplus);
    std::string words = tokenizer.decode(std::span<const TokenId>(tokens), false);
    return TokenisedPrompt{std::move(tokens), std::move(words)};
  }
  const std::string_view prompt = text.prompt, input = prompt.substr(text.input_at, text.input_size);
  std::vector<std::size_t> ends{0};  // of each character of the input
  while (ends.back() < input.size()) ends.push_back(ends.back() + decode_utf8(input, ends.back()).length);
  std::optional<TokenisedPrompt> best;
  for (std::size_t fits = 0, over = ends.size(); over - fits > 1;) {
    const std::size_t middle = fits + (over - fits) / 2;
    std::string words(prompt.substr(0, text.input_at + ends[middle]));
    words += prompt.substr(text.input_at + text.input_size);
    Tokens ids = tokenizer.encode(words);
    if (static_cast<Index>(ids.size()) > limit) {
      over = middle;
      continue;
    }
    fits = middle;
    best = {std::move(ids), std::move(words)};
  }
  return best;
}

/// A response as ids.
struct TokenisedResponse {
  Tokens tokens;
  std::string text;    ///< decoded without special tokens, stripped
  bool cut = false;    ///< tokens did not fit
  bool empty = false;  ///< it had no token of its own, or only white space is left of it
};

/// The ids of a response: cut to `room` of them, `eos` behind where it still fits and does not stand already.
template <class Tokenizer>
TokenisedResponse tokenised_response(std::string_view words, const Tokenizer& tokenizer,
                                     std::optional<TokenId> eos, Index room) {
  const auto most = static_cast<std::size_t>(room);
  Tokens tokens = tokenizer.encode(words);
  TokenisedResponse response{.tokens = {}, .text = {}, .cut = tokens.size() > most, .empty = tokens.empty()};
  if (response.cut) tokens.resize(most);
  const bool ended = eos && !tokens.empty() && tokens.back() == *eos;
  if (eos && !ended && tokens.size() < most) tokens.push_back(*eos);
  const std::string decoded = tokenizer.decode(std::span<const TokenId>(tokens), true);
  response.text = strip(decoded);
  response.empty = response.empty || response.text.empty();
  response.tokens.assign(tokens.begin(), tokens.end());  // no larger than it needs to be
  return response;
}

/// Turns texts into ids: prompt and response each on its own, nothing added but `eos` behind the response.
///
/// Responses are cut to `max_response_tokens`, and `eos` follows only where it still fits and does not end
/// the response already; without `eos` none is appended. Of a pair both responses are treated so. Examples
/// with a prompt of more than `max_prompt_tokens`, and those that exceed `context` with the longer response,
/// are dropped unless `overflow` says to cut and `cut_prompt` can. `Tokenizer` has `Tokens
/// encode(std::string_view) const` and `std::string decode(std::span<const TokenId>, bool skip_special)
/// const`.
///
/// Left out and counted too, or refused, is what has a `RowFault` now: a prompt or response without a token
/// of its own, a response of which the cut left only white space, a pair that the cut made equal.
///
/// \throws Error (input) with the example's place if such a row is to be refused.
template <class Tokenizer>
Tokenised tokenise(std::span<const TextExample> texts, const Tokenizer& tokenizer, std::optional<TokenId> eos,
                   Index max_prompt_tokens, Index max_response_tokens, Index context,
                   PromptOverflow overflow = PromptOverflow::skip, const RowPolicy& rows = {}) {
  require(max_prompt_tokens >= 1, "tokenise", "max_prompt_tokens must be at least 1");
  require(max_response_tokens >= 1, "tokenise", "max_response_tokens must be at least 1");
  Tokenised result;
  for (const TextExample& text : texts) {
    if (rows.between) rows.between();
    const auto leave_out = [&](RowFault fault) {
      if (rows.bad == BadRows::refuse) {
        throw input_error(text.where(),
                          fmt::format("a row with {}, in tokens and cut to {}",
                                      row_fault_words[static_cast<std::size_t>(fault)], max_response_tokens));
      }
      ++result.dropped[fault];
    };
    Tokens ids = tokenizer.encode(text.prompt);
    if (ids.empty()) {
      leave_out(RowFault::empty_prompt);
      continue;
    }
    const auto size = static_cast<Index>(ids.size());
    if (size > max_prompt_tokens && overflow == PromptOverflow::skip) {
      ++result.too_long_prompts;
      continue;
    }
    TokenisedResponse target = tokenised_response(text.response, tokenizer, eos, max_response_tokens),
                      rejected;
    if (text.pair) rejected = tokenised_response(text.rejected, tokenizer, eos, max_response_tokens);
    if (target.empty || rejected.empty || (text.pair && target.tokens == rejected.tokens)) {
      leave_out(target.empty || rejected.empty ? RowFault::empty_response : RowFault::equal_pair);
      continue;
    }
    std::optional<TokenisedPrompt> prompt;
    const Index left = context - static_cast<Index>(std::max(target.tokens.size(), rejected.tokens.size()));
    if (size <= std::min(max_prompt_tokens, left)) {
      ids.shrink_to_fit();
      prompt = {std::move(ids), text.prompt};
    } else {
      if (overflow == PromptOverflow::truncate)
        prompt = cut_prompt(text, std::move(ids), tokenizer, std::min(max_prompt_tokens, left));
      if (!prompt) {
        ++(size > max_prompt_tokens ? result.too_long_prompts : result.beyond_context);
        continue;
      }
      ++result.cut_prompts;
    }
    result.cut_targets += target.cut || rejected.cut ? 1 : 0;
    result.examples.push_back({.prompt = std::move(prompt->tokens),
                               .target = std::move(target.tokens),
                               .number = text.number,
                               .prompt_text = std::move(prompt->text),
                               .reference = std::move(target.text),
                               .rejected = std::move(rejected.tokens)});
  }
  return result;
}

}  // namespace eso
