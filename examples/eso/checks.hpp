// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "eso/error.hpp"

namespace eso_program {

// What the values of flags must be. Each throws eso::Error (input) naming the flag.

/// One of these names; `later` are those that are meant to come.
inline void one_of(const char* flag, const std::string& value,
                   std::initializer_list<std::string_view> allowed,
                   std::initializer_list<std::string_view> later = {}) {
  for (const std::string_view name : later) {
    if (value == name)
      throw eso::input_error(flag, fmt::format("{} is not there yet", value), {},
                             fmt::format("{}", fmt::join(allowed, ", ")));
  }
  for (const std::string_view name : allowed) {
    if (value == name) return;
  }
  throw eso::input_error(flag, value.empty() ? "is required" : "unknown", value,
                         fmt::format("{}", fmt::join(allowed, ", ")));
}

inline void at_least(const char* flag, std::int64_t value, std::int64_t least) {
  if (value < least)
    throw eso::input_error(flag, "is too small", fmt::format("{}", value), fmt::format("at least {}", least));
}

inline void within(const char* flag, double value, bool holds, const char* range) {
  if (!holds || !std::isfinite(value))
    throw eso::input_error(flag, "is out of range", fmt::format("{}", value), range);
}
inline void not_negative(const char* flag, double value) {
  within(flag, value, value >= 0, "a finite number of at least 0");
}
inline void positive(const char* flag, double value) { within(flag, value, value > 0, "above 0"); }
inline void finite(const char* flag, double value) {
  if (!std::isfinite(value)) throw eso::input_error(flag, "is not finite");
}

}  // namespace eso_program
