// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eso/text/nfc_tables.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// The canonical combining class of a code point, 0 for a starter.
inline std::uint8_t combining_class(char32_t code_point) {
  const auto key = static_cast<std::uint32_t>(code_point) << 8 | 0xFFU;
  const auto after = std::upper_bound(combining_class_runs.begin(), combining_class_runs.end(), key);
  return static_cast<std::uint8_t>(*(after - 1) & 0xFFU);
}

/// Unicode's normalisation form C: canonical decomposition, canonical order, canonical composition.
///
/// Source: Unicode Standard Annex 15 and section 3.11; Hangul syllables by the arithmetic of section 3.12.
/// The tables are those of the `NFC` of PyPI's tokenizers 0.23 (Unicode 9: later marks have combining class
/// 0).
class Nfc {
 public:
  /// The normal form of `text`, which must be UTF-8. O(n log m) for runs of m combining marks; text of which
  /// no code point can change is only scanned and copied.
  static std::string normalize(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    std::size_t copied = 0;  // text before this byte is in the result
    std::size_t starter = 0;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint point = decode_utf8(text, at);
      if (is_inert(point.value)) {
        starter = at;
        at += point.length;
        continue;
      }
      // everything from the last inert code point to the next one is a closed world
      std::size_t end = at;
      while (end < text.size()) {
        const CodePoint next = decode_utf8(text, end);
        if (is_inert(next.value)) break;
        end += next.length;
      }
      result.append(text.substr(copied, starter - copied));
      append_normalized(text.substr(starter, end - starter), result);
      at = copied = starter = end;
    }
    return result.append(text.substr(copied));
  }

 private:
  struct Mark {
    char32_t code_point;
    std::uint8_t combining_class;
  };

  /// A starter that never changes and never joins what stands before it.
  static bool is_inert(char32_t code_point) {
    const auto code = static_cast<std::uint32_t>(code_point);
    if (code < nfc_boundaries[0]) return true;
    const auto after = std::upper_bound(nfc_boundaries.begin(), nfc_boundaries.end(), code);
    return (after - nfc_boundaries.begin()) % 2 == 0;
  }

  static void append_normalized(std::string_view text, std::string& result) {
    std::vector<Mark> marks;
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint point = decode_utf8(text, at);
      decompose(point.value, marks);
      at += point.length;
    }
    order(marks);
    compose(marks);
    for (const Mark& mark : marks) append_utf8(result, mark.code_point);
  }

  static void decompose(char32_t code_point, std::vector<Mark>& marks) {
    const auto code = static_cast<std::uint32_t>(code_point);
    const auto put = [&](std::uint32_t part) { marks.push_back({part, eso::combining_class(part)}); };
    if (const std::uint32_t syllable = code - syllables_begin; syllable < syllable_count) {
      put(leads_begin + syllable / (vowel_count * tail_count));
      put(vowels_begin + syllable / tail_count % vowel_count);
      if (syllable % tail_count != 0) put(tails_begin + syllable % tail_count);
      return;
    }
    const auto found = std::lower_bound(
        decompositions.begin(), decompositions.end(), code,
        [](const Decomposition& entry, std::uint32_t value) { return entry.code_point < value; });
    if (found == decompositions.end() || found->code_point != code) return put(code);
    for (std::size_t i = 0; i < found->length; ++i) put(decomposition_parts[found->begin + i]);
  }

  static void order(std::vector<Mark>& marks) {
    const auto is_starter = [](const Mark& mark) { return mark.combining_class == 0; };
    for (auto begin = marks.begin(); begin != marks.end();) {
      begin = std::find_if_not(begin, marks.end(), is_starter);
      const auto end = std::find_if(begin, marks.end(), is_starter);
      std::stable_sort(begin, end,
                       [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
      begin = end;
    }
  }

  static void compose(std::vector<Mark>& marks) {
    std::size_t kept = 0;
    std::size_t starter = marks.size();  // none yet
    for (const Mark mark : marks) {
      // blocked: something of the same or a higher class, or another starter, stands between
      const auto reaches_starter = [&] {
        return starter + 1 == kept || marks[kept - 1].combining_class < mark.combining_class;
      };
      if (starter < kept && reaches_starter()) {
        if (const char32_t joined = composite(marks[starter].code_point, mark.code_point); joined != 0) {
          marks[starter].code_point = joined;
          continue;
        }
      }
      if (mark.combining_class == 0) starter = kept;
      marks[kept++] = mark;
    }
    marks.resize(kept);
  }

  /// What two code points compose to, 0 if they do not.
  static char32_t composite(char32_t first, char32_t second) {
    const auto a = static_cast<std::uint32_t>(first);
    const auto b = static_cast<std::uint32_t>(second);
    if (a - leads_begin < lead_count && b - vowels_begin < vowel_count) {
      return syllables_begin + ((a - leads_begin) * vowel_count + (b - vowels_begin)) * tail_count;
    }
    const std::uint32_t syllable = a - syllables_begin;
    if (syllable < syllable_count && syllable % tail_count == 0 && b - tails_begin - 1 < tail_count - 1) {
      return a + (b - tails_begin);
    }
    const auto found = std::lower_bound(compositions.begin(), compositions.end(), Composition{a, b, 0},
                                        [](const Composition& x, const Composition& y) {
                                          return x.first != y.first ? x.first < y.first : x.second < y.second;
                                        });
    return found != compositions.end() && found->first == a && found->second == b ? found->composite : 0;
  }

  static constexpr std::uint32_t syllables_begin = 0xAC00, leads_begin = 0x1100, vowels_begin = 0x1161;
  static constexpr std::uint32_t tails_begin = 0x11A7;  // one before the first: a syllable may have no tail
  static constexpr std::uint32_t lead_count = 19, vowel_count = 21, tail_count = 28;
  static constexpr std::uint32_t syllable_count = lead_count * vowel_count * tail_count;
};

}  // namespace eso
