// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eso/error.hpp"
#include "eso/reward/porter_stemmer.hpp"

namespace eso {

/// Remembers the stems of words of up to 16 letters, which come again and again. 320 KiB, for one thread.
class StemCache {
 public:
  /// The stem of the word, a view that lasts until the next call. `letters` is overwritten; 16 bytes of it
  /// must be readable, whatever stands behind the word.
  std::string_view stem(std::span<char> letters) {
    if (letters.size() > sizeof(Letters)) return {letters.data(), porter_stem_in_place(letters)};
    Letters word{};
    std::memcpy(word.data(), letters.data(), sizeof word);
    word[0] &= first_bytes(letters.size());
    word[1] &= first_bytes(letters.size() - std::min<std::size_t>(letters.size(), 8));
    Entry& entry =
        entries_[((word[0] * 0x9E3779B97F4A7C15U) ^ (word[1] * 0xD6E8FEB86659FD93U)) >> (64 - bits)];
    if (((entry.word[0] ^ word[0]) | (entry.word[1] ^ word[1])) != 0) {
      entry.word = word;
      entry.size = porter_stem_in_place(letters);
      std::memcpy(entry.stem.data(), letters.data(), sizeof entry.stem);
    }
    return {reinterpret_cast<const char*>(entry.stem.data()), entry.size};
  }

 private:
  using Letters = std::array<std::uint64_t, 2>;
  struct Entry {
    Letters word{}, stem{};
    std::size_t size = 0;
  };
  static constexpr int bits = 13;

  /// A mask of the first `count` bytes of a number as it lies in memory.
  static std::uint64_t first_bytes(std::size_t count) {
    if (count >= 8) return ~std::uint64_t{0};
    const std::uint64_t low = (std::uint64_t{1} << (8 * count)) - 1;
    return std::endian::native == std::endian::little ? low : ~(~std::uint64_t{0} >> (8 * count));
  }

  std::vector<Entry> entries_ = std::vector<Entry>(std::size_t{1} << bits);
};

/// Cuts a text into the words that ROUGE counts: runs of a-z and 0-9 of the lower-case text.
///
/// Unicode's lower case turns only two characters outside ASCII into letters: U+212A (Kelvin) into k and
/// U+0130 (I with dot) into i and a combining dot. Everything else outside ASCII separates words, malformed
/// UTF-8 too.
class RougeWords {
 public:
  /// With `stemmer`, words of more than three letters are replaced by their Porter stem.
  /// \throws Error if the text is 4 GiB long or longer.
  explicit RougeWords(std::string_view text, bool stemmer = false) : letters_(text), stemmer_(stemmer) {
    require(text.size() < std::numeric_limits<std::uint32_t>::max(), "RougeWords, argument text",
            "text of 4 GiB or more");
    replace_all("\xE2\x84\xAA", "k");
    replace_all("\xC4\xB0", "i ");
    letters_.resize(letters_.size() + room);
    blank_separators();
  }

  std::size_t size_in_bytes() const { return letters_.size(); }

  /// Calls `visit` with each word in turn, a view that lasts until it returns. Once: stemming overwrites the
  /// words. Stems are looked up in `cache`, if there is one.
  template <class Visit>
  void visit_once(Visit visit, StemCache* cache = nullptr) {
    char* const end = letters_.data() + letters_.size() - room;
    for (char* word = letters_.data();;) {
      while (word != end && *word == '\0') ++word;
      if (word == end) return;
      const std::size_t length = word_length(word);
      if (!stemmer_ || length <= 3) {
        visit(std::string_view(word, length));
      } else if (cache) {
        visit(cache->stem({word, length}));
      } else {
        visit(std::string_view(word, porter_stem_in_place({word, length})));
      }
      word += length;
    }
  }

  /// Letters as one number, the first in the lowest byte.
  static std::uint64_t pack(const char* letters) {
    std::uint64_t packed = 0;
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(&packed, letters, sizeof packed);
    } else {
      for (int i = 7; i >= 0; --i) packed = (packed << 8) | static_cast<unsigned char>(letters[i]);
    }
    return packed;
  }

 private:
  static constexpr std::size_t room = 16;  // to read past the last word

  void replace_all(std::string_view found, std::string_view replacement) {
    std::size_t at = letters_.find(found);
    if (at == std::string::npos) return;
    std::string replaced;
    std::size_t begin = 0;
    for (; at != std::string::npos; at = letters_.find(found, begin)) {
      replaced.append(letters_, begin, at - begin).append(replacement);
      begin = at + found.size();
    }
    letters_ = replaced.append(letters_, begin);
  }

  /// Lower case, and 0 for every byte that is no letter or digit. The blocks let the compiler use vectors.
  void blank_separators() {
    constexpr std::size_t block = 32;
    const auto lower = [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      const auto small = static_cast<unsigned char>(byte | 0x20U);
      const bool letter = static_cast<unsigned char>(small - 'a') < 26;
      const bool digit = static_cast<unsigned char>(byte - '0') < 10;
      return static_cast<char>(letter || digit ? small : 0);  // digits have the bit 0x20 already
    };
    std::size_t i = 0;
    for (; i + block <= letters_.size(); i += block) {
      char* const begin = letters_.data() + i;
      for (std::size_t k = 0; k < block; ++k) begin[k] = lower(begin[k]);
    }
    for (; i < letters_.size(); ++i) letters_[i] = lower(letters_[i]);
  }

  /// Letters up to the next 0. No byte is above 0x7F, so the lowest borrow of a subtraction of ones marks it.
  static std::size_t word_length(const char* word) {
    for (std::size_t length = 0;; length += 8) {
      const std::uint64_t zero = (pack(word + length) - 0x0101010101010101U) & 0x8080808080808080U;
      if (zero != 0) return length + static_cast<std::size_t>(std::countr_zero(zero)) / 8;
    }
  }

  std::string letters_;
  bool stemmer_;
};

/// The words of `text` as ROUGE sees them.
inline std::vector<std::string> rouge_words(std::string_view text, bool stemmer = false) {
  std::vector<std::string> words;
  RougeWords(text, stemmer).visit_once([&](std::string_view word) { words.emplace_back(word); });
  return words;
}

}  // namespace eso
