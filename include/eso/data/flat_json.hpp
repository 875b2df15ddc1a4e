// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/text/utf8.hpp"

namespace eso {

/// The fields of a JSON object all of whose values are strings, which is what most lines of data are: several
/// times as fast as a reader of all of JSON.
class FlatJson {
 public:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  /// Reads `text`, which must be UTF-8, into `fields()`. False for every other text, be it JSON or not: a
  /// complete reader has to decide then. O(bytes).
  bool read(std::string_view text) {
    rest_ = text;
    count_ = 0;
    if (!take('{')) return false;
    if (!take('}')) {
      do {
        if (count_ == fields_.size()) fields_.emplace_back();
        auto& [name, value] = fields_[count_++];
        if (!take_string(name) || !take(':') || !take_string(value)) return false;
      } while (take(','));
      if (!take('}')) return false;
    }
    skip_space();
    return rest_.empty();
  }

  /// The value of the last field of this name in the object that was read, null if there is none.
  const std::string* find(std::string_view name) const {
    for (std::size_t i = count_; i-- > 0;) {
      if (fields_[i].first == name) return &fields_[i].second;
    }
    return nullptr;
  }

 private:
  void skip_space() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t' || rest_[0] == '\r' || rest_[0] == '\n')) {
      rest_.remove_prefix(1);
    }
  }

  bool take(char c) {
    skip_space();
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  bool take_string(std::string& value) {
    if (!take('"')) return false;
    value.clear();
    for (;;) {
      const std::size_t end = rest_.find('"');
      if (end == std::string_view::npos) return false;
      const std::size_t escape = rest_.substr(0, end).find('\\');
      const std::string_view plain = rest_.substr(0, escape == std::string_view::npos ? end : escape);
      bool control = false;
      for (const char c : plain) control |= static_cast<unsigned char>(c) < 0x20;
      if (control) return false;
      value.append(plain);
      rest_.remove_prefix(plain.size() + 1);
      if (escape == std::string_view::npos) return true;
      if (!take_escape(value)) return false;
    }
  }

  /// What stands behind a backslash. Surrogates are left to the complete reader.
  bool take_escape(std::string& value) {
    static constexpr std::string_view letters = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
    const char c = rest_[0];  // the quote that `take_string` found lies here or behind
    rest_.remove_prefix(1);
    if (c != 'u') {
      const std::size_t at = letters.find(c);
      if (at == std::string_view::npos) return false;
      value.push_back(meant[at]);
      return true;
    }
    if (rest_.size() < 4) return false;
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = hexadecimal(rest_[static_cast<std::size_t>(i)]);
      if (digit < 0) return false;
      code = 16 * code + static_cast<std::uint32_t>(digit);
    }
    if (code >= 0xD800 && code < 0xE000) return false;
    append_utf8(value, code);
    rest_.remove_prefix(4);
    return true;
  }

  static int hexadecimal(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const int small = c | 0x20;
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
  }

  std::string_view rest_;
  Fields fields_;  // the strings keep their memory from line to line
  std::size_t count_ = 0;
};

}  // namespace eso
