// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/text/added_tokens.hpp"
#include "eso/text/byte_alphabet.hpp"
#include "eso/text/json_file.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// Hash of a string for maps that are also asked with a `std::string_view`.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// Tokens and their ids.
using TokenIds = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

/// What the files of a byte-level BPE say, checked: every id belongs to one token, every merge joins tokens
/// of the vocabulary to one, every added token has its id.
struct TokenizerSource {
  /// `left` and `right` become `merged`; the rank of a merge is its place in `merges`.
  struct Merge {
    TokenId left, right, merged;
  };

  std::vector<std::filesystem::path> files;
  TokenIds ids;        ///< of the model's tokens, spelled in the alphabet of bytes
  TokenIds added_ids;  ///< of the added tokens
  std::vector<Merge> merges;
  std::vector<AddedToken> added_tokens;
  bool nfc = false;                          ///< text is normalised to form C
  bool add_prefix_space = false;             ///< a space goes before each piece of text that has none
  bool use_pattern = true;                   ///< pieces are cut into words by GPT-2's pattern
  bool ignore_merges = false;                ///< a word that is a token is that token
  bool fuse_unknown = false;                 ///< adjacent unknown bytes are one unknown token
  std::optional<std::string> unknown_token;  ///< of a byte without a token; without one it is dropped

  /// Reads an object of tokens and their ids. \throws Error (input) if an id is none, or stands twice.
  void read_vocabulary(const JsonNode& vocabulary) {
    ids.reserve(vocabulary.value().size());
    taken_.reserve(vocabulary.value().size());
    vocabulary.each_member([&](const std::string& token, const JsonNode& value) {
      const TokenId id = value.id();
      if (!taken_.insert(id).second) {
        throw input_error(value.path(),
                          fmt::format("two tokens have the id {}, the second is {}", id, in_quotes(token)));
      }
      ids.emplace(token, id);
    });
  }

  bool has_every_byte() const {
    return std::all_of(byte_characters.begin(), byte_characters.end(), [&](char32_t character) {
      std::string token;
      append_utf8(token, character);
      return ids.contains(token);
    });
  }

  /// Adds the next merge. \throws Error (input) that begins with `where` if a token of it is unknown.
  void add_merge(std::string_view left, std::string_view right, const std::string& where) {
    merges.push_back({token_of_merge(left, where), token_of_merge(right, where),
                      token_of_merge(std::string(left).append(right), where)});
  }

  /// Adds the merge that a line like "a b" spells.
  void add_merge(std::string_view line, const std::string& where) {
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      throw input_error(where, "is no merge", in_quotes(line), "two tokens with a space between");
    }
    add_merge(line.substr(0, space), line.substr(space + 1), where);
  }

  /// Adds an added token with the id that it has in the vocabulary, or else the next one behind it. Of a
  /// token that is added twice the last flags count, but once special it stays so.
  ///
  /// Ids that a file declares are checked, not obeyed, since tokenizers and transformers count for
  /// themselves.
  ///
  /// \throws Error (input) if `declared` is another id, or the id is taken.
  void add_token(AddedToken token, std::optional<TokenId> declared, const std::string& path) {
    const auto known = ids.find(token.content);
    const auto again = added_ids.find(token.content);
    if (known != ids.end() || again != added_ids.end()) {
      token.id = known != ids.end() ? known->second : again->second;
    } else {
      const std::size_t next = std::max(behind_added_, ids.size());
      token.id = static_cast<TokenId>(next);
      if (next > std::size_t{std::numeric_limits<TokenId>::max()} || !taken_.insert(token.id).second) {
        throw input_error(path, fmt::format("the id {} that follows for added token {} is taken", next,
                                            in_quotes(token.content)));
      }
    }
    added_ids.emplace(token.content, token.id);
    if (declared && *declared != token.id) {
      throw input_error(path, fmt::format("wrong id of added token {}", in_quotes(token.content)),
                        fmt::format("{}", *declared), fmt::format("{}", token.id));
    }
    behind_added_ = std::max(behind_added_, static_cast<std::size_t>(token.id) + 1);
    const auto [place, is_new] = added_places_.emplace(token.id, added_tokens.size());
    if (is_new) {
      added_tokens.push_back(std::move(token));
    } else {
      token.special |= added_tokens[place->second].special;
      added_tokens[place->second] = std::move(token);
    }
  }

 private:
  TokenId token_of_merge(std::string_view token, const std::string& where) const {
    const auto found = ids.find(token);
    if (found == ids.end())
      throw input_error(where, "a merge names a token that is not in the vocabulary", in_quotes(token));
    return found->second;
  }

  std::size_t behind_added_ = 0;                           // the highest id of an added token + 1
  std::unordered_map<TokenId, std::size_t> added_places_;  // in `added_tokens`
  std::unordered_set<TokenId> taken_;
};

}  // namespace eso
