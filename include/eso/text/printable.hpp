// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace eso {

/// Whether a terminal obeys this code point instead of showing it: the control characters (C0, DEL, C1), the
/// line and paragraph separators, and the marks that turn the direction of writing.
constexpr bool controls_terminal(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x061C || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

/// Writes what a terminal would obey as `\u001B`, malformed UTF-8 as `\x9B`; a line feed stays if
/// `keep_lines`. Linear in the text.
inline std::string printable(std::string_view text, bool keep_lines = false) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
    const std::uint8_t first = byte(i);
    const std::size_t size = first < 0x80                    ? 1
                             : first >= 0xC2 && first < 0xE0 ? 2
                             : first >= 0xE0 && first < 0xF0 ? 3
                             : first >= 0xF0 && first < 0xF5 ? 4
                                                             : 0;
    std::uint32_t code = size == 1 ? first : size == 0 ? 0 : first & (0x7FU >> size);
    bool valid = size > 0 && i + size <= text.size();
    for (std::size_t j = 1; valid && j < size; ++j) {
      valid = (byte(i + j) & 0xC0U) == 0x80;
      code = code << 6U | (byte(i + j) & 0x3FU);
    }
    if (!valid) {
      result += fmt::format("\\x{:02X}", first);
      ++i;
      continue;
    }
    if (controls_terminal(code) && !(keep_lines && code == '\n')) {
      result += fmt::format("\\u{:04X}", code);
    } else {
      result += text.substr(i, size);
    }
    i += size;
  }
  return result;
}

/// Cuts the middle out of a text of more than `limit` bytes, between characters: for messages. A path keeps
/// its beginning, and the line that stands behind it.
inline std::string cut_middle(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const auto inside = [&](std::size_t at) {
    return at < text.size() && (static_cast<std::uint8_t>(text[at]) & 0xC0U) == 0x80;
  };
  std::size_t head = limit * 2 / 3, tail = text.size() - limit / 3;
  for (int i = 0; i < 3 && head > 0 && inside(head); ++i) --head;
  for (int i = 0; i < 3 && inside(tail); ++i) ++tail;
  return std::string(text.substr(0, head)) + "..." + std::string(text.substr(tail));
}

}  // namespace eso
