// SPDX-License-Identifier: MIT
#pragma once

#include <limits>
#include <string>

namespace eso_program {

/// A figure that a file does not hold; printed as a dash, skipped in plots.
constexpr double missing = std::numeric_limits<double>::quiet_NaN();

/// `value` with `decimals` digits after the point and a true minus sign; "–" for a non-finite value.
std::string fixed(double value, int decimals);

/// As `fixed`, with a plus sign before positive values.
std::string with_sign(double value, int decimals);

/// Three significant digits or so for a key figure: 12, 3.42, 0.00051, 18.2k, 7.4M.
std::string compact(double value);

/// Seconds as "42 s", "12 min 05 s" or "3 h 20 min".
std::string duration(double seconds);

/// A temperature as "greedy" (0) or "T=0.5".
std::string decoding_name(double temperature);

/// `count` and `noun` with a plural s where the count is not one: "1 step", "12 steps".
std::string counted(double count, const std::string& noun);

}  // namespace eso_program
