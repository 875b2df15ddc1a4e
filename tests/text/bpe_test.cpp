// SPDX-License-Identifier: MIT
#include "eso/text/bpe.hpp"

#include <catch2/catch.hpp>
#include <cstddef>
#include <random>
#include <vector>

#include "eso/batch.hpp"

using eso::BpeMerges;
using eso::TokenId;
using eso::Tokens;

namespace {

Tokens merged(const BpeMerges& merges, Tokens word) {
  Tokens result;
  merges.apply(word, result);
  return result;
}

/// Algorithm 1 of Sennrich et al.: again and again the merge of lowest rank, at its leftmost place.
Tokens merged_by_definition(const BpeMerges& merges, Tokens word) {
  while (true) {
    std::size_t best = 0;
    BpeMerges::Merge merge;
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const BpeMerges::Merge here = merges.of(word[i], word[i + 1]);
      if (here.rank < merge.rank) merge = here, best = i;
    }
    if (merge.rank == BpeMerges::no_merge) return word;
    word[best] = merge.merged;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

}  // namespace

TEST_CASE("merges apply by rank, not from left to right", "[bpe]") {
  // a = 0, b = 1, c = 2; rank 0: b c -> 3; rank 1: a b -> 4; rank 2: 4 c -> 5; rank 3: a a -> 6
  BpeMerges merges(4);
  merges.add(1, 2, {.rank = 0, .merged = 3});
  merges.add(0, 1, {.rank = 1, .merged = 4});
  merges.add(4, 2, {.rank = 2, .merged = 5});
  merges.add(0, 0, {.rank = 3, .merged = 6});
  CHECK(merged(merges, {}) == Tokens{});
  CHECK(merged(merges, {2}) == Tokens{2});
  CHECK(merged(merges, {0, 1, 2}) == Tokens{0, 3});  // b c comes before a b
  CHECK(merged(merges, {0, 1, 0, 1, 2}) == Tokens{4, 0, 3});
  CHECK(merged(merges, {0, 0, 0}) == Tokens{6, 0});  // the leftmost of equals
  CHECK(merged(merges, {0, 0, 0, 1}) == Tokens{6, 4});
}

TEST_CASE("of two merges of one pair the later one counts", "[bpe]") {
  BpeMerges merges(2);
  merges.add(0, 1, {.rank = 0, .merged = 2});
  merges.add(0, 1, {.rank = 1, .merged = 3});
  CHECK(merged(merges, {0, 1}) == Tokens{3});
}

TEST_CASE("short and long words follow the definition", "[bpe]") {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    const std::size_t alphabet = 1 + random() % 4, count = 1 + random() % 30;
    BpeMerges merges(count);
    for (std::uint32_t rank = 0; rank < count; ++rank) {
      const auto known = static_cast<std::uint32_t>(alphabet) + rank;
      merges.add(static_cast<TokenId>(random() % known), static_cast<TokenId>(random() % known),
                 {.rank = rank, .merged = static_cast<TokenId>(known)});
    }
    for (const std::size_t length : {2U, 3U, 7U, 20U, 47U, 48U, 49U, 50U, 200U}) {
      Tokens word(length);
      for (TokenId& id : word) id = static_cast<TokenId>(random() % alphabet);
      CHECK(merged(merges, word) == merged_by_definition(merges, word));
    }
  }
}

TEST_CASE("a word of a million letters is merged", "[bpe]") {
  // a a -> 1, 1 1 -> 2, ..., 18 18 -> 19: token k is 2^k letters. 1,000,000 is 11110100001001000000 in
  // binary, and pairs are joined from the left, so what is left over at each level stands at the right.
  BpeMerges merges(19);
  for (TokenId id = 0; id < 19; ++id)
    merges.add(id, id, {.rank = static_cast<std::uint32_t>(id), .merged = id + 1});
  CHECK(merged(merges, Tokens(1000000, 0)) == Tokens{19, 18, 17, 16, 14, 9, 6});
}
