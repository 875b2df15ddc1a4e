// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/text/unicode.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// A token that is found in the text before anything else is done to it.
struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool single_word = false;  ///< only between characters that are not part of a word
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool normalized = false;   ///< looked for in the normalised text, in normalised form
  bool special = false;      ///< may be left out when decoding
};

/// Cuts text at added tokens: leftmost first, the longest among those that begin there, never overlapping.
///
/// Follows PyPI's tokenizers also where that is not obvious: a match refused for `single_word` still covers
/// its text; in white space that `rstrip` took, tokens are found again unless `lstrip` leaves nothing of
/// them.
class AddedTokenMatcher {
 public:
  /// Adds a token, which must not be empty; of two with the same content the first one counts.
  void add(AddedToken token) {
    std::int32_t* link = &roots_[static_cast<std::uint8_t>(token.content[0])];
    if (*link == none) *link = new_node(token.content[0]);
    std::int32_t node = *link;
    for (const char byte : std::string_view(token.content).substr(1)) node = child_for(node, byte);
    std::int32_t& place = nodes_[static_cast<std::size_t>(node)].token;
    if (place != none) return;
    place = static_cast<std::int32_t>(tokens_.size());
    tokens_.push_back(std::move(token));
  }

  /// Calls `on_text` with each piece of `text` (UTF-8) between tokens, never empty, and `on_token` with the
  /// id of each token, in order. O(bytes x longest token).
  template <class OnText, class OnToken>
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
    std::size_t done = 0;        // text before this byte belongs to what has been passed on
    std::size_t spaces_end = 0;  // of the white space that `rstrip` looked at last
    for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
      const AddedToken* token = longest_at(text, at);
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::size_t begin = at;
      std::size_t end = at + token->content.size();
      at = end;
      if (token->single_word && !stands_alone(text, begin, end)) continue;
      if (token->lstrip) begin = std::max(spaces_before(text, begin, done), done);
      if (token->rstrip) end = spaces_end = end < spaces_end ? spaces_end : spaces_after(text, end);
      if (done < begin) on_text(text.substr(done, begin - done));
      if (begin < end) on_token(token->id);
      done = end;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  /// A node of the trie of all contents; its children are a list.
  struct Node {
    char byte;
    std::int32_t child = none;    ///< the first one
    std::int32_t sibling = none;  ///< the next child of the same parent
    std::int32_t token = none;    ///< whose content ends here
  };

  static constexpr std::int32_t none = -1;

  static bool is_space(const CodePoint& point) {
    return character_class(point.value) == CharacterClass::space;
  }

  static bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
    const bool left = begin > 0 && is_word_character(decode_utf8_before(text, begin).value);
    const bool right = end < text.size() && is_word_character(decode_utf8(text, end).value);
    return !left && !right;
  }

  static std::size_t spaces_before(std::string_view text, std::size_t begin, std::size_t stop) {
    while (begin > stop) {
      const CodePoint point = decode_utf8_before(text, begin);
      if (!is_space(point)) break;
      begin -= point.length;
    }
    return begin;
  }

  static std::size_t spaces_after(std::string_view text, std::size_t end) {
    while (end < text.size()) {
      const CodePoint point = decode_utf8(text, end);
      if (!is_space(point)) break;
      end += point.length;
    }
    return end;
  }

  const AddedToken* longest_at(std::string_view text, std::size_t at) const {
    std::int32_t node = roots_[static_cast<std::uint8_t>(text[at])];
    std::int32_t best = none;
    while (node != none) {
      const Node& here = nodes_[static_cast<std::size_t>(node)];
      if (here.token != none) best = here.token;
      if (++at == text.size()) break;
      node = child_of(node, text[at]);
    }
    return best == none ? nullptr : &tokens_[static_cast<std::size_t>(best)];
  }

  std::int32_t child_of(std::int32_t node, char byte) const {
    std::int32_t child = nodes_[static_cast<std::size_t>(node)].child;
    while (child != none && nodes_[static_cast<std::size_t>(child)].byte != byte) {
      child = nodes_[static_cast<std::size_t>(child)].sibling;
    }
    return child;
  }

  std::int32_t child_for(std::int32_t node, char byte) {
    if (const std::int32_t child = child_of(node, byte); child != none) return child;
    const std::int32_t child = new_node(byte);
    nodes_[static_cast<std::size_t>(child)].sibling = nodes_[static_cast<std::size_t>(node)].child;
    nodes_[static_cast<std::size_t>(node)].child = child;
    return child;
  }

  std::int32_t new_node(char byte) {
    nodes_.push_back({.byte = byte});
    return static_cast<std::int32_t>(nodes_.size()) - 1;
  }

  static constexpr std::array<std::int32_t, 256> no_roots = [] {
    std::array<std::int32_t, 256> roots{};
    for (std::int32_t& root : roots) root = none;
    return roots;
  }();

  std::array<std::int32_t, 256> roots_ = no_roots;  // by first byte
  std::vector<Node> nodes_;
  std::vector<AddedToken> tokens_;
};

}  // namespace eso
