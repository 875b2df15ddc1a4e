// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// The merges of a byte pair encoding: which two adjacent tokens become which one, and in what order.
///
/// Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", algorithm 1.
class BpeMerges {
 public:
  /// What a pair becomes. The lowest rank goes first, the leftmost among equals.
  struct Merge {
    std::uint32_t rank = no_merge;
    TokenId merged = 0;
  };

  static constexpr std::uint32_t no_merge = std::numeric_limits<std::uint32_t>::max();

  /// Room for `count` merges.
  explicit BpeMerges(std::size_t count = 0) {
    std::size_t size = 16;
    while (size < 2 * count) size *= 2;
    slots_.resize(size);
  }

  /// Adds a merge; of two with the same pair the later one counts. No more than there is room for.
  void add(TokenId left, TokenId right, Merge merge) {
    Slot& slot = slots_[find(key_of(left, right))];
    slot = {key_of(left, right), merge};
  }

  /// What `left` and `right` become; rank `no_merge` if they stay apart.
  Merge of(TokenId left, TokenId right) const { return slots_[find(key_of(left, right))].merge; }

  /// Appends to `result` what is left of `word` when no merge applies any more. O(n^2) but quick for short
  /// words, O(n log n) for long ones.
  void apply(std::span<TokenId> word, Tokens& result) const {
    if (word.size() <= short_word) {
      apply_by_search(word, result);
    } else {
      apply_by_queue(word, result);
    }
  }

 private:
  struct Slot {
    std::uint64_t key = empty;
    Merge merge;
  };

  /// A merge that was possible when it was queued.
  struct Candidate {
    Merge merge;
    std::size_t left;
  };

  static constexpr std::uint64_t empty = std::numeric_limits<std::uint64_t>::max();  // ids are not negative
  static constexpr std::size_t short_word = 48;
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  static std::uint64_t key_of(TokenId left, TokenId right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }

  std::size_t find(std::uint64_t key) const {
    const std::uint64_t mixed = (key ^ key >> 29) * 0x9E3779B97F4A7C15U;
    std::size_t at = static_cast<std::size_t>(mixed ^ mixed >> 32) & (slots_.size() - 1);
    while (slots_[at].key != key && slots_[at].key != empty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  void apply_by_search(std::span<TokenId> word, Tokens& result) const {
    std::array<Merge, short_word> merges;  // merges[i] joins word[i] and word[i + 1]
    std::size_t size = word.size();
    for (std::size_t i = 0; i + 1 < size; ++i) merges[i] = of(word[i], word[i + 1]);
    while (size > 1) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 1 < size; ++i) {
        if (merges[i].rank < merges[best].rank) best = i;
      }
      if (merges[best].rank == no_merge) break;
      word[best] = merges[best].merged;
      --size;
      for (std::size_t i = best + 1; i < size; ++i) {
        word[i] = word[i + 1];
        merges[i - 1] = merges[i];
      }
      if (best + 1 < size) merges[best] = of(word[best], word[best + 1]);
      if (best > 0) merges[best - 1] = of(word[best - 1], word[best]);
    }
    result.insert(result.end(), word.begin(), word.begin() + static_cast<std::ptrdiff_t>(size));
  }

  void apply_by_queue(std::span<TokenId> word, Tokens& result) const {
    std::vector<std::size_t> next(word.size()), previous(word.size());
    for (std::size_t i = 0; i < word.size(); ++i) {
      next[i] = i + 1 < word.size() ? i + 1 : none;
      previous[i] = i > 0 ? i - 1 : none;
    }
    const auto later = [](const Candidate& a, const Candidate& b) {
      return a.merge.rank != b.merge.rank ? a.merge.rank > b.merge.rank : a.left > b.left;
    };
    std::priority_queue<Candidate, std::vector<Candidate>, decltype(later)> queue(later);
    const auto consider = [&](std::size_t left) {
      if (left == none || next[left] == none) return;
      const Merge merge = of(word[left], word[next[left]]);
      if (merge.rank != no_merge) queue.push({merge, left});
    };
    for (std::size_t i = 0; i + 1 < word.size(); ++i) consider(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      const std::size_t right = next[best.left];
      if (word[best.left] == gone || right == none) continue;
      if (of(word[best.left], word[right]).rank != best.merge.rank) continue;  // a neighbour changed since
      word[best.left] = best.merge.merged;
      word[right] = gone;
      next[best.left] = next[right];
      if (next[right] != none) previous[next[right]] = best.left;
      consider(previous[best.left]);
      consider(best.left);
    }
    for (const TokenId id : word) {
      if (id != gone) result.push_back(id);
    }
  }

  static constexpr TokenId gone = -1;

  std::vector<Slot> slots_;  // a power of two of them, at most half full
};

}  // namespace eso
