// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <istream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/data/flat_json.hpp"
#include "eso/data/lines.hpp"
#include "eso/error.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// A line that holds a JSON object. Of two equal keys the last counts; unknown fields are the caller's to
/// ignore.
///
/// Everything that is wrong with it is an `Error` (input) that starts with `PATH:LINE:`. Brackets nested more
/// than `depth_limit` deep are refused before anything is built from them. Costs about the memory of the
/// longest line a few times over.
class JsonLine {
 public:
  std::size_t depth_limit = 64;  ///< of arrays and objects within each other

  /// Takes the line `number` of `name`, UTF-8; both must outlive what is asked of them. False if the
  /// line is blank.
  ///
  /// \throws Error if it is not JSON or not an object.
  bool read(std::string_view line, std::string_view name, std::size_t number) {
    line_ = line;
    name_ = name;
    number_ = number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return false;
    parsed_ = false;
    flat_ = strings_.read(line);
    if (!flat_) parse();
    return true;
  }

  /// The object.
  const nlohmann::json& object() const {
    if (!parsed_) parse();
    return object_;
  }

  /// Its place: `PATH:LINE`.
  std::string where() const { return fmt::format("{}:{}", name_, number_); }

  bool has(std::string_view field) const {
    return flat_ ? strings_.find(field) != nullptr : object().find(field) != object().end();
  }

  /// The text of a field. \throws Error (input) if it is missing or no string.
  std::string string(std::string_view field) const {
    if (const std::string* text = flat_ ? strings_.find(field) : nullptr) return *text;
    const nlohmann::json& value = at(field);
    if (!value.is_string()) throw wrong_type(field, value, "a string");
    return value.get<std::string>();
  }

  /// The text of a field, nothing if it is missing or null. \throws Error (input) if it is anything but a
  /// string.
  std::optional<std::string> optional_string(std::string_view field) const {
    if (!has(field) || (!flat_ && object().find(field)->is_null())) return std::nullopt;
    return string(field);
  }

  /// The token ids of a field, an array of integers from 0 to 2^31 - 1, possibly empty.
  ///
  /// \throws Error (input) if it is missing or anything else; 1.0 is no integer.
  std::vector<std::int32_t> ids(std::string_view field) const {
    const nlohmann::json& values = at(field);
    if (!values.is_array()) throw wrong_type(field, values, "an array of token ids");
    std::vector<std::int32_t> result;
    result.reserve(values.size());
    for (const nlohmann::json& value : values) {
      const bool fits = value.is_number_unsigned() &&
                        value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int32_t>::max()};
      if (!fits) {
        throw input_error(where(), fmt::format("field \"{}\" holds no token id at {}", field, result.size()),
                          value.is_number() ? value.dump() : kind_of(value),
                          "an integer from 0 to 2147483647");
      }
      result.push_back(value.get<std::int32_t>());
    }
    return result;
  }

  /// What kind of JSON value this is, for messages: "a string", "null".
  static std::string kind_of(const nlohmann::json& value) {
    if (value.is_array() || value.is_object()) return fmt::format("an {}", value.type_name());
    return value.is_null() ? "null" : fmt::format("a {}", value.type_name());
  }

 private:
  const nlohmann::json& at(std::string_view field) const {
    const auto value = object().find(field);
    if (value == object().end()) throw input_error(where(), fmt::format("field \"{}\" is missing", field));
    return *value;
  }

  Error wrong_type(std::string_view field, const nlohmann::json& value, std::string expected) const {
    return input_error(where(), fmt::format("field \"{}\" has the wrong type", field), kind_of(value),
                       std::move(expected));
  }

  void parse() const {
    if (const auto at = first_nested_beyond(depth_limit, line_)) {
      throw input_error(where(), fmt::format("JSON is nested too deep at byte {}", *at + 1), {},
                        fmt::format("at most {}", depth_limit));
    }
    try {
      object_ = nlohmann::json::parse(line_.begin(), line_.end());
    } catch (const nlohmann::json::parse_error& error) {
      throw input_error(where(),
                        fmt::format("malformed JSON at byte {}: {}", error.byte, reason(error.what())));
    } catch (const nlohmann::json::out_of_range&) {
      throw input_error(where(), "a JSON number is out of range");
    }
    if (!object_.is_object()) throw input_error(where(), "is no JSON object", kind_of(object_), "an object");
    parsed_ = true;
  }

  /// The parser's own words without its prefix and without the text that it read, which may be the whole
  /// line.
  static std::string reason(std::string_view words) {
    words = words.substr(0, words.find("; last read"));
    const std::size_t dash = words.find(" - ");
    if (dash != std::string_view::npos) words.remove_prefix(dash + 3);
    return std::string(words.substr(0, 120));
  }

  std::string_view line_;
  std::string_view name_;
  std::size_t number_ = 0;
  FlatJson strings_;
  bool flat_ = false;  // `strings_` holds the line
  mutable bool parsed_ = true;
  mutable nlohmann::json object_ = nlohmann::json::object();
};

/// Reads JSON lines: one object a line. Blank lines are skipped but counted.
///
/// What can be asked of the line that `next` went to is that of `JsonLine`.
class JsonLines : public JsonLine {
 public:
  /// \throws Error as `LineReader` does.
  explicit JsonLines(const std::filesystem::path& path) : lines_(path) {}
  explicit JsonLines(std::istream& in, std::string name = "<stdin>") : lines_(in, std::move(name)) {}
  JsonLines(JsonLines&&) = delete;  // a line refers to the name of its reader

  /// Goes to the next object; false at the end.
  ///
  /// \throws Error as `LineReader` does, and if the line is not JSON or not an object.
  bool next() {
    while (const auto line = lines_.next()) {
      if (read(*line, lines_.name(), lines_.number())) return true;
    }
    return false;
  }

  /// Its 1-based line; after the end the number of lines, blank ones included.
  std::size_t number() const { return lines_.number(); }

 private:
  LineReader lines_;
};

}  // namespace eso
