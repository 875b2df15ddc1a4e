// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "eso/batch.hpp"

namespace eso {

/// A prompt and the response to it, as text.
struct TextExample {
  std::string prompt;
  std::string response;
  Index number = 0;        ///< 0-based line over all files, blank lines counted: the example's name in logs
  std::string where{};     ///< `PATH:LINE`, for errors
  bool pair = false;       ///< a preference pair: `response` is the better, `rejected` the worse of two
  std::string rejected{};  ///< of a pair, else empty
};

}  // namespace eso
