// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

#include "eso/text/unicode.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// Where the word that begins at byte `begin` of `text` (UTF-8) ends under GPT-2's pattern
///
///     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///
/// Every text is covered without gaps. O(length of the word, and of the white space at its start).
///
/// Source: openai/gpt-2 src/encoder.py; contractions are case-sensitive there too.
inline std::size_t gpt2_word_end(std::string_view text, std::size_t begin) {
  const auto starts_with = [&](std::string_view what) { return text.substr(begin).starts_with(what); };
  if (text[begin] == '\'') {
    for (const std::string_view contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (starts_with(contraction)) return begin + contraction.size();
    }
  }
  std::size_t at = begin;
  CodePoint point = decode_utf8(text, at);
  CharacterClass kind = character_class(point.value);
  if (text[at] == ' ' && at + 1 < text.size()) {
    const CodePoint second = decode_utf8(text, at + 1);
    if (const CharacterClass next = character_class(second.value); next != CharacterClass::space) {
      ++at;
      point = second;
      kind = next;
    }
  }
  std::size_t last = at;
  while (true) {
    last = at;
    at += point.length;
    if (at == text.size()) return at;
    point = decode_utf8(text, at);
    if (character_class(point.value) != kind) break;
  }
  // white space before a word leaves its last character to the word, unless it is all there is
  return kind == CharacterClass::space && last != begin ? last : at;
}

}  // namespace eso
