// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/formats.hpp"
#include "eso/error.hpp"
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

/// `text` (UTF-8) without the white space at both ends: what Python's `str.strip` does, whose white space is
/// `\s` and the four separators U+001C to U+001F. A malformed byte is no white space. O(stripped).
inline std::string_view strip(std::string_view text) {
  const auto space = [](CodePoint point) {
    const char32_t c = point.value;
    return point.valid && ((c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
                           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
                           c == 0x202F || c == 0x205F || c == 0x3000);
  };
  while (!text.empty()) {
    const CodePoint first = decode_utf8(text, 0);
    if (!space(first)) break;
    text.remove_prefix(first.length);
  }
  while (!text.empty()) {
    // In malformed text the code point found need not reach the end; what lies there is then no code point.
    const std::size_t length = decode_utf8_before(text, text.size()).length;
    if (!space(decode_utf8(text, text.size() - length))) break;
    text.remove_suffix(length);
  }
  return text;
}

/// What `tokenise` made of the examples and what it had to leave out.
struct Tokenised {
  std::vector<Example> examples;
  std::size_t too_long_prompts = 0;  ///< dropped: the prompt alone is longer than allowed
  std::size_t beyond_context = 0;    ///< dropped: prompt and target together exceed the context
  std::size_t cut_targets = 0;       ///< kept, but the target lost tokens
};

/// Turns texts into ids: prompt and response each on its own, nothing added but `eos` behind the response.
///
/// Prompts of more than `max_prompt_tokens` are dropped; responses are cut to `max_response_tokens`, and
/// `eos` follows only where it still fits; examples that exceed `context` even so are dropped. Without `eos`
/// none is appended. `Tokenizer` has `Tokens encode(std::string_view) const` and `std::string
/// decode(std::span<const TokenId>, bool skip_special) const`.
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
    Tokens target = tokenizer.encode(text.response);
    const auto room = static_cast<std::size_t>(max_response_tokens);
    const bool cut = target.size() > room;
    if (cut) target.resize(room);
    if (eos && target.size() < room) target.push_back(*eos);
    if (target.empty()) throw input_error(place(text), "the response is empty");
    if (static_cast<Index>(prompt.size() + target.size()) > context) {
      ++result.beyond_context;
      continue;
    }
    result.cut_targets += cut ? 1 : 0;
    const std::string reference = tokenizer.decode(std::span<const TokenId>(target), true);
    result.examples.push_back({.prompt = std::move(prompt),
                               .target = std::move(target),
                               .number = text.number,
                               .prompt_text = text.prompt,
                               .reference = std::string(strip(reference))});
  }
  return result;
}

}  // namespace eso
