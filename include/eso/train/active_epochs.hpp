// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "eso/batch.hpp"

namespace eso {

/// The epochs in which the method beside SFT is on: all, unless told otherwise. The paper: the last ("only
/// during the final epoch").
struct ActiveEpochs {
  Index first = 0;  ///< 0-based; negative counts from the end: -1 is the last
  Index end = 0;    ///< 0-based, exclusive; 0 or negative counts from the end: 0 is after the last

  static ActiveEpochs last() { return {-1, 0}; }
  static ActiveEpochs never() { return {std::numeric_limits<Index>::max(), 0}; }
  static ActiveEpochs all() { return {0, 0}; }
  static ActiveEpochs all_but_last() { return {0, -1}; }
  static ActiveEpochs from(Index epoch) { return {epoch, 0}; }  ///< 0-based

  /// Whether the 0-based `epoch` of `epochs` is active.
  bool operator()(Index epoch, Index epochs) const {
    const Index begin = first < 0 ? epochs + first : first, stop = end <= 0 ? epochs + end : end;
    return epoch >= begin && epoch < stop;
  }
};

/// `last`, `all`, `all-but-last` or `from:E`, E counted from 1.
///
/// \throws Error (input) for anything else.
inline ActiveEpochs active_epochs_named(std::string_view name) {
  if (name == "last") return ActiveEpochs::last();
  if (name == "all") return ActiveEpochs::all();
  if (name == "all-but-last") return ActiveEpochs::all_but_last();
  if (name.starts_with("from:")) {
    const std::string_view digits = name.substr(5);
    int epoch = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), epoch);
    if (result.ec == std::errc{} && result.ptr == digits.data() + digits.size() && epoch >= 1) {
      return ActiveEpochs::from(epoch - 1);
    }
  }
  throw input_error("--active-epochs", "unknown", std::string(name),
                    "last, all, all-but-last or from:E with E from 1");
}

}  // namespace eso
