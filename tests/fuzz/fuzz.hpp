// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/error.hpp"
#include "eso/text/utf8.hpp"

// What the fuzzers share. A fuzzer feeds bytes to the library: it may refuse them with an `eso::Error`, in
// one line of readable length, within a second of the processor's time; anything else is a finding and ends
// the process.

namespace fuzz {

/// A law of the library that must hold whatever the input.
inline void check(bool holds, const char* law) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken law: %s\n", law);
  std::abort();
}

/// What `action` returned, nothing where it threw an `eso::Error`. Other exceptions pass and end the process.
template <class Action>
auto attempt(const Action& action) -> std::optional<decltype(action())> {
  try {
    return action();
  } catch (const eso::Error& error) {
    const std::string_view line = error.what();
    check(line.find('\n') == std::string_view::npos, "an error is one line");
    check(line.size() <= 4096, "an error has a readable length");
    check(!eso::first_invalid_utf8(line), "an error is UTF-8");
    return std::nullopt;
  }
}

/// Ends the process if the processor's time from here to the end of its life is more than a second.
class QuickEnough {
 public:
  QuickEnough() = default;
  QuickEnough(const QuickEnough&) = delete;
  QuickEnough& operator=(const QuickEnough&) = delete;
  ~QuickEnough() { check(std::clock() - begin_ < CLOCKS_PER_SEC, "an input takes less than a second"); }

 private:
  std::clock_t begin_ = std::clock();
};

/// The bytes as a string; what is read beyond its end is seen.
inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The parts of an input, which the byte 0xFF separates (UTF-8 has none): `count` of them, empty where there
/// are fewer; the last one has all the rest.
inline std::vector<std::string_view> parts_of(std::string_view input, std::size_t count) {
  std::vector<std::string_view> parts(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = i + 1 < count ? input.find('\xFF') : std::string_view::npos;
    parts[i] = input.substr(0, end);
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  }
  return parts;
}

/// The one folder of the process for what must be a file.
inline const std::filesystem::path& folder() {
  static const TemporaryFolder folder;
  return folder.path();
}

}  // namespace fuzz
