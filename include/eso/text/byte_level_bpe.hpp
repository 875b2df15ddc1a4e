// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/text/added_tokens.hpp"
#include "eso/text/bpe.hpp"
#include "eso/text/byte_alphabet.hpp"
#include "eso/text/gpt2_pattern.hpp"
#include "eso/text/nfc.hpp"
#include "eso/text/tokenizer_json.hpp"
#include "eso/text/tokenizer_source.hpp"
#include "eso/text/utf8.hpp"
#include "eso/text/vocabulary_and_merges.hpp"

namespace eso {

/// The tokenizer of GPT-2, OPT and GPT-NeoX (Pythia): byte pair encoding of bytes. A model of `Tokenizer`.
///
/// Text is cut at added tokens, normalised (where the files ask for it), cut at the normalised added tokens,
/// cut into words by GPT-2's pattern, and each word's bytes are joined by the merges. No special token is
/// ever added and nothing is ever cut off.
///
/// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2. Ids and
/// texts are those of PyPI's tokenizers 0.23, `encode(text, add_special_tokens=False)` and `decode`. Where we
/// differ: a file whose added tokens do not have the ids which that library would give them is refused.
class ByteLevelBpe {
 public:
  /// Reads tokenizer.json of `folder` and the files that go with it, or vocab.json and merges.txt where there
  /// is none.
  ///
  /// \throws Error (input) in one line that names the file, and the key or line, of what is missing,
  ///         malformed or would need something that is not implemented.
  static ByteLevelBpe load(const std::filesystem::path& folder) {
    if (is_named(folder / "tokenizer.json"))
      return ByteLevelBpe(folder, TokenizerJson::read(folder / "tokenizer.json"));
    if (!is_named(folder / "vocab.json") && !is_named(folder / "merges.txt")) {
      throw input_error(folder.string(), "has no tokenizer", {},
                        "tokenizer.json, or vocab.json and merges.txt");
    }
    return ByteLevelBpe(folder, VocabularyAndMerges::read(folder));
  }

  /// The ids of `text`. O(bytes log(longest word)); may be called from several threads at once.
  ///
  /// \throws Error (input) if `text` is not UTF-8.
  Tokens encode(std::string_view text) const {
    if (const auto at = first_invalid_utf8(text)) {
      throw input_error("ByteLevelBpe::encode", fmt::format("malformed UTF-8 at byte {}", *at + 1));
    }
    Tokens result;
    result.reserve(text.size() / 4 + 4);
    Tokens word;
    const auto put_token = [&](TokenId id) { result.push_back(id); };
    const auto encode_piece = [&](std::string_view piece) { append_piece(piece, word, result); };
    const auto normalize_piece = [&](std::string_view piece) {
      if (nfc_) {
        normalized_tokens_.split(Nfc::normalize(piece), encode_piece, put_token);
      } else {
        normalized_tokens_.split(piece, encode_piece, put_token);
      }
    };
    raw_tokens_.split(text, normalize_piece, put_token);
    return result;
  }

  /// The text of `ids`, malformed bytes as U+FFFD, spaces as they are. Ids without a token are nothing, and
  /// so are special tokens under `skip_special`. O(bytes).
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const {
    std::string bytes;
    for (const TokenId id : ids) {
      const std::size_t at = index_of(id);
      if (at < tokens_.size() && !(skip_special && tokens_[at].special)) bytes += tokens_[at].bytes;
    }
    return to_valid_utf8(bytes);
  }

  /// The highest id + 1.
  Index vocabulary_size() const { return tokens_.empty() ? 0 : static_cast<Index>(tokens_.back().id) + 1; }

  /// The id of a token, spelled as in the files, if there is such a token.
  std::optional<TokenId> id(std::string_view token) const {
    const auto found = added_ids_.find(token);
    return found != added_ids_.end() ? found->second : model_id(token);
  }

  /// The files that belong to the tokenizer, to be copied beside a model that is trained with it.
  std::vector<std::filesystem::path> files() const { return files_; }

 private:
  struct Token {
    TokenId id = 0;
    bool special = false;
    std::string bytes;
  };

  static constexpr TokenId no_token = -1;

  ByteLevelBpe(const std::filesystem::path& folder, TokenizerSource source)
      : files_(std::move(source.files)),
        merges_(source.merges.size()),
        nfc_(source.nfc),
        add_prefix_space_(source.add_prefix_space),
        use_pattern_(source.use_pattern),
        fuse_unknown_(source.fuse_unknown) {
    ids_ = std::move(source.ids);
    added_ids_ = std::move(source.added_ids);
    for (std::uint32_t rank = 0; rank < source.merges.size(); ++rank) {
      const TokenizerSource::Merge& merge = source.merges[rank];
      merges_.add(merge.left, merge.right, {.rank = rank, .merged = merge.merged});
    }
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const char one = static_cast<char>(byte);
      byte_ids_[byte] = model_id(spell({&one, 1})).value_or(no_token);
    }
    if (source.unknown_token) read_unknown_token(*source.unknown_token);
    read_tokens(source.added_tokens);
    find_whole_words(source.ignore_merges);
    read_files(folder);
  }

  std::optional<TokenId> model_id(std::string_view token) const {
    const auto found = ids_.find(token);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

  void read_unknown_token(const std::string& token) {
    const bool needed = std::find(byte_ids_.begin(), byte_ids_.end(), no_token) != byte_ids_.end();
    unknown_ = model_id(token).value_or(no_token);
    if (needed && unknown_ == no_token) {
      throw input_error(files_[0].string(), "the vocabulary lacks bytes and the unknown token",
                        in_quotes(token));
    }
  }

  void read_tokens(std::vector<AddedToken>& added) {
    tokens_.reserve(ids_.size() + added_ids_.size());
    for (const auto& [token, id] : ids_) tokens_.push_back({.id = id, .bytes = token_bytes(token)});
    for (const auto& [token, id] : added_ids_) {
      if (!ids_.contains(token)) tokens_.push_back({.id = id, .bytes = token_bytes(token)});
    }
    std::sort(tokens_.begin(), tokens_.end(), [](const Token& a, const Token& b) { return a.id < b.id; });
    std::vector<AddedToken> raw, normalized;
    for (AddedToken& token : added) {
      normalize(token);
      (token.normalized ? normalized : raw).push_back(std::move(token));
    }
    raw_tokens_ = AddedTokenMatcher(std::move(raw));
    normalized_tokens_ = AddedTokenMatcher(std::move(normalized));
  }

  void normalize(AddedToken& token) {
    Token& entry = tokens_[index_of(token.id)];
    bool unchanged = true;
    if (token.normalized && nfc_) {
      std::string normal = Nfc::normalize(token.content);
      unchanged = normal == token.content;
      token.content = std::move(normal);
      entry.bytes = token_bytes(token.content);
    }
    entry.special |= token.special && unchanged;  // so does the library: it looks for the content as declared
  }

  void find_whole_words(bool ignore_merges) {
    Tokens word, merged;
    whole_words_.reserve(ids_.size());
    for (const auto& [token, id] : ids_) {
      std::string bytes = token_bytes(token);
      if (spell(bytes) != token) continue;  // it has characters outside the alphabet
      merged.clear();
      if (!ignore_merges) append_merged(bytes, word, merged);
      if (ignore_merges || (merged.size() == 1 && merged[0] == id))
        whole_words_.emplace(std::move(bytes), id);
    }
  }

  void read_files(const std::filesystem::path& folder) {
    for (const char* name : {"special_tokens_map.json", "tokenizer_config.json", "added_tokens.json"}) {
      std::error_code code;
      const bool known = std::find(files_.begin(), files_.end(), folder / name) != files_.end();
      if (!known && std::filesystem::is_regular_file(folder / name, code)) files_.push_back(folder / name);
    }
  }

  /// Where the token with this id stands, `tokens_.size()` if there is none.
  std::size_t index_of(TokenId id) const {
    // ids are usually 0, 1, 2, ... without a gap
    const auto guess = static_cast<std::size_t>(id);
    if (id >= 0 && guess < tokens_.size() && tokens_[guess].id == id) return guess;
    const auto place = std::lower_bound(tokens_.begin(), tokens_.end(), id,
                                        [](const Token& a, TokenId value) { return a.id < value; });
    if (place == tokens_.end() || place->id != id) return tokens_.size();
    return static_cast<std::size_t>(place - tokens_.begin());
  }

  /// Text without added tokens.
  void append_piece(std::string_view piece, Tokens& word, Tokens& result) const {
    std::string prefixed;
    if (add_prefix_space_ && !piece.starts_with(' ')) {
      prefixed.append(" ").append(piece);
      piece = prefixed;
    }
    for (std::size_t begin = 0; begin < piece.size();) {
      const std::size_t end = use_pattern_ ? gpt2_word_end(piece, begin) : piece.size();
      append_word(piece.substr(begin, end - begin), word, result);
      begin = end;
    }
  }

  void append_word(std::string_view bytes, Tokens& word, Tokens& result) const {
    if (const auto whole = whole_words_.find(bytes); whole != whole_words_.end()) {
      result.push_back(whole->second);
    } else {
      append_merged(bytes, word, result);
    }
  }

  void append_merged(std::string_view bytes, Tokens& word, Tokens& result) const {
    word.clear();
    bool unknown_before = false;
    for (const char byte : bytes) {
      const TokenId id = byte_ids_[static_cast<std::uint8_t>(byte)];
      if (id != no_token) {
        word.push_back(id);
      } else if (unknown_ != no_token && !(unknown_before && fuse_unknown_)) {
        word.push_back(unknown_);
      }
      unknown_before = id == no_token;
    }
    merges_.apply(word, result);
  }

  std::vector<std::filesystem::path> files_;
  TokenIds ids_, added_ids_;
  TokenIds whole_words_;       // bytes of words that are one token: the merges need not be asked
  std::vector<Token> tokens_;  // ascending by id
  std::array<TokenId, 256> byte_ids_{};
  TokenId unknown_ = no_token;
  BpeMerges merges_;
  AddedTokenMatcher raw_tokens_, normalized_tokens_;
  bool nfc_, add_prefix_space_, use_pattern_, fuse_unknown_;
};

}  // namespace eso
