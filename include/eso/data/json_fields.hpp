// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eso/text/utf8.hpp"

namespace eso {

/// The text of a JSON string that stands between its quotes as `raw`, whose escapes are well formed. Nothing
/// if a surrogate in it has no partner. O(bytes).
inline std::optional<std::string> unescaped(std::string_view raw) {
  static constexpr std::string_view letters = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
  const auto unit = [&raw](std::size_t at) {  // of the four digits there
    std::uint32_t code = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
      const char c = raw[i];
      code = 16 * code + static_cast<std::uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return code;
  };
  std::string text;
  text.reserve(raw.size());
  for (std::size_t at = 0;;) {
    const std::size_t escape = std::min(raw.find('\\', at), raw.size());
    text.append(raw.substr(at, escape - at));
    if (escape == raw.size()) return text;
    at = escape + 2;
    if (raw[escape + 1] != 'u') {
      text.push_back(meant[letters.find(raw[escape + 1])]);
      continue;
    }
    std::uint32_t code = unit(at);
    at += 4;
    if (code >= 0xD800 && code < 0xE000) {
      if (code >= 0xDC00 || raw.substr(at, 2) != "\\u") return std::nullopt;
      const std::uint32_t low = unit(at + 2);
      if (low < 0xDC00 || low >= 0xE000) return std::nullopt;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      at += 6;
    }
    append_utf8(text, code);
  }
}

/// Where the fields of a JSON object stand in its text. All of it is checked against the grammar, and nothing
/// is built from it: what a value holds, however large, deep or out of range, matters to who asks for it.
class JsonFields {
 public:
  /// A field as it is written, views into the text.
  struct Field {
    std::string_view name;   ///< between its quotes
    std::string_view value;  ///< a string with its quotes
    bool escaped = false;    ///< whether a string in it has an escape
  };

  /// What is wrong with a text.
  struct Fault {
    std::size_t at = 0;     ///< the first byte that cannot stand there; the size where more was expected
    std::string_view what;  ///< in a few words
  };

  /// Reads `text`, UTF-8, which must outlive what is asked of it. The fault if it is not one object and
  /// nothing else. O(bytes), whatever it holds; a bit for each level of nesting.
  std::optional<Fault> read(std::string_view text) {
    begin(text);
    if (!take('{')) return fail("no object"), fault_;
    if (!fields() || !at_end("more follows the object")) return fault_;
    return std::nullopt;
  }

  /// The elements of an array instead of the fields of an object, without names. False if `text`, a JSON
  /// value, is none.
  bool read_array(std::string_view text) {
    begin(text);
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      skip_space();
      const std::size_t start = at_;
      if (!skip_value()) return false;
      fields_.push_back({.name = {}, .value = text_.substr(start, at_ - start), .escaped = true});
    } while (take(','));
    return take(']');
  }

  /// All of them, in their order.
  const std::vector<Field>& all() const { return fields_; }

  /// Whether `text` is one JSON value of any kind. O(bytes).
  bool is_value(std::string_view text) {
    begin(text);
    return skip_value() && at_end("");
  }

  /// The last field of this name in the object that was read, null if there is none.
  const Field* find(std::string_view name) const {
    for (std::size_t i = fields_.size(); i-- > 0;) {
      const std::string_view written = fields_[i].name;
      if (written == name) return &fields_[i];
      if (written.find('\\') != std::string_view::npos && unescaped(written) == name) return &fields_[i];
    }
    return nullptr;
  }

 private:
  void begin(std::string_view text) {
    text_ = text;
    at_ = 0;
    fields_.clear();
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool fail(std::string_view what) {
    fault_ = {at_, at_ == text_.size() ? "it ends too early" : what};
    return false;
  }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n')) {
      ++at_;
    }
  }

  bool at_end(std::string_view otherwise) {
    skip_space();
    return at_ == text_.size() || fail(otherwise);
  }

  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  /// What stands behind the brace of the object.
  bool fields() {
    if (take('}')) return true;
    for (;;) {
      Field field;
      if (!take_name(field.name)) return false;
      skip_space();
      const std::size_t value = at_;
      escaped_ = false;
      if (!skip_value()) return false;
      field.value = text_.substr(value, at_ - value);
      field.escaped = escaped_;
      fields_.push_back(field);
      if (take('}')) return true;
      if (!take(',')) return fail("no comma or end of the object");
    }
  }

  /// A name, which `name` becomes, and the colon behind it.
  bool take_name(std::string_view& name) {
    if (!take('"')) return fail("no name of a field");
    const std::size_t start = at_;
    if (!skip_string()) return false;
    name = text_.substr(start, at_ - 1 - start);
    return take(':') || fail("no colon behind the name of a field");
  }

  bool skip_value() {
    open_.clear();  // for each bracket that is not closed yet whether it is a brace
    std::string_view name;
    for (;;) {
      skip_space();
      const char c = peek();
      if (c == '{' || c == '[') {
        ++at_;
        open_.push_back(c == '{');
        skip_space();
        if (peek() != (c == '{' ? '}' : ']')) {
          if (c == '{' && !take_name(name)) return false;
          continue;
        }
      } else if (!skip_scalar(c)) {
        return false;
      }
      for (;; ++at_, open_.pop_back()) {  // the brackets that end here
        if (open_.empty()) return true;
        skip_space();
        if (peek() != (open_.back() ? '}' : ']')) break;
      }
      if (!take(',')) return fail("no comma or end of an array or object");
      if (open_.back() && !take_name(name)) return false;
    }
  }

  bool skip_scalar(char c) {
    switch (c) {
      case '"':
        ++at_;
        return skip_string();
      case 't':
        return skip_word("true");
      case 'f':
        return skip_word("false");
      case 'n':
        return skip_word("null");
      default:
        return skip_number();
    }
  }

  bool skip_word(std::string_view word) {
    for (const char c : word) {
      if (peek() != c) return fail("invalid literal");
      ++at_;
    }
    return true;
  }

  bool skip_digits() {
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > start || fail("invalid number");
  }

  bool skip_number() {
    if (peek() != '-' && (peek() < '0' || peek() > '9')) return fail("no value");
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else if (!skip_digits()) {
      return false;
    }
    if (peek() == '.' && (++at_, !skip_digits())) return false;
    if ((peek() | 0x20) != 'e') return true;
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    return skip_digits();
  }

  /// A string whose first quote is behind, and its last.
  bool skip_string() {
    std::size_t quote = 0;  // the next one from `at_`, sought again only when it is passed
    for (;;) {
      if (quote < at_) quote = std::min(text_.find('"', at_), text_.size());
      const std::string_view rest = text_.substr(at_, quote - at_);
      const std::string_view plain = rest.substr(0, rest.find('\\'));
      bool control = false;
      for (const char c : plain) control |= static_cast<unsigned char>(c) < 0x20;
      if (control) {
        while (static_cast<unsigned char>(peek()) >= 0x20) ++at_;
        return fail("a control character in a string");
      }
      at_ += plain.size();
      if (at_ == text_.size()) return fail("");
      ++at_;
      if (plain.size() == rest.size()) return true;
      escaped_ = true;
      if (!skip_escape()) return false;
    }
  }

  /// What stands behind a backslash.
  bool skip_escape() {
    const char c = peek();
    if (c == '\0' || std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos)
      return fail("invalid escape");
    ++at_;
    for (int i = 0; c == 'u' && i < 4; ++i, ++at_) {
      const char digit = peek(), small = static_cast<char>(digit | 0x20);
      if (!(digit >= '0' && digit <= '9') && !(small >= 'a' && small <= 'f')) return fail("invalid escape");
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Field> fields_;
  std::vector<bool> open_;
  bool escaped_ = false;  // a string since this was cleared has an escape
  Fault fault_{};
};

}  // namespace eso
