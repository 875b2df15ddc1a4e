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

#include "eso/data/lines.hpp"
#include "eso/error.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// Reads JSON lines: one object a line. Blank lines are skipped but counted, unknown fields are the caller's
/// to ignore, of two equal keys the last counts.
///
/// Everything that is wrong with a line is an `Error` (input) that starts with `PATH:LINE:`. Brackets nested
/// more than `depth_limit` deep are refused before anything is built from them. Costs about the memory of the
/// longest line a few times over.
class JsonLines {
 public:
  std::size_t depth_limit = 64;  ///< of arrays and objects within each other

  /// \throws Error as `LineReader` does.
  explicit JsonLines(const std::filesystem::path& path) : lines_(path) {}
  explicit JsonLines(std::istream& in, std::string name = "<stdin>") : lines_(in, std::move(name)) {}

  /// Goes to the next object; false at the end.
  ///
  /// \throws Error as `LineReader` does, and if the line is not JSON or not an object.
  bool next() {
    while (const auto line = lines_.next()) {
      if (line->find_first_not_of(" \t\r") == std::string_view::npos) continue;
      check_depth(*line);
      parse(*line);
      if (!object_.is_object())
        throw input_error(where(), "is no JSON object", kind_of(object_), "an object");
      return true;
    }
    return false;
  }

  /// The object of the line that `next` went to.
  const nlohmann::json& object() const { return object_; }

  /// Its place: `PATH:LINE`.
  std::string where() const { return lines_.where(); }

  /// Its 1-based line; after the end the number of lines, blank ones included.
  std::size_t number() const { return lines_.number(); }

  bool has(std::string_view field) const { return object_.find(field) != object_.end(); }

  /// The text of a field. \throws Error (input) if it is missing or no string.
  std::string string(std::string_view field) const {
    const nlohmann::json& value = at(field);
    if (!value.is_string()) throw wrong_type(field, value, "a string");
    return value.get<std::string>();
  }

  /// The text of a field, nothing if it is missing or null. \throws Error (input) if it is anything but a
  /// string.
  std::optional<std::string> optional_string(std::string_view field) const {
    const auto value = object_.find(field);
    if (value == object_.end() || value->is_null()) return std::nullopt;
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
    const auto value = object_.find(field);
    if (value == object_.end()) throw input_error(where(), fmt::format("field \"{}\" is missing", field));
    return *value;
  }

  Error wrong_type(std::string_view field, const nlohmann::json& value, std::string expected) const {
    return input_error(where(), fmt::format("field \"{}\" has the wrong type", field), kind_of(value),
                       std::move(expected));
  }

  void check_depth(std::string_view line) const {
    if (const auto at = first_nested_beyond(depth_limit, line)) {
      throw input_error(where(), fmt::format("JSON is nested too deep at byte {}", *at + 1), {},
                        fmt::format("at most {}", depth_limit));
    }
  }

  void parse(std::string_view line) {
    try {
      object_ = nlohmann::json::parse(line.begin(), line.end());
    } catch (const nlohmann::json::parse_error& error) {
      throw input_error(where(),
                        fmt::format("malformed JSON at byte {}: {}", error.byte, reason(error.what())));
    } catch (const nlohmann::json::out_of_range&) {
      throw input_error(where(), "a JSON number is out of range");
    }
  }

  /// The parser's own words without its prefix and without the text that it read, which may be the whole
  /// line.
  static std::string reason(std::string_view words) {
    words = words.substr(0, words.find("; last read"));
    const std::size_t dash = words.find(" - ");
    if (dash != std::string_view::npos) words.remove_prefix(dash + 3);
    return std::string(words.substr(0, 120));
  }

  LineReader lines_;
  nlohmann::json object_ = nlohmann::json::object();
};

}  // namespace eso
