// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eso/error.hpp"
#include "eso/text/file_kind.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// A text of a file in quotes for a message: cut to about 40 bytes, always UTF-8.
inline std::string in_quotes(std::string_view text) {
  const std::size_t limit = 40;
  if (text.size() <= limit) return "\"" + to_valid_utf8(text) + "\"";
  std::size_t end = limit;
  while (end > 0 && (static_cast<std::uint8_t>(text[end]) & 0xC0U) == 0x80) --end;
  return "\"" + to_valid_utf8(text.substr(0, end)) + "...\"";
}

/// Whether the name is taken, be it by a link that leads nowhere: that is a file which is lost, not one that
/// was never meant to be there.
inline bool is_named(const std::filesystem::path& path) {
  std::error_code code;
  return std::filesystem::exists(std::filesystem::symlink_status(path, code));
}

/// \throws Error (input) if there is no such file, or it is a folder, a pipe or a device.
inline void check_regular_file(const std::filesystem::path& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (std::filesystem::is_regular_file(status)) return;
  if (std::filesystem::is_directory(status)) throw input_error(path.string(), "is a directory", {}, "a file");
  if (std::filesystem::exists(status)) throw input_error(path.string(), "is no regular file");
  throw input_error(path.string(), is_named(path) ? "is a link that leads to no file" : "no such file");
}

/// The bytes of a file.
///
/// \throws Error (input) if there is no such file, it is no regular file, may not be opened or has more than
///         `limit` bytes, (system) if the machine cannot open it or reading fails.
inline std::string read_file(const std::filesystem::path& path,
                             std::size_t limit = std::numeric_limits<std::size_t>::max()) {
  check_regular_file(path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw open_error(path.string());
  std::string bytes;
  char chunk[8192];  // stacks of 64 KiB exist
  while (file.read(chunk, sizeof chunk) || file.gcount() > 0) {
    bytes.append(chunk, static_cast<std::size_t>(file.gcount()));
    if (bytes.size() > limit) throw input_error(path.string(), fmt::format("is larger than {} bytes", limit));
  }
  if (file.bad()) throw system_error(path.string(), "cannot be read");
  return bytes;
}

/// The 0-based byte of the first bracket of a JSON text that stands within more than `limit - 1` others.
inline std::optional<std::size_t> first_nested_beyond(std::size_t limit, std::string_view json) {
  std::size_t depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return i;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return std::nullopt;
}

/// The JSON value that a file holds. Of two equal keys of an object the last counts.
///
/// \throws Error (input) as `read_file`, and if the file is not JSON, not UTF-8, larger than 64 MiB or nested
///         more than 64 deep; one that says what the file is instead where `mistaken_content` knows it.
inline nlohmann::json read_json_file(const std::filesystem::path& path) {
  const std::string text = read_file(path, std::size_t{64} << 20);
  // None of these begins as JSON does.
  if (const std::string_view what = mistaken_content(text); !what.empty())
    throw input_error(path.string(), std::string(what), {}, "JSON");
  const auto fault_at = [&](std::size_t byte, std::string_view what) {
    return input_error(path.string(), fmt::format("{} at byte {}", what, byte + 1));
  };
  if (const auto at = first_invalid_utf8(text)) throw fault_at(*at, "malformed UTF-8");
  // The parser would take a NUL as the end and never see what follows.
  if (const auto at = text.find('\0'); at != std::string::npos) throw fault_at(at, "a NUL");
  if (const auto at = first_nested_beyond(64, text)) throw fault_at(*at, "JSON is nested too deep");
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const std::size_t at = std::min(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    const std::string place = fmt::format("{}:{}", path.string(), line);
    if (error.byte > text.size()) throw input_error(place, "is not JSON: it ends too early");
    throw input_error(place, fmt::format("is not JSON at byte {}", error.byte));
  } catch (const nlohmann::json::out_of_range&) {
    throw input_error(path.string(), "holds a number that is out of range");
  }
}

/// A value inside a JSON file that knows its place, for errors that name the file and the key.
class JsonNode {
 public:
  /// The whole value of the file `path`. `value` must outlive the node and all that come from it.
  JsonNode(const nlohmann::json& value, const std::filesystem::path& path)
      : value_(&value), path_(path.string()) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  const std::string& key() const { return key_; }

  /// The member `name` of an object, nothing if it is missing or null.
  std::optional<JsonNode> find(const std::string& name) const {
    const auto found = object().find(name);
    if (found == value_->end() || found->is_null()) return std::nullopt;
    return member(name, *found);
  }

  /// The member `name` of an object. \throws Error (input) if it is missing.
  JsonNode at(const std::string& name) const {
    const auto found = object().find(name);
    if (found == value_->end()) throw input_error(path_, fmt::format("has no key \"{}\"", joined(name)));
    return member(name, *found);
  }

  /// Calls `visit` with each member of an object, in the order of their names.
  template <class Visit>
  void each_member(const Visit& visit) const {
    for (const auto& [name, value] : object().items()) visit(name, member(name, value));
  }

  /// Calls `visit` with each element of an array.
  template <class Visit>
  void each_element(const Visit& visit) const {
    if (!value_->is_array()) throw wrong("an array");
    std::size_t i = 0;
    for (const nlohmann::json& value : *value_) {
      visit(JsonNode(value, path_, fmt::format("{}[{}]", key_, i++)));
    }
  }

  const std::string& string() const {
    if (!value_->is_string()) throw wrong("a string");
    return value_->get_ref<const std::string&>();
  }

  bool boolean() const {
    if (!value_->is_boolean()) throw wrong("true or false");
    return value_->get<bool>();
  }

  /// A token id. \throws Error (input) unless it is an integer from 0 to 2^31 - 1.
  std::int32_t id() const {
    const auto largest = std::numeric_limits<std::int32_t>::max();
    if (!value_->is_number_unsigned() || value_->get<std::uint64_t>() > std::uint64_t{largest}) {
      throw wrong("an integer from 0 to 2147483647");
    }
    return value_->get<std::int32_t>();
  }

  /// The member `name`, `otherwise` if it is missing or null.
  bool boolean_or(const std::string& name, bool otherwise) const {
    const auto found = find(name);
    return found ? found->boolean() : otherwise;
  }

  /// The value for a message: a number as it is, a string cut to a readable length, else what kind it is.
  std::string found() const {
    if (value_->is_string()) return in_quotes(value_->get_ref<const std::string&>());
    if (value_->is_number() || value_->is_boolean() || value_->is_null()) return value_->dump();
    return value_->is_array() ? "an array" : "an object";
  }

  /// The error that this value is not what was `expected`.
  Error wrong(std::string expected) const {
    return input_error(path_, key_.empty() ? "wrong content" : fmt::format("wrong value of \"{}\"", key_),
                       found(), std::move(expected));
  }

 private:
  JsonNode(const nlohmann::json& value, std::string path, std::string key)
      : value_(&value), path_(std::move(path)), key_(std::move(key)) {}

  const nlohmann::json& object() const {
    if (!value_->is_object()) throw wrong("an object");
    return *value_;
  }

  JsonNode member(const std::string& name, const nlohmann::json& value) const {
    return {value, path_, joined(name)};
  }

  std::string joined(const std::string& name) const {
    const std::string shown_in_quotes = in_quotes(name);
    const std::string shown = shown_in_quotes.substr(1, shown_in_quotes.size() - 2);
    return key_.empty() ? shown : key_ + "." + shown;
  }

  const nlohmann::json* value_;
  std::string path_, key_;
};

}  // namespace eso
