// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "eso/text/printable.hpp"

namespace eso {

/// Whose fault an `Error` is, which decides the exit code of a program.
enum class Fault {
  input,   ///< the caller's: an argument, a file's content, a broken precondition (exit code 2)
  system,  ///< the machine's: a full disk, a file that cannot be read or written (exit code 1)
};

/// The one exception of the library: one line that names the place, what is wrong, what was found there and
/// what was expected.
///
/// `where` is a file (`PATH`, `PATH:LINE`), a flag, a tensor or a function with its argument.
class Error : public std::runtime_error {
 public:
  Error(Fault fault, std::string where, std::string what, std::string found = {}, std::string expected = {})
      : std::runtime_error(line(where, what, found, expected)),
        fault_(fault),
        where_(std::move(where)),
        found_(std::move(found)),
        expected_(std::move(expected)) {}

  Fault fault() const noexcept { return fault_; }
  const std::string& where() const noexcept { return where_; }
  const std::string& found() const noexcept { return found_; }
  const std::string& expected() const noexcept { return expected_; }

 private:
  static std::string line(const std::string& where, const std::string& what, const std::string& found,
                          const std::string& expected) {
    // A hostile name must not break the one line, nor reach the terminal, nor fill it.
    const auto shown = [](const std::string& part, std::size_t limit) {
      std::string one = cut_middle(part, limit);
      for (char& c : one) c = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
      return printable(one);
    };
    std::string text = fmt::format("{}: {}", shown(where, 500), shown(what, 500));
    if (!found.empty()) text += fmt::format(", found {}", shown(found, 120));
    if (!expected.empty()) text += fmt::format(", expected {}", shown(expected, 300));
    return text;
  }

  Fault fault_;
  std::string where_, found_, expected_;
};

/// An `Error` about the input or a precondition.
[[nodiscard]] inline Error input_error(std::string where, std::string what, std::string found = {},
                                       std::string expected = {}) {
  return {Fault::input, std::move(where), std::move(what), std::move(found), std::move(expected)};
}

/// An `Error` about the machine: `what` followed by the system's own words for `error_number`.
[[nodiscard]] inline Error system_error(std::string where, std::string_view what, int error_number = errno) {
  return {Fault::system, std::move(where),
          fmt::format("{}: {}", what, std::generic_category().message(error_number))};
}

/// An `Error` about a file that cannot be opened: about the machine where that lacks memory or descriptors or cannot
/// read, else about the input.
[[nodiscard]] inline Error open_error(std::string where, int error_number = errno) {
  const std::error_code code(error_number, std::generic_category());
  const bool machine = code == std::errc::too_many_files_open || code == std::errc::io_error ||
                       code == std::errc::too_many_files_open_in_system ||
                       code == std::errc::not_enough_memory;
  return {machine ? Fault::system : Fault::input, std::move(where), "cannot be opened: " + code.message()};
}

/// Throws an input `Error` unless `holds`. The message is only built when it does not.
inline void require(bool holds, std::string_view where, std::string_view what) {
  if (!holds) throw input_error(std::string(where), std::string(what));
}

}  // namespace eso
