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
#include "eso/data/text_example.hpp"
#include "eso/error.hpp"
#include "eso/text/strip.hpp"

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

/// What `tokenise` made of the examples and what it had to leave out.
struct Tokenised {
  std::vector<Example> examples;
  std::size_t too_long_prompts = 0;  ///< dropped: the prompt alone is longer than allowed
  std::size_t beyond_context = 0;    ///< dropped: prompt and target together exceed the context
  std::size_t cut_targets = 0;       ///< kept, but a response lost tokens
};

/// Turns texts into ids: prompt and response each on its own, nothing added but `eos` behind the response.
///
/// Prompts of more than `max_prompt_tokens` are dropped; responses are cut to `max_response_tokens`, and
/// `eos` follows only where it still fits; examples that exceed `context` even so are dropped. Without `eos`
/// none is appended. Of a pair both responses are treated so, and it is the longer that must fit. `Tokenizer`
/// has `Tokens encode(std::string_view) const` and `std::string decode(std::span<const TokenId>, bool
/// skip_special) const`.
///
/// \throws Error (input) with the example's place if a prompt or a target has no token at all.
template <class Tokenizer>
Tokenised tokenise(std::span<const TextExample> texts, const Tokenizer& tokenizer, std::optional<TokenId> eos,
                   Index max_prompt_tokens, Index max_response_tokens, Index context) {
  require(max_prompt_tokens >= 1, "tokenise", "max_prompt_tokens must be at least 1");
  require(max_response_tokens >= 1, "tokenise", "max_response_tokens must be at least 1");
  const auto place = [](const TextExample& text) {
    return text.where.empty() ? fmt::format("example {}", text.number) : text.where;
  };
  Tokenised result;
  for (const TextExample& text : texts) {
    Tokens prompt = tokenizer.encode(text.prompt);
    if (prompt.empty()) throw input_error(place(text), "the prompt is empty");
    if (static_cast<Index>(prompt.size()) > max_prompt_tokens) {
      ++result.too_long_prompts;
      continue;
    }
    bool cut = false;
    const auto response = [&](const std::string& words) {
      Tokens tokens = tokenizer.encode(words);
      const auto room = static_cast<std::size_t>(max_response_tokens);
      cut = cut || tokens.size() > room;
      if (tokens.size() > room) tokens.resize(room);
      if (eos && tokens.size() < room) tokens.push_back(*eos);
      if (tokens.empty()) throw input_error(place(text), "the response is empty");
      return tokens;
    };
    Tokens target = response(text.response);
    Tokens rejected = text.pair ? response(text.rejected) : Tokens{};
    if (static_cast<Index>(prompt.size() + std::max(target.size(), rejected.size())) > context) {
      ++result.beyond_context;
      continue;
    }
    result.cut_targets += cut ? 1 : 0;
    const std::string reference = tokenizer.decode(std::span<const TokenId>(target), true);
    result.examples.push_back({.prompt = std::move(prompt),
                               .target = std::move(target),
                               .number = text.number,
                               .prompt_text = text.prompt,
                               .reference = std::string(strip(reference)),
                               .rejected = std::move(rejected)});
  }
  return result;
}

}  // namespace eso
