// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/example.hpp"
#include "eso/error.hpp"
#include "eso/random.hpp"

namespace eso {

/// Texts as windows for next-token training: shuffled by `seed` (or, without `shuffle`, as they come), joined
/// with `eos` behind each, and cut every `window` tokens. A shorter last window is kept if it has two tokens
/// or more.
///
/// A window is an `Example` whose prompt is its first token and whose target are the others, so its first
/// token is given, not predicted; `number` counts the windows. O(tokens).
///
/// \throws Error (input) if `window` is less than 2 or the texts give no window.
inline std::vector<Example> windows(std::span<const Tokens> texts, TokenId eos, Index window,
                                    std::uint64_t seed, bool shuffle = true) {
  require(window >= 2, "windows", "a window needs at least two tokens");
  const auto size = static_cast<std::size_t>(window);
  std::vector<Example> result;
  Tokens open;  // the tokens of the window being filled
  const auto close = [&] {
    Example example;
    example.prompt = {open.front()};
    example.target.assign(open.begin() + 1, open.end());
    example.number = static_cast<Index>(result.size());
    result.push_back(std::move(example));
    open.clear();
  };
  const auto append = [&](TokenId id) {
    open.push_back(id);
    if (open.size() == size) close();
  };
  // Sample 1 keeps this stream apart from those that order the epochs (see Batches).
  const std::vector<std::size_t> order =
      permutation(texts.size(), {.seed = seed, .purpose = Purpose::shuffling, .sample = 1});
  for (std::size_t n = 0; n < texts.size(); ++n) {
    const std::size_t i = shuffle ? order[n] : n;
    for (const TokenId id : texts[i]) append(id);
    append(eos);
  }
  if (open.size() >= 2) close();
  require(!result.empty(), "windows", "the texts have fewer than two tokens");
  return result;
}

}  // namespace eso
