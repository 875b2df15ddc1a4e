// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <string>

#include "eso/batch.hpp"

namespace eso {

/// A prompt and the response to it, as text.
struct TextExample {
  std::string prompt;
  std::string response;
  Index number = 0;  ///< 0-based line over all files, blank lines counted: its name in logs
  std::shared_ptr<const std::string> file{};  ///< its file's name, one for all of a file; null: unknown
  std::size_t line = 0;                       ///< 1-based, in that file
  bool pair = false;           ///< a preference pair: `response` is the better, `rejected` the worse of two
  std::string rejected{};      ///< of a pair, else empty
  std::size_t input_at = 0;    ///< first byte of what may be shortened in `prompt`: the input in a template
  std::size_t input_size = 0;  ///< its bytes; 0: nothing may be
  bool keep_end = false;       ///< a prompt that is shortened at its beginning, and all of it may be

  /// Its place for errors: `PATH:LINE`.
  std::string where() const {
    return file ? fmt::format("{}:{}", *file, line) : fmt::format("example {}", number);
  }
};

}  // namespace eso
