// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace eso {

/// A code point and how many bytes it takes in UTF-8.
///
/// Where the bytes are malformed, `valid` is false, `code_point` is U+FFFD and `length` is that of the
/// longest beginning of a well-formed sequence (a maximal subpart), or 1.
struct CodePoint {
  char32_t value = 0xFFFD;
  std::uint32_t length = 1;
  bool valid = false;
};

/// The code point at byte `at` of `text`, which must lie inside it.
///
/// Source: Unicode 15, table 3-7 (no overlong forms, no surrogates, nothing above U+10FFFF) and section 3.9,
/// "U+FFFD Substitution of Maximal Subparts".
inline CodePoint decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {.value = lead, .length = 1, .valid = true};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // the second byte alone rules out overlong forms, surrogates and what lies above U+10FFFF
  const std::uint32_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint32_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  std::uint32_t value = lead & (0x7FU >> length);
  for (std::uint32_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {.length = i};
    const std::uint32_t next = byte(i);
    const bool fits = i == 1 ? next >= lowest && next <= highest : (next & 0xC0U) == 0x80;
    if (!fits) return {.length = i};
    value = value << 6 | (next & 0x3FU);
  }
  return {.value = value, .length = length, .valid = true};
}

/// The code point that ends before byte `end` > 0 of valid UTF-8.
inline CodePoint decode_utf8_before(std::string_view text, std::size_t end) {
  std::size_t begin = end - 1;
  while (begin > 0 && (static_cast<std::uint8_t>(text[begin]) & 0xC0U) == 0x80) --begin;
  return decode_utf8(text, begin);
}

/// Appends a code point, which must not be a surrogate or above U+10FFFF.
inline void append_utf8(std::string& text, char32_t value) {
  const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto code = static_cast<std::uint32_t>(value);
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// Where the first malformed byte sequence begins, nothing if `text` is UTF-8. O(bytes).
inline std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (std::uint64_t eight; at + sizeof eight <= text.size()) {  // of ASCII, eight at once
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080U) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const CodePoint point = decode_utf8(text, at);
    if (!point.valid) return at;
    at += point.length;
  }
  return std::nullopt;
}

/// The bytes with each maximal subpart of a malformed sequence replaced by U+FFFD, as Python's
/// `bytes.decode("utf-8", errors="replace")` does it. O(bytes).
inline std::string to_valid_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t at = 0; at < bytes.size();) {
    const CodePoint point = decode_utf8(bytes, at);
    if (point.valid) {
      text.append(bytes.substr(at, point.length));
    } else {
      append_utf8(text, 0xFFFD);
    }
    at += point.length;
  }
  return text;
}

}  // namespace eso
