// SPDX-License-Identifier: MIT
#include "report/numbers.hpp"

#include <fmt/format.h>

#include <cmath>

namespace eso_program {
namespace {

constexpr const char* dash = "–";
constexpr const char* minus = "−";

bool rounds_to_zero(double value, int decimals) { return std::abs(value) * std::pow(10.0, decimals) < 0.5; }

}  // namespace

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return dash;
  const std::string digits = fmt::format("{:.{}f}", std::abs(value), decimals);
  return value < 0 && !rounds_to_zero(value, decimals) ? minus + digits : digits;
}

std::string with_sign(double value, int decimals) {
  if (!std::isfinite(value)) return dash;
  return (value > 0 && !rounds_to_zero(value, decimals) ? "+" : "") + fixed(value, decimals);
}

std::string compact(double value) {
  if (!std::isfinite(value)) return dash;
  const double size = std::abs(value);
  if (size >= 1e15) return fmt::format("{:.2e}", value);
  if (size >= 1e9) return fixed(value / 1e9, size < 1e10 ? 2 : 1) + "G";
  if (size >= 1e6) return fixed(value / 1e6, size < 1e7 ? 2 : 1) + "M";
  if (size >= 1e4) return fixed(value / 1e3, 1) + "k";
  if (size == std::floor(size)) return fixed(value, 0);
  if (size >= 100) return fixed(value, 0);
  if (size >= 10) return fixed(value, 1);
  if (size >= 0.1) return fixed(value, 2);
  return fmt::format("{:.2g}", value);
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return dash;
  if (seconds < 10) return fixed(seconds, 1) + " s";
  if (seconds < 120) return fixed(seconds, 0) + " s";
  const double rounded = std::round(seconds);
  if (rounded < 7200)
    return fmt::format("{:.0f} min {:02.0f} s", std::floor(rounded / 60), std::fmod(rounded, 60));
  const double minutes = std::round(seconds / 60);
  return fmt::format("{:.0f} h {:02.0f} min", std::floor(minutes / 60), std::fmod(minutes, 60));
}

std::string decoding_name(double temperature) {
  if (!std::isfinite(temperature)) return dash;
  return temperature == 0 ? "greedy" : fmt::format("T={:g}", temperature);
}

std::string counted(double count, const std::string& noun) {
  return compact(count) + " " + noun + (count == 1 ? "" : "s");
}

}  // namespace eso_program
