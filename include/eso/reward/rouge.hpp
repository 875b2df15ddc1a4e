// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "eso/error.hpp"
#include "eso/reward/rouge_words.hpp"

namespace eso {

/// How well a prediction covers a target. All in [0, 1], 0 where nothing can match.
struct RougeScore {
  double precision = 0;  ///< matches / length of the prediction
  double recall = 0;     ///< matches / length of the target
  double f1 = 0;         ///< 2 precision recall / (precision + recall), 0 if both are 0
  bool operator==(const RougeScore&) const = default;
};

/// The three scores of one pair of texts.
struct RougeScores {
  RougeScore rouge1;  ///< common words
  RougeScore rouge2;  ///< common pairs of neighbouring words
  RougeScore rougeL;  ///< longest common subsequence of words
  bool operator==(const RougeScores&) const = default;
};

/// Which of the scores.
enum class RougeVariant { rouge1, rouge2, rougeL };

/// The variant called `name` ("rouge1", "rouge2", "rougeL"), none for every other name.
inline std::optional<RougeVariant> rouge_variant(std::string_view name) {
  if (name == "rouge1") return RougeVariant::rouge1;
  if (name == "rouge2") return RougeVariant::rouge2;
  if (name == "rougeL") return RougeVariant::rougeL;
  return std::nullopt;
}

/// Numbers pairs (value, context) 1, 2, 3 ... in the order of their first appearance; 0 is nobody's number.
///
/// A chain of pairs names a sequence exactly: a long word by its pieces of eight letters, an n-gram by its
/// words.
class PairNumbers {
 public:
  explicit PairNumbers(std::size_t expected)
      : slots_(std::bit_ceil(std::max<std::size_t>(2 * expected, 16))) {}

  /// The number of the pair, a new one if there was none.
  std::uint32_t number(std::uint64_t value, std::uint32_t context) {
    Slot* slot = &slots_[position(value, context)];
    if (slot->number != 0) return slot->number;
    *slot = {value, context, ++count_};
    if (2 * std::size_t{count_} > slots_.size()) grow();
    return count_;
  }

  /// The number of the pair, 0 if it has none.
  std::uint32_t find(std::uint64_t value, std::uint32_t context) const {
    return slots_[position(value, context)].number;
  }

  /// How many pairs have a number.
  std::uint32_t count() const { return count_; }

 private:
  struct Slot {
    std::uint64_t value = 0;
    std::uint32_t context = 0;
    std::uint32_t number = 0;
  };

  /// Where the pair stands, or the free slot where it would.
  std::size_t position(std::uint64_t value, std::uint32_t context) const {
    std::uint64_t hash = (value ^ (context * 0x9E3779B97F4A7C15U)) * 0xD6E8FEB86659FD93U;
    hash = (hash ^ (hash >> 32)) * 0xD6E8FEB86659FD93U;
    std::size_t at = (hash ^ (hash >> 32)) & (slots_.size() - 1);
    while (slots_[at].number != 0 && (slots_[at].value != value || slots_[at].context != context)) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.number != 0) slots_[position(slot.value, slot.context)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::uint32_t count_ = 0;
};

/// The length of the longest common subsequence of two sequences of numbers below `bound`.
///
/// Bit-parallel: O(ceil(n / 64) m) steps for sequences of n and m numbers, O(n + m + bound) memory.
///
/// Source: Hyyro 2004, "Bit-parallel LCS-length computation revisited", AWOCA 2004. A bit of `row` stands for
/// a position of the longer sequence and is 0 where the length grows by one.
class CommonSubsequence {
 public:
  static std::size_t length(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b,
                            std::uint32_t bound) {
    const auto longer = a.size() < b.size() ? b : a;
    const auto shorter = a.size() < b.size() ? a : b;
    if (shorter.empty()) return 0;
    if (longer.size() <= 64) return blocks<1>(longer, shorter, bound);
    if (longer.size() <= 128) return blocks<2>(longer, shorter, bound);
    return blocks<4>(longer, shorter, bound);
  }

 private:
  template <std::size_t words>
  using Bits = std::array<std::uint64_t, words>;

  /// Goes over the longer sequence in blocks of 64 * words positions; `carry` takes the carries of the
  /// addition, one for each number of the shorter one, from block to block.
  template <std::size_t words>
  static std::size_t blocks(std::span<const std::uint32_t> longer, std::span<const std::uint32_t> shorter,
                            std::uint32_t bound) {
    std::vector<Bits<words>> places(bound, Bits<words>{});
    std::vector<std::uint8_t> carry(shorter.size());
    std::size_t length = 0;
    for (std::size_t begin = 0; begin < longer.size(); begin += 64 * words) {
      const auto block = longer.subspan(begin, std::min(64 * words, longer.size() - begin));
      for (std::size_t i = 0; i < block.size(); ++i) {
        places[block[i]][i / 64] |= std::uint64_t{1} << (i % 64);
      }
      length += one_block<words>(shorter, places, carry);
      for (const std::uint32_t number : block) places[number] = {};
    }
    return length;
  }

  template <std::size_t words>
  static std::size_t one_block(std::span<const std::uint32_t> shorter, const std::vector<Bits<words>>& places,
                               std::vector<std::uint8_t>& carries) {
    Bits<words> row;
    row.fill(~std::uint64_t{0});
    for (std::size_t j = 0; j < shorter.size(); ++j) {
      const Bits<words>& place = places[shorter[j]];
      std::uint64_t carry = carries[j];
      for (std::size_t w = 0; w < words; ++w) {
        const std::uint64_t match = row[w] & place[w];
        const std::uint64_t sum = row[w] + match + carry;
        const std::uint64_t kept = row[w] - match;
        carry = (match | (row[w] & ~sum)) >> 63;
        row[w] = sum | kept;
      }
      carries[j] = static_cast<std::uint8_t>(carry);
    }
    std::size_t length = 0;
    for (const std::uint64_t bits : row) length += static_cast<std::size_t>(std::popcount(~bits));
    return length;
  }
};

/// A target and a prediction, cut into words once, ready for every variant.
class RougePair {
 public:
  /// O(bytes). A `cache` of stems makes many pairs faster and changes nothing.
  /// \throws Error if a text is 4 GiB long or longer.
  RougePair(std::string_view target, std::string_view prediction, bool stemmer = false,
            StemCache* cache = nullptr) {
    RougeWords target_words(target, stemmer);
    RougeWords prediction_words(prediction, stemmer);
    PairNumbers numbers(target_words.size_in_bytes() / 8);
    target_.reserve(target_words.size_in_bytes() / 4);
    prediction_.reserve(prediction_words.size_in_bytes() / 4);
    target_words.visit_once(
        [&](std::string_view word) {
          target_.push_back(chain(word, [&](std::uint64_t piece, std::uint32_t before) {
            return numbers.number(piece, before);
          }));
        },
        cache);
    prediction_words.visit_once(
        [&](std::string_view word) {
          prediction_.push_back(chain(
              word, [&](std::uint64_t piece, std::uint32_t before) { return numbers.find(piece, before); }));
        },
        cache);
    bound_ = numbers.count() + 1;
    std::vector<std::uint8_t> predicted(bound_);
    for (const std::uint32_t number : prediction_) predicted[number] = 1;
    predicted[0] = 0;
    for (std::uint32_t& number : target_) number *= predicted[number];
  }

  /// ROUGE-N: common n-grams, each counted as often as it stands in both texts. O(words * n).
  ///
  ///     precision = common / n-grams of the prediction,  recall = common / n-grams of the target
  ///
  /// A text of fewer than n words has no n-grams and scores 0.
  ///
  /// Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 2; rouge_score
  /// 0.1.2.
  /// \throws Error if n is 0.
  RougeScore rouge_n(std::size_t n) const {
    require(n > 0, "rouge_n, argument n", "n is 0, but an n-gram has at least one word");
    const std::size_t target_grams = target_.size() - std::min(target_.size(), n - 1);
    const std::size_t prediction_grams = prediction_.size() - std::min(prediction_.size(), n - 1);
    if (target_grams == 0 || prediction_grams == 0) return {};
    if (n == 1) return score(common(target_, prediction_, bound_), target_grams, prediction_grams);
    std::uint32_t bound = bound_;
    std::vector<std::uint32_t> target = target_, prediction = prediction_;
    for (std::size_t k = 1; k < n; ++k) bound = lengthen(target, prediction, k);
    return score(common(target, prediction, bound), target_grams, prediction_grams);
  }

  /// ROUGE-L: the longest common subsequence of the words; line ends mean nothing. O(target * prediction /
  /// 64) for the words that stand in both texts.
  ///
  ///     precision = length / words of the prediction,  recall = length / words of the target
  ///
  /// Source: Lin 2004, section 3.1; rouge_score 0.1.2.
  RougeScore rouge_l() const {
    if (target_.empty() || prediction_.empty()) return {};
    const std::vector<std::uint32_t> target = shared(target_), prediction = shared(prediction_);
    return score(CommonSubsequence::length(target, prediction, bound_), target_.size(), prediction_.size());
  }

  RougeScore variant(RougeVariant which) const {
    if (which == RougeVariant::rougeL) return rouge_l();
    return rouge_n(which == RougeVariant::rouge1 ? 1 : 2);
  }

 private:
  /// The number of a word: that of its last piece of eight letters after the pieces before, 0 if `number_of`
  /// knows one of them not.
  template <class NumberOf>
  static std::uint32_t chain(std::string_view word, NumberOf number_of) {
    std::uint32_t number = 0;
    for (; word.size() > 8; word.remove_prefix(8)) {
      number = number_of(RougeWords::pack(word.data()), number);
      if (number == 0) return 0;
    }
    const std::uint64_t unused = 8 * (8 - word.size());
    return number_of((RougeWords::pack(word.data()) << unused) >> unused, number);
  }

  /// The numbers that are not 0. Without branches, which could not be predicted here.
  static std::vector<std::uint32_t> shared(const std::vector<std::uint32_t>& numbers) {
    std::vector<std::uint32_t> kept(numbers.size());
    std::size_t count = 0;
    for (const std::uint32_t number : numbers) {
      kept[count] = number;
      count += static_cast<std::size_t>(number != 0);
    }
    kept.resize(count);
    return kept;
  }

  /// Makes k-grams into (k + 1)-grams, numbered anew, 0 for those that are not in both texts. Returns the
  /// bound.
  std::uint32_t lengthen(std::vector<std::uint32_t>& target, std::vector<std::uint32_t>& prediction,
                         std::size_t k) const {
    PairNumbers numbers(target.size() / 2);
    target.pop_back();
    for (std::size_t i = 0; i < target.size(); ++i) {
      const std::uint32_t next = target_[i + k];
      target[i] = target[i] != 0 && next != 0 ? numbers.number(next, target[i]) : 0;
    }
    prediction.pop_back();
    for (std::size_t i = 0; i < prediction.size(); ++i) {
      const std::uint32_t next = prediction_[i + k];
      prediction[i] = prediction[i] != 0 && next != 0 ? numbers.find(next, prediction[i]) : 0;
    }
    return numbers.count() + 1;
  }

  /// The sum over the numbers other than 0 of how often each stands in both sequences.
  static std::size_t common(const std::vector<std::uint32_t>& target,
                            const std::vector<std::uint32_t>& prediction, std::uint32_t bound) {
    std::vector<std::uint32_t> left(bound);
    for (const std::uint32_t number : target) ++left[number];
    left[0] = 0;
    std::size_t hits = 0;
    for (const std::uint32_t number : prediction) {
      const bool hit = left[number] != 0;
      left[number] -= static_cast<std::uint32_t>(hit);
      hits += static_cast<std::size_t>(hit);
    }
    return hits;
  }

  /// In the order of operations of rouge_score, so that the doubles are the same.
  static RougeScore score(std::size_t hits, std::size_t target, std::size_t prediction) {
    const double precision = static_cast<double>(hits) / static_cast<double>(prediction);
    const double recall = static_cast<double>(hits) / static_cast<double>(target);
    const double sum = precision + recall;
    return {precision, recall, sum > 0 ? 2 * precision * recall / sum : 0.0};
  }

  std::vector<std::uint32_t> target_, prediction_;  // numbers of the words, 0 for those of one text only
  std::uint32_t bound_ = 1;                         // above all of them
};

/// ROUGE-1, ROUGE-2 and ROUGE-L of pairs of texts, bit for bit those of rouge_score 0.1.2.
///
/// Holds no state but its option, so one object may serve many threads.
struct Rouge {
  bool stemmer = false;  ///< compare Porter stems instead of words

  RougeScores operator()(std::string_view target, std::string_view prediction,
                         StemCache* cache = nullptr) const {
    const RougePair pair(target, prediction, stemmer, cache);
    return {pair.rouge_n(1), pair.rouge_n(2), pair.rouge_l()};
  }
};

/// ROUGE-N of one pair of texts; see `RougePair::rouge_n`. \throws Error if n is 0.
inline RougeScore rouge_n(std::string_view target, std::string_view prediction, std::size_t n,
                          bool stemmer = false) {
  return RougePair(target, prediction, stemmer).rouge_n(n);
}

/// ROUGE-L of one pair of texts; see `RougePair::rouge_l`.
inline RougeScore rouge_l(std::string_view target, std::string_view prediction, bool stemmer = false) {
  return RougePair(target, prediction, stemmer).rouge_l();
}

}  // namespace eso
