// SPDX-License-Identifier: MIT
#pragma once

#include <toml++/toml.h>
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/error.hpp"

namespace eso_program {

template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;

/// The flags of a subcommand, once for the command line, for `--config FILE.toml` and for the `config.toml`
/// that repeats a run. A flag is `--name`; in a file it is `name = value`.
class FlagSet {
 public:
  /// Adds the flags to `app`, and `--config` with them.
  explicit FlagSet(CLI::App& app) : app_(&app) {
    config_option_ = app.add_option("--config", config_,
                                    "TOML file of flags without their dashes; a flag given here beats it");
    check<std::string>(*config_option_);
  }

  /// A flag with a value: text, a number or a list of them. Its default is what `value` holds.
  template <class T>
  CLI::Option* add(const std::string& name, T& value, const std::string& help) {
    CLI::Option* option = app_->add_option("--" + name, value, help);
    if constexpr (is_list<T>) {
      option->delimiter(',');
      check<typename T::value_type>(*option);
    } else {
      option->multi_option_policy(CLI::MultiOptionPolicy::Throw);
      check<T>(*option);
    }
    option->capture_default_str();
    flags_.push_back(
        {name, option, &value,
         [name, &value](const toml::node& node, const std::string& where) { read(node, where, value); },
         [&value] { return written(value); }});
    return option;
  }

  /// A flag without a value.
  CLI::Option* add_switch(const std::string& name, bool& value, const std::string& help) {
    CLI::Option* option = app_->add_flag("--" + name, value, help);
    flags_.push_back(
        {name, option, &value,
         [&value](const toml::node& node, const std::string& where) { read(node, where, value); },
         [&value] { return written(value); }});
    return option;
  }

  /// Takes what `--config` says, if it was given, for the flags that were not.
  ///
  /// \throws eso::Error (input) naming the file and the key or line.
  void read_config() {
    if (config_option_->count() > 0) read_config(config_, false);
  }
  void read_config(const std::filesystem::path& path, bool beats_flags);

  /// Whether the flag was given, on the command line or in a file.
  bool given(const std::string& name) const {
    for (const Flag& flag : flags_) {
      if (flag.name == name) return flag.from_file || flag.option->count() > 0;
    }
    return false;
  }

  /// Who chose the value of a flag, in the order in which they beat each other.
  enum class Source { nobody, file, command_line };

  /// Who chose its value. A file that gives the default chose nothing: the `config.toml` of a run names all
  /// flags.
  Source source(const std::string& name) const {
    for (const Flag& flag : flags_) {
      if (flag.name != name) continue;
      return flag.option->count() > 0 ? Source::command_line : flag.changed ? Source::file : Source::nobody;
    }
    return Source::nobody;
  }

  /// The flags that the command line holds.
  std::vector<std::string> on_command_line() const {
    std::vector<std::string> names;
    for (const Flag& flag : flags_) {
      if (flag.option->count() > 0) names.push_back(flag.name);
    }
    return names;
  }

  /// Gives a flag a value that is written as in TOML; it does not count as given.
  void set(const std::string& name, const std::string& value);

  /// The first flag that was given nowhere, if there is one.
  std::optional<std::string> missing() const {
    for (const Flag& flag : flags_) {
      if (!given(flag.name)) return flag.name;
    }
    return std::nullopt;
  }

  /// Calls `visit(name, address of the value, value as TOML)` for each flag.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const Flag& flag : flags_) visit(flag.name, flag.value, flag.write());
  }

  /// All flags with their values as TOML.
  std::string toml() const {
    std::string text;
    for (const Flag& flag : flags_) text += flag.name + " = " + flag.write() + "\n";
    return text;
  }

 private:
  struct Flag {
    std::string name;
    CLI::Option* option;
    const void* value;
    std::function<void(const toml::node&, const std::string&)> read;
    std::function<std::string()> write;
    bool from_file = false, changed = false;  // by the file: to another value than the default
  };

  /// Refuses what CLI11 lets through: an empty text (a number it takes for 0), blanks around a number, a sign
  /// on what has none, overflow, octal and hexadecimal spelling.
  template <class T>
  static void check(CLI::Option& option) {
    option.check([](const std::string& text) {
      if (text.empty()) return std::string("is empty");
      if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
        T value{};
        const char* last = text.data() + text.size();
        const auto [end, fault] = std::from_chars(text.data(), last, value);
        if (fault != std::errc() || end != last) {
          return fmt::format("{} is no {}, or out of range", text,
                             std::is_integral_v<T> ? "integer" : "number");
        }
      }
      return std::string();
    });
  }

  template <class T>
  static void read(const toml::node& node, const std::string& where, T& value) {
    if constexpr (is_list<T>) {
      value.clear();
      const toml::array* array = node.as_array();
      if (!array) {
        read(node, where, value.emplace_back());
        return;
      }
      for (const toml::node& element : *array) read(element, where, value.emplace_back());
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!node.is_boolean()) throw eso::input_error(where, "is not true or false");
      value = node.as_boolean()->get();
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (node.is_string()) {
        value = node.as_string()->get();
      } else if (node.is_number()) {  // `dropout = 0`: some flags take a word or a number
        value = node.is_integer() ? fmt::format("{}", node.as_integer()->get())
                                  : fmt::format("{}", node.as_floating_point()->get());
      } else {
        throw eso::input_error(where, "is not a string");
      }
    } else if constexpr (std::is_integral_v<T>) {
      if (node.is_string() && read_large(node.as_string()->get(), value)) return;
      if (!node.is_integer()) throw eso::input_error(where, "is not an integer");
      if (std::is_unsigned_v<T> && node.as_integer()->get() < 0) throw eso::input_error(where, "is negative");
      value = static_cast<T>(node.as_integer()->get());
    } else {
      if (!node.is_number()) throw eso::input_error(where, "is not a number");
      value = node.is_integer() ? static_cast<T>(node.as_integer()->get())
                                : static_cast<T>(node.as_floating_point()->get());
    }
  }

  /// Unsigned numbers that TOML's integers cannot hold stand as strings.
  template <class T>
  static bool read_large(const std::string& text, T& value) {
    const char* last = text.data() + text.size();
    const auto [end, fault] = std::from_chars(text.data(), last, value);
    return std::is_unsigned_v<T> && fault == std::errc() && end == last;
  }

  static std::string written(const std::string& value);
  static std::string written(bool value) { return value ? "true" : "false"; }
  template <class T>
    requires std::is_arithmetic_v<T>
  static std::string written(T value) {
    std::string text = fmt::format("{}", value);
    if constexpr (std::is_unsigned_v<T>) {
      if (value > static_cast<T>(std::numeric_limits<std::int64_t>::max())) return '"' + text + '"';
    }
    if (std::is_floating_point_v<T> && text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
  }
  template <class T>
  static std::string written(const std::vector<T>& values) {
    std::string text = "[";
    for (const T& value : values) text += (text.size() > 1 ? ", " : "") + written(value);
    return text + "]";
  }

  CLI::App* app_;
  CLI::Option* config_option_;
  std::string config_;
  std::vector<Flag> flags_;
};

/// What is wrong with a call, by the flag. `app` is what refused it, `command` how its help is asked for.
std::string what_is_wrong(const CLI::ParseError& error, const CLI::App& app, const std::string& command);

}  // namespace eso_program
