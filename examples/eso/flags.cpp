// SPDX-License-Identifier: MIT
#include "flags.hpp"

#include <algorithm>
#include <string_view>

#include "eso/text/json_file.hpp"

namespace eso_program {
namespace {

/// What `text`, which begins with a quote, takes up to the end of the string.
std::size_t quoted_length(std::string_view text) {
  const std::string_view mark = text.substr(0, 1);
  const bool long_one = text.size() > 2 && text[1] == text[0] && text[2] == text[0];
  for (std::size_t i = long_one ? 3 : 1; i < text.size(); ++i) {
    if (text[i] == '\\' && mark == "\"") {
      ++i;
    } else if (long_one ? text.substr(i, 3) == text.substr(0, 3) : text[i] == text[0] || text[i] == '\n') {
      return i + (long_one ? 3 : 1);
    }
  }
  return text.size();
}

/// Flags need a list at most. The parser would build a table for each part of a key and exhaust the stack
/// when it takes them down.
///
/// \throws eso::Error (input) naming file and line for a key of more than 8 parts or brackets deeper than 8.
void check_toml_depth(std::string_view text, const std::string& path) {
  constexpr int most = 8;
  int parts = 1, depth = 0;
  std::size_t line = 1;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      const std::size_t length = quoted_length(text.substr(i));
      line +=
          static_cast<std::size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(i),
                                              text.begin() + static_cast<std::ptrdiff_t>(i + length), '\n'));
      i += length - 1;
      continue;
    }
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size()) - 1;
      continue;
    }
    const bool opens = c == '[' || c == '{', closes = c == ']' || c == '}';
    if (c == '.' && ++parts > most)
      throw eso::input_error(fmt::format("{}:{}", path, line),
                             fmt::format("a key has more than {} parts", most));
    if (opens && ++depth > most)
      throw eso::input_error(fmt::format("{}:{}", path, line),
                             fmt::format("brackets nest deeper than {}", most));
    if (closes && depth > 0) --depth;
    if (opens || closes || c == '=' || c == ',' || c == '\n') parts = 1;
    if (c == '\n') ++line;
  }
}

}  // namespace

void FlagSet::read_config(const std::filesystem::path& path, bool beats_flags) {
  const std::string text = eso::read_file(path, std::size_t{16} << 20);
  check_toml_depth(text, path.string());
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw eso::input_error(fmt::format("{}:{}", path.string(), error.source().begin.line),
                           std::string(error.description()));
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const std::string where = fmt::format("{}: {}", path.string(), name);
    const auto flag =
        std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) { return f.name == name; });
    if (flag == flags_.end()) throw eso::input_error(where, "is no flag of this command");
    if (flag->option->count() > 0 && !beats_flags) continue;
    const std::string before = flag->write();
    flag->read(node, where);
    flag->from_file = true;
    flag->changed = flag->write() != before;
  }
}

void FlagSet::set(const std::string& name, const std::string& value) {
  const auto flag = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& f) { return f.name == name; });
  eso::require(flag != flags_.end(), "FlagSet::set", "no flag of this name");
  const toml::table table = toml::parse("value = " + value);
  flag->read(*table.get("value"), name);
}

std::string FlagSet::written(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      text += fmt::format("\\u{:04X}", static_cast<int>(c));
    } else {
      text += c;
    }
  }
  return text + "\"";
}

std::string what_is_wrong(const CLI::ParseError& error, const CLI::App& app, const std::string& command) {
  const std::vector<std::string> rest = app.remaining(true);
  // CLI11's own words turn the arguments round: the value of an unknown flag stands before it.
  if (dynamic_cast<const CLI::ExtrasError*>(&error) == nullptr || rest.empty()) return error.what();
  const std::string& first = rest.front();
  if (!first.starts_with('-')) return fmt::format("{} is not expected", eso::in_quotes(first));
  const std::string flag = eso::in_quotes(first.substr(0, first.find('=')));
  return fmt::format("{}: no such flag; {} --help lists them", flag.substr(1, flag.size() - 2), command);
}

}  // namespace eso_program
