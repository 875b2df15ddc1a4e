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
///
/// Source: Aho and Corasick 1975, "Efficient string matching: an aid to bibliographic search". The automaton
/// is that of the reversed contents and reads the text backwards, since it then knows at each byte the
/// longest token that begins there.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;

  /// Of tokens with the same content, none of which may be empty, the first one counts. O(bytes of contents).
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    for (std::size_t i = 0; i < tokens_.size(); ++i) insert(static_cast<std::int32_t>(i));
    link();
  }

  /// Calls `on_text` with each piece of `text` (UTF-8) between tokens, never empty, and `on_token` with the
  /// id of each token, in order. O(bytes), whatever the tokens are.
  template <class OnText, class OnToken>
  void split(std::string_view text, const OnText& on_text, const OnToken& on_token) const {
    std::size_t done = 0;        // text before this byte belongs to what has been passed on
    std::size_t spaces_end = 0;  // of the white space that `rstrip` looked at last
    std::size_t at = 0;
    const std::vector<Match> matches = find_all(text);
    for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
      if (match->at < at) continue;
      const AddedToken* token = &tokens_[static_cast<std::size_t>(match->token)];
      at = match->at;
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
  /// A node of the trie of all reversed contents; its children are a list.
  struct Node {
    char byte;
    std::int32_t child = none;     ///< the first one
    std::int32_t sibling = none;   ///< the next child of the same parent
    std::int32_t token = none;     ///< the longest that the bytes up to here end with
    std::int32_t fallback = none;  ///< the longest other node that they end with; none stands for the root
  };

  /// The longest token that begins at a byte of the text.
  struct Match {
    std::size_t at;
    std::int32_t token;
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

  /// All matches, from the end of the text to its beginning.
  std::vector<Match> find_all(std::string_view text) const {
    std::vector<Match> matches;
    if (tokens_.empty()) return matches;
    std::int32_t node = none;
    for (std::size_t at = text.size(); at-- > 0;) {
      node = step(node, text[at]);
      if (node == none) continue;
      const std::int32_t token = nodes_[static_cast<std::size_t>(node)].token;
      if (token != none) matches.push_back({at, token});
    }
    return matches;
  }

  /// Where `byte` leads from `node`, over its fallbacks.
  std::int32_t step(std::int32_t node, char byte) const {
    for (; node != none; node = nodes_[static_cast<std::size_t>(node)].fallback) {
      if (const std::int32_t child = child_of(node, byte); child != none) return child;
    }
    return roots_[static_cast<std::uint8_t>(byte)];
  }

  void insert(std::int32_t token) {
    const std::string& content = tokens_[static_cast<std::size_t>(token)].content;
    std::int32_t* root = &roots_[static_cast<std::uint8_t>(content.back())];
    if (*root == none) *root = new_node(content.back());
    std::int32_t node = *root;
    for (std::size_t i = content.size() - 1; i-- > 0;) node = child_for(node, content[i]);
    std::int32_t& place = nodes_[static_cast<std::size_t>(node)].token;
    if (place == none) place = token;
  }

  /// Finds the fallbacks, those of shorter nodes first.
  void link() {
    std::vector<std::int32_t> order;
    order.reserve(nodes_.size());
    for (const std::int32_t root : roots_) {
      if (root != none) order.push_back(root);
    }
    for (std::size_t i = 0; i < order.size(); ++i) {
      const Node& parent = nodes_[static_cast<std::size_t>(order[i])];
      for (std::int32_t child = parent.child; child != none;) {
        Node& node = nodes_[static_cast<std::size_t>(child)];
        node.fallback = step(parent.fallback, node.byte);
        if (node.token == none && node.fallback != none) {
          node.token = nodes_[static_cast<std::size_t>(node.fallback)].token;
        }
        order.push_back(child);
        child = node.sibling;
      }
    }
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

  std::array<std::int32_t, 256> roots_ = no_roots;  // by last byte
  std::vector<Node> nodes_;
  std::vector<AddedToken> tokens_;
};

}  // namespace eso
