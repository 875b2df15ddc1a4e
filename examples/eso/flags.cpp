// SPDX-License-Identifier: MIT
#include "flags.hpp"

#include <algorithm>

#include "eso/text/json_file.hpp"

namespace eso_program {

void FlagSet::read_config(const std::filesystem::path& path, bool beats_flags) {
  const std::string text = eso::read_file(path, std::size_t{16} << 20);
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
