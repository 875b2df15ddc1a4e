// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace eso {

/// A word that the five steps of the Porter stemmer shorten in place; `porter_stem` is its plain form.
///
/// Terms of the paper: a vowel is a, e, i, o, u, or a y after a consonant; everything else, digits included,
/// is a consonant. The measure of a stem is how often a vowel is followed by a consonant in it.
///
/// Source: Porter 1980, "An algorithm for suffix stripping", Program 14(3), with the changes of NLTK's mode
/// NLTK_EXTENSIONS, which are named where they apply. In each step the first suffix that matches decides,
/// even if its condition fails.
class PorterWord {
 public:
  /// `letters` holds a lower-case ASCII word and is overwritten; a stem is never longer than its word.
  explicit PorterWord(std::span<char> letters) : word_(letters.data()) { set_length(letters.size()); }

  /// The length of the stem, which then stands at the front of the letters. O(length).
  std::size_t stem() {
    if (is_irregular() || length_ <= 2) return length_;
    remove_plural();
    remove_past_and_progressive();
    replace_final_y();
    shorten_double_suffix();
    shorten_full_and_ness();
    remove_suffix();
    remove_final_e();
    return length_;
  }

 private:
  /// The last eight letters of a word as one number, the last in the lowest byte.
  static constexpr std::uint64_t pack_tail(const char* word, std::size_t length) {
    std::uint64_t tail = 0;
    for (std::size_t i = length < 8 ? 0 : length - 8; i < length; ++i) {
      tail = (tail << 8) | static_cast<unsigned char>(word[i]);
    }
    return tail;
  }

  /// An ending of one to eight letters, to be compared with the tail of a word.
  struct Suffix {
    consteval Suffix(std::string_view letters)  // NOLINT(google-explicit-constructor): written as text
        : tail(pack_tail(letters.data(), letters.size())),
          mask(~std::uint64_t{0} >> (64 - 8 * letters.size())),
          size(letters.size()) {}
    consteval Suffix(const char* letters) : Suffix(std::string_view(letters)) {}  // NOLINT

    std::uint64_t tail, mask;
    std::size_t size;
  };

  struct Rule {
    Suffix suffix;
    std::string_view replacement;
  };

  /// Rules in their order, with the set of their last letters: most words have none of them.
  template <std::size_t count>
  struct Rules {
    consteval Rules(const Rule (&list)[count]) : rules(std::to_array(list)) {  // NOLINT
      for (const Rule& rule : rules) last_letters |= std::uint32_t{1} << (rule.suffix.tail % 32);
    }

    /// May say yes for other words, never no for one with such an ending.
    bool may_match(std::uint64_t tail) const { return ((last_letters >> (tail % 32)) & 1U) != 0; }

    std::array<Rule, count> rules;
    std::uint32_t last_letters = 0;
  };
  template <std::size_t count>
  Rules(const Rule (&)[count]) -> Rules<count>;

  static constexpr bool is_vowel_letter(char c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
  }

  /// Whether letter `i` is a consonant. In a run of y they take turns, so the start of the run decides.
  bool is_consonant(std::size_t i) const {
    if (word_[i] != 'y') return !is_vowel_letter(word_[i]);
    std::size_t start = i;
    while (start > 0 && word_[start] == 'y') --start;
    const bool starts_with_consonant = !is_vowel_letter(word_[start]);
    return starts_with_consonant == ((i - start) % 2 == 0);
  }

  /// The measure of the first `length` letters, 2 standing for all above 1.
  int measure(std::size_t length) const {
    int count = 0;
    bool after_vowel = false;
    for (std::size_t i = 0; i < length && count < 2; ++i) {
      const char c = word_[i];
      const bool vowel = is_vowel_letter(c) || (c == 'y' && i > 0 && !after_vowel);
      count += static_cast<int>(after_vowel && !vowel);
      after_vowel = vowel;
    }
    return count;
  }

  bool contains_vowel(std::size_t length) const {
    for (std::size_t i = 0; i < length; ++i) {
      if (is_vowel_letter(word_[i]) || (word_[i] == 'y' && i > 0)) return true;  // y: after a consonant
    }
    return false;
  }

  /// Condition *o: consonant, vowel, consonant other than w, x, y at the end; NLTK adds the whole word
  /// "vowel, consonant".
  bool ends_short(std::size_t length) const {
    if (length == 2) return !is_consonant(0) && is_consonant(1);
    if (length < 3) return false;
    const char last = word_[length - 1];
    return last != 'w' && last != 'x' && last != 'y' && is_consonant(length - 1) &&
           !is_consonant(length - 2) && is_consonant(length - 3);
  }

  /// The tail of a word shorter than the suffix has zeros where the suffix has letters.
  bool ends_with(const Suffix& suffix) const { return ((tail_ ^ suffix.tail) & suffix.mask) == 0; }

  void set_length(std::size_t length) {
    length_ = length;
    tail_ = pack_tail(word_, length);
  }

  void remove(std::size_t count) { set_length(length_ - count); }

  void replace(std::size_t count, std::string_view replacement) {
    const std::size_t kept = length_ - count;
    std::copy(replacement.begin(), replacement.end(), word_ + kept);
    set_length(kept + replacement.size());
  }

  /// Applies the first of the rules that matches, if the measure of what is left is at least `least`.
  template <std::size_t count>
  void apply(const Rules<count>& list, int least) {
    if (!list.may_match(tail_)) return;
    for (const Rule& rule : list.rules) {
      if (!ends_with(rule.suffix)) continue;
      if (measure(length_ - rule.suffix.size) >= least) replace(rule.suffix.size, rule.replacement);
      return;
    }
  }

  /// NLTK's pool of irregular words.
  bool is_irregular() {
    static constexpr Rules pool({{"sky", "sky"},
                                 {"skies", "sky"},
                                 {"dying", "die"},
                                 {"lying", "lie"},
                                 {"tying", "tie"},
                                 {"news", "news"},
                                 {"innings", "inning"},
                                 {"inning", "inning"},
                                 {"outings", "outing"},
                                 {"outing", "outing"},
                                 {"cannings", "canning"},
                                 {"canning", "canning"},
                                 {"howe", "howe"},
                                 {"proceed", "proceed"},
                                 {"exceed", "exceed"},
                                 {"succeed", "succeed"}});
    if (length_ > 8 || !pool.may_match(tail_)) return false;
    const auto* found = std::find_if(pool.rules.begin(), pool.rules.end(),
                                     [&](const Rule& rule) { return rule.suffix.tail == tail_; });
    if (found == pool.rules.end()) return false;
    replace(length_, found->replacement);
    return true;
  }

  /// Step 1a; NLTK: "ies" of a word of four letters becomes "ie".
  void remove_plural() {
    if (word_[length_ - 1] != 's') return;
    if (ends_with("ies")) {
      remove(length_ == 4 ? 1 : 2);
    } else if (ends_with("sses")) {
      remove(2);
    } else if (!ends_with("ss")) {
      remove(1);
    }
  }

  /// Step 1b; NLTK: "ied" becomes "ie" in a word of four letters, "i" in others.
  void remove_past_and_progressive() {
    if (ends_with("ied")) {
      remove(length_ == 4 ? 1 : 2);
    } else if (ends_with("eed")) {
      if (measure(length_ - 3) > 0) remove(1);
    } else if (ends_with("ed") && contains_vowel(length_ - 2)) {
      remove(2);
      restore_ending();
    } else if (ends_with("ing") && contains_vowel(length_ - 3)) {
      remove(3);
      restore_ending();
    }
  }

  /// The second part of step 1b, after -ed or -ing went.
  void restore_ending() {
    const char last = word_[length_ - 1];
    if (ends_with("at") || ends_with("bl") || ends_with("iz")) {
      replace(0, "e");
    } else if (length_ >= 2 && last == word_[length_ - 2] && is_consonant(length_ - 1)) {
      if (last != 'l' && last != 's' && last != 'z') remove(1);
    } else if (measure(length_) == 1 && ends_short(length_)) {
      replace(0, "e");
    }
  }

  /// Step 1c; NLTK: y becomes i after a consonant that is not the first letter.
  void replace_final_y() {
    if (word_[length_ - 1] == 'y' && length_ > 2 && is_consonant(length_ - 2)) replace(1, "i");
  }

  /// Step 2; NLTK: "alli" first and then the step again, "bli" for "abli", and "fulli" and "logi", whose l
  /// belongs to the stem.
  void shorten_double_suffix() {
    static constexpr Rules rules(
        {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
         {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
         {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
         {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
         {"fulli", "ful"}});
    if (ends_with("alli") && measure(length_ - 4) > 0) remove(2);
    if (ends_with("logi")) {
      if (measure(length_ - 3) > 0) remove(1);
    } else {
      apply(rules, 1);
    }
  }

  /// Step 3.
  void shorten_full_and_ness() {
    static constexpr Rules rules({{"icate", "ic"},
                                  {"ative", ""},
                                  {"alize", "al"},
                                  {"iciti", "ic"},
                                  {"ical", "ic"},
                                  {"ful", ""},
                                  {"ness", ""}});
    apply(rules, 1);
  }

  /// Step 4; -ion only goes after s or t.
  void remove_suffix() {
    static constexpr Rules rules({{"al", ""},
                                  {"ance", ""},
                                  {"ence", ""},
                                  {"er", ""},
                                  {"ic", ""},
                                  {"able", ""},
                                  {"ible", ""},
                                  {"ant", ""},
                                  {"ement", ""},
                                  {"ment", ""},
                                  {"ent", ""},
                                  {"ou", ""},
                                  {"ism", ""},
                                  {"ate", ""},
                                  {"iti", ""},
                                  {"ous", ""},
                                  {"ive", ""},
                                  {"ize", ""}});
    if (ends_with("ion")) {
      const bool fits = length_ > 3 && (word_[length_ - 4] == 's' || word_[length_ - 4] == 't');
      if (fits && measure(length_ - 3) > 1) remove(3);
    } else {
      apply(rules, 2);
    }
  }

  /// Step 5: a final e, then the second l of a final ll.
  void remove_final_e() {
    if (word_[length_ - 1] == 'e') {
      const int left = measure(length_ - 1);
      if (left > 1 || (left == 1 && !ends_short(length_ - 1))) remove(1);
    }
    if (ends_with("ll") && measure(length_ - 1) > 1) remove(1);
  }

  char* word_;
  std::size_t length_ = 0;
  std::uint64_t tail_ = 0;  // the last eight letters, kept up to date
};

/// Stems the lower-case ASCII word in `letters` in place and returns the length of the stem. Nothing is
/// allocated.
inline std::size_t porter_stem_in_place(std::span<char> letters) { return PorterWord(letters).stem(); }

/// The stem of a lower-case ASCII word, as NLTK's `PorterStemmer().stem(word)` gives it. O(length).
///
/// Differs from NLTK: it does not lower the case, and bytes outside ASCII count as one letter each.
inline std::string porter_stem(std::string_view word) {
  std::string stem(word);
  stem.resize(porter_stem_in_place(stem));
  return stem;
}

}  // namespace eso
