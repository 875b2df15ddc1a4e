// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string_view>

#include "eso/text/utf8.hpp"

namespace eso {

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

}  // namespace eso
