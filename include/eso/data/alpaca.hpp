// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace eso {

/// What each prompt of `alpaca_prompt` ends with.
inline constexpr std::string_view alpaca_end = "\n\n### Response:\n";

/// The prompt of an instruction with its input, which may be empty: ends with "### Response:\n".
///
/// Source: Stanford Alpaca's two templates, as MiniLLM and the ESO paper's code use them.
inline std::string alpaca_prompt(std::string_view instruction, std::string_view input) {
  if (input.empty()) {
    return fmt::format(
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\n{}{}",
        instruction, alpaca_end);
  }
  return fmt::format(
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### "
      "Input:\n{}{}",
      instruction, input, alpaca_end);
}

}  // namespace eso
