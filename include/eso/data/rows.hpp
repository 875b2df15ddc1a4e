// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>

namespace eso {

/// Why a row that keeps to its format has nothing to learn from. Public data sets hold such rows.
enum class RowFault {
  empty_prompt,    ///< nothing but white space, or no token
  empty_response,  ///< the same of a response, of a pair either
  equal_pair,      ///< both responses of a pair are the same
  other_prompt,    ///< two transcripts do not answer the same prompt
  no_answer,       ///< a transcript has no turn of the assistant
};

/// The faults in words, in the order of `RowFault`: a row with ...
inline constexpr std::array<std::string_view, 5> row_fault_words = {
    "an empty prompt", "an empty response", "equal responses", "transcripts that answer different prompts",
    "a transcript that does not answer"};

/// The faults as names of counts, in the order of `RowFault`.
inline constexpr std::array<std::string_view, 5> row_fault_names = {
    "empty_prompt", "empty_response", "equal_pair", "other_prompt", "no_answer"};

/// How many rows were left out, by fault.
class DroppedRows {
 public:
  std::size_t& operator[](RowFault fault) { return counts_[static_cast<std::size_t>(fault)]; }
  std::size_t operator[](RowFault fault) const { return counts_[static_cast<std::size_t>(fault)]; }

  /// In the order of `RowFault`.
  const std::array<std::size_t, 5>& counts() const { return counts_; }

  std::size_t total() const {
    std::size_t sum = 0;
    for (const std::size_t count : counts_) sum += count;
    return sum;
  }

  DroppedRows& operator+=(const DroppedRows& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    return *this;
  }

  /// "2 with an empty prompt, 1 with equal responses"; empty if there are none.
  std::string text() const {
    std::string words;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0) continue;
      fmt::format_to(std::back_inserter(words), "{}{} with {}", words.empty() ? "" : ", ", counts_[i],
                     row_fault_words[i]);
    }
    return words;
  }

 private:
  std::array<std::size_t, 5> counts_{};
};

/// What becomes of rows with a `RowFault`.
enum class BadRows {
  drop,    ///< they are left out and counted
  refuse,  ///< the first is an error
};

/// How rows are gone through.
struct RowPolicy {
  BadRows bad = BadRows::drop;
  std::function<void()>
      between{};  ///< called before each line or row if there is one; what it throws ends the work
};

}  // namespace eso
