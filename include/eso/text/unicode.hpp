// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>

#include "eso/text/unicode_tables.hpp"

namespace eso {

/// What the GPT-2 pattern tells apart.
enum class CharacterClass : std::uint8_t {
  other,   ///< `[^\s\p{L}\p{N}]`
  letter,  ///< `\p{L}`
  number,  ///< `\p{N}`
  space,   ///< `\s`: the property White_Space
};

/// The class of a code point. O(log runs) beyond ASCII.
///
/// Source: the Unicode version that PyPI's tokenizers 0.23 knows; see scripts/make_unicode_tables.py.
inline CharacterClass character_class(char32_t code_point) {
  const auto code = static_cast<std::uint32_t>(code_point);
  if (code < 0x80) {
    if ((code | 0x20) - 'a' < 26) return CharacterClass::letter;
    if (code - '0' < 10) return CharacterClass::number;
    return code == ' ' || code - '\t' < 5 ? CharacterClass::space : CharacterClass::other;
  }
  const auto after =
      std::upper_bound(character_class_runs.begin(), character_class_runs.end(), code << 2 | 3U);
  return static_cast<CharacterClass>(*(after - 1) & 3U);
}

/// Whether a code point is part of a word, `\w`: alphabetic, mark, decimal number, connector punctuation or
/// join control. An added token with `single_word` needs something else on both sides.
inline bool is_word_character(char32_t code_point) {
  const auto code = static_cast<std::uint32_t>(code_point);
  const auto after = std::upper_bound(word_boundaries.begin(), word_boundaries.end(), code);
  return (after - word_boundaries.begin()) % 2 == 1;
}

}  // namespace eso
