// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <istream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/data/json_fields.hpp"
#include "eso/data/lines.hpp"
#include "eso/error.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// A line that holds a JSON object. Of two equal keys the last counts; unknown fields are the caller's to
/// ignore, whatever they hold.
///
/// Everything that is wrong with it is an `Error` (input) that starts with `PATH:LINE:`. O(bytes) for the
/// line; only the values that are asked for are built.
class JsonLine {
 public:
  std::size_t depth_limit = 64;  ///< of arrays and objects within each other in a value that is asked for

  /// Takes the line `number` of `name`, UTF-8; both must outlive what is asked of them. False if the
  /// line is blank.
  ///
  /// \throws Error if it is not JSON or not an object.
  bool read(std::string_view line, std::string_view name, std::size_t number) {
    name_ = name;
    number_ = number;
    const std::size_t start = line.find_first_not_of(" \t\r");
    if (start == std::string_view::npos) return false;
    const auto fault = fields_.read(line);
    if (!fault) return true;
    if (line[start] != '{') {
      const std::string found = kind_of_line(line.substr(start));
      throw input_error(where(), "is not a JSON object", found, "one JSON object per line");
    }
    const bool ended = fault->at == line.size();
    throw input_error(where(), fmt::format("malformed JSON at byte {}: {}", fault->at + 1, fault->what), {},
                      ended ? "one JSON object per line" : "");
  }

  /// Its place: `PATH:LINE`.
  std::string where() const { return fmt::format("{}:{}", name_, number_); }

  bool has(std::string_view field) const { return fields_.find(field) != nullptr; }

  /// Whether a field is missing or null.
  bool lacks(std::string_view field) const {
    const JsonFields::Field* const found = fields_.find(field);
    return found == nullptr || found->value == "null";
  }

  /// The text of a field as it is written, a string with its quotes. \throws Error (input) if it is missing.
  std::string_view written(std::string_view field) const { return at(field).value; }

  /// The value of a field.
  ///
  /// \throws Error (input) if it is missing, nested more than `depth_limit` deep, or holds a number that is
  ///         out of range or a surrogate without its partner.
  nlohmann::json value(std::string_view field) const {
    const std::string_view text = written(field);
    if (first_nested_beyond(depth_limit, text)) {
      throw input_error(where(), fmt::format("field \"{}\" is nested too deep", field), {},
                        fmt::format("at most {}", depth_limit));
    }
    try {
      return nlohmann::json::parse(text);
    } catch (const nlohmann::json::parse_error&) {
      throw lone_surrogate(field);
    } catch (const nlohmann::json::out_of_range&) {
      throw input_error(where(), fmt::format("field \"{}\" holds a number that is out of range", field));
    }
  }

  /// The text of a field. \throws Error (input) if it is missing, no string, or holds a surrogate without its
  /// partner.
  std::string string(std::string_view field) const {
    const JsonFields::Field& found = at(field);
    if (found.value[0] != '"') throw wrong_type(field, found.value, "a string");
    const std::string_view raw = found.value.substr(1, found.value.size() - 2);
    if (!found.escaped) return std::string(raw);
    std::optional<std::string> words = unescaped(raw);
    if (!words) throw lone_surrogate(field);
    return std::move(*words);
  }

  /// The text of a field, nothing if it is missing or null. \throws Error (input) if it is anything but a
  /// string.
  std::optional<std::string> optional_string(std::string_view field) const {
    if (lacks(field)) return std::nullopt;
    return string(field);
  }

  /// The token ids of a field, an array of integers from 0 to 2^31 - 1, possibly empty.
  ///
  /// \throws Error (input) if it is missing or anything else; 1.0 is no integer.
  std::vector<std::int32_t> ids(std::string_view field) const {
    const std::string_view text = written(field);
    if (text[0] != '[') throw wrong_type(field, text, "an array of token ids");
    std::vector<std::int32_t> result;
    if (only_ids(text, result)) return result;
    result.clear();
    const nlohmann::json values = value(field);  // to say what is wrong
    for (const nlohmann::json& value : values) {
      const bool fits = value.is_number_unsigned() &&
                        value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int32_t>::max()};
      if (!fits) {
        throw input_error(where(), fmt::format("field \"{}\" holds no token id at {}", field, result.size()),
                          value.is_number() ? value.dump() : kind_of(value.dump()),
                          "an integer from 0 to 2147483647");
      }
      result.push_back(value.get<std::int32_t>());
    }
    return result;
  }

  /// What kind of value a JSON text is, for messages: "a string", "null".
  static std::string kind_of(std::string_view json) {
    switch (json[0]) {
      case '{':
        return "an object";
      case '[':
        return "an array";
      case '"':
        return "a string";
      case 'n':
        return "null";
      default:
        return json[0] == 't' || json[0] == 'f' ? "a boolean" : "a number";
    }
  }

 private:
  /// Reads an array of token ids and nothing else; false if it is another.
  static bool only_ids(std::string_view array, std::vector<std::int32_t>& ids) {
    const char* at = array.data() + 1;
    const char* const end = array.data() + array.size();
    const auto next = [&] {
      at = std::find_if(at, end, [](char c) { return c != ' ' && c != '\t' && c != '\r' && c != '\n'; });
      return *at;
    };
    for (char c = next(); c != ']'; c = next()) {
      if (c == ',') ++at, c = next();
      std::int32_t id = 0;
      const auto [behind, fault] = std::from_chars(at, end, id);
      if (c == '-' || fault != std::errc()) return false;
      at = behind;
      if (next() != ',' && *at != ']') return false;
      ids.push_back(id);
    }
    return true;
  }

  const JsonFields::Field& at(std::string_view field) const {
    const JsonFields::Field* const found = fields_.find(field);
    if (found == nullptr) throw input_error(where(), fmt::format("field \"{}\" is missing", field));
    return *found;
  }

  Error wrong_type(std::string_view field, std::string_view value, std::string expected) const {
    return input_error(where(), fmt::format("field \"{}\" has the wrong type", field), kind_of(value),
                       std::move(expected));
  }

  Error lone_surrogate(std::string_view field) const {
    return input_error(where(), fmt::format("field \"{}\" holds a surrogate without its partner", field));
  }

  /// What a line is that does not begin with a brace.
  static std::string kind_of_line(std::string_view line) {
    if (line[0] == '[' || JsonFields().is_value(line)) return kind_of(line);
    if (line[0] == '<') return "a web page or XML";
    if (line.starts_with("version https://git-lfs.github.com/")) return "a Git LFS pointer";
    if (line.find('\t') != std::string_view::npos) return "text as in a table with tabs (TSV)";
    if (line.find(',') != std::string_view::npos) return "text as in a table with commas (CSV)";
    return "text that is not JSON";
  }

  std::string_view name_;
  std::size_t number_ = 0;
  JsonFields fields_;
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

  std::function<void()> between{};  ///< called before each line if there is one; what it throws ends reading

  /// Goes to the next object; false at the end.
  ///
  /// \throws Error as `LineReader` does, and if the line is not JSON or not an object.
  bool next() {
    while (const auto line = lines_.next()) {
      if (between) between();
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
