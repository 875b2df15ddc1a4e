// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "eso/text/utf8.hpp"

namespace eso {

// GPT-2 spells tokens, which are byte strings, in printable characters: bytes 0x21-0x7E, 0xA1-0xAC and
// 0xAE-0xFF are the character of the same number, the other 68, ascending, are U+0100 to U+0143. A space is
// U+0120, a line feed U+010A.
//
// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", openai/gpt-2
// src/encoder.py, bytes_to_unicode.

/// The character that spells each byte.
inline constexpr std::array<char32_t, 256> byte_characters = [] {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}();

/// The byte that a character spells, nothing for a character outside the alphabet.
inline std::optional<std::uint8_t> spelled_byte(char32_t character) {
  static constexpr std::array<std::int16_t, 0x144> bytes = [] {
    std::array<std::int16_t, 0x144> table{};
    for (std::int16_t& byte : table) byte = -1;
    for (std::size_t byte = 0; byte < 256; ++byte)
      table[byte_characters[byte]] = static_cast<std::int16_t>(byte);
    return table;
  }();
  if (character >= bytes.size() || bytes[character] < 0) return std::nullopt;
  return static_cast<std::uint8_t>(bytes[character]);
}

/// The spelling of a byte string.
inline std::string spell(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) append_utf8(token, byte_characters[static_cast<std::uint8_t>(byte)]);
  return token;
}

/// The bytes that a token (UTF-8) stands for: what it spells, or itself if any of its characters lies outside
/// the alphabet, as an added token's may.
inline std::string token_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const CodePoint point = decode_utf8(token, at);
    const auto byte = spelled_byte(point.value);
    if (!byte) return std::string(token);
    bytes.push_back(static_cast<char>(*byte));
    at += point.length;
  }
  return bytes;
}

}  // namespace eso
