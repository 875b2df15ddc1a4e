// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
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
  explicit PorterWord(std::span<char> letters) : word_(letters.data()), length_(letters.size()) {}

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
  struct Rule {
    std::string_view suffix, replacement;
  };

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
      if (is_vowel_letter(word_[i]) || (word_[i] == 'y' && i > 0))
        return true;  // y: the letter before was none
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

  bool ends_with(std::string_view suffix) const { return std::string_view(word_, length_).ends_with(suffix); }

  void replace(std::size_t count, std::string_view replacement) {
    length_ -= count;
    for (const char c : replacement) word_[length_++] = c;
  }

  /// Applies the first of `rules` that matches, if the measure of what is left is at least `least`.
  template <std::size_t count>
  void apply(const std::array<Rule, count>& rules, int least) {
    const char last = word_[length_ - 1];
    for (const Rule& rule : rules) {
      if (rule.suffix.back() != last || !ends_with(rule.suffix)) continue;
      if (measure(length_ - rule.suffix.size()) >= least) replace(rule.suffix.size(), rule.replacement);
      return;
    }
  }

  /// NLTK's pool of irregular words.
  bool is_irregular() {
    static constexpr std::array<Rule, 16> pool{{{"sky", "sky"},
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
                                                {"succeed", "succeed"}}};
    if (length_ < 3 || length_ > 8) return false;
    const std::string_view word(word_, length_);
    const auto* found =
        std::find_if(pool.begin(), pool.end(), [&](const Rule& rule) { return rule.suffix == word; });
    if (found == pool.end()) return false;
    replace(length_, found->replacement);
    return true;
  }

  /// Step 1a; NLTK: "ies" of a word of four letters becomes "ie".
  void remove_plural() {
    if (word_[length_ - 1] != 's') return;
    if (ends_with("ies")) {
      length_ -= length_ == 4 ? 1 : 2;
    } else if (ends_with("sses")) {
      length_ -= 2;
    } else if (!ends_with("ss")) {
      length_ -= 1;
    }
  }

  /// Step 1b; NLTK: "ied" becomes "ie" in a word of four letters, "i" in others.
  void remove_past_and_progressive() {
    if (ends_with("ied")) {
      length_ -= length_ == 4 ? 1 : 2;
    } else if (ends_with("eed")) {
      if (measure(length_ - 3) > 0) length_ -= 1;
    } else if (ends_with("ed") && contains_vowel(length_ - 2)) {
      length_ -= 2;
      restore_ending();
    } else if (ends_with("ing") && contains_vowel(length_ - 3)) {
      length_ -= 3;
      restore_ending();
    }
  }

  /// The second part of step 1b, after -ed or -ing went.
  void restore_ending() {
    const char last = word_[length_ - 1];
    if (ends_with("at") || ends_with("bl") || ends_with("iz")) {
      replace(0, "e");
    } else if (length_ >= 2 && last == word_[length_ - 2] && is_consonant(length_ - 1)) {
      if (last != 'l' && last != 's' && last != 'z') length_ -= 1;
    } else if (measure(length_) == 1 && ends_short(length_)) {
      replace(0, "e");
    }
  }

  /// Step 1c; NLTK: y becomes i after a consonant that is not the first letter.
  void replace_final_y() {
    if (word_[length_ - 1] == 'y' && length_ > 2 && is_consonant(length_ - 2)) word_[length_ - 1] = 'i';
  }

  /// Step 2; NLTK: "alli" first and then the step again, "bli" for "abli", and "fulli" and "logi", whose l
  /// belongs to the stem.
  void shorten_double_suffix() {
    static constexpr std::array<Rule, 21> rules{
        {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
         {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
         {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
         {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
         {"fulli", "ful"}}};
    if (ends_with("alli") && measure(length_ - 4) > 0) length_ -= 2;
    if (ends_with("logi")) {
      if (measure(length_ - 3) > 0) length_ -= 1;
    } else {
      apply(rules, 1);
    }
  }

  /// Step 3.
  void shorten_full_and_ness() {
    static constexpr std::array<Rule, 7> rules{{{"icate", "ic"},
                                                {"ative", ""},
                                                {"alize", "al"},
                                                {"iciti", "ic"},
                                                {"ical", "ic"},
                                                {"ful", ""},
                                                {"ness", ""}}};
    apply(rules, 1);
  }

  /// Step 4; -ion only goes after s or t.
  void remove_suffix() {
    static constexpr std::array<Rule, 18> rules{{{"al", ""},
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
                                                 {"ize", ""}}};
    if (ends_with("ion")) {
      const bool fits = length_ > 3 && (word_[length_ - 4] == 's' || word_[length_ - 4] == 't');
      if (fits && measure(length_ - 3) > 1) length_ -= 3;
    } else {
      apply(rules, 2);
    }
  }

  /// Step 5: a final e, then the second l of a final ll.
  void remove_final_e() {
    if (word_[length_ - 1] == 'e') {
      const int left = measure(length_ - 1);
      if (left > 1 || (left == 1 && !ends_short(length_ - 1))) length_ -= 1;
    }
    if (ends_with("ll") && measure(length_ - 1) > 1) length_ -= 1;
  }

  char* word_;
  std::size_t length_;
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
