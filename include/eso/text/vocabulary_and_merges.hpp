// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eso/data/lines.hpp"
#include "eso/error.hpp"
#include "eso/text/file_kind.hpp"
#include "eso/text/json_file.hpp"
#include "eso/text/tokenizer_declarations.hpp"
#include "eso/text/tokenizer_source.hpp"

namespace eso {

/// Reads GPT-2's layout: vocab.json, merges.txt and, where they are, the files that declare added tokens.
///
/// Added tokens are those that special_tokens_map.json and tokenizer_config.json declare (beginning, end,
/// unknown, padding and further special tokens; the `added_tokens_decoder`) and those of added_tokens.json.
/// If neither of the first two declares any it is `<|endoftext|>`. One that has no id yet gets the next one,
/// as transformers does it.
class VocabularyAndMerges {
 public:
  /// \throws Error (input) that names the file and the key or line.
  static TokenizerSource read(const std::filesystem::path& folder) {
    TokenizerSource source;
    source.files = {folder / "vocab.json", folder / "merges.txt"};
    const nlohmann::json vocabulary = read_json_file(source.files[0]);
    source.read_vocabulary(JsonNode(vocabulary, source.files[0]));
    read_merges(source.files[1], source);
    VocabularyAndMerges reader(source);
    reader.read_declarations(folder);
    reader.add_tokens();
    return source;
  }

 private:
  struct Declaration {
    AddedToken token;
    std::optional<TokenId> id;
    std::string path;
  };

  explicit VocabularyAndMerges(TokenizerSource& source) : source_(source) {}

  static void read_merges(const std::filesystem::path& path, TokenizerSource& source) {
    check_regular_file(path);
    LineReader lines(path);
    std::string blank;  // the place of a blank line, which may only stand at the end
    while (const auto line = lines.next()) {
      if (line->starts_with("#version")) continue;
      if (lines.number() == 1) {
        const std::string_view mistaken = mistaken_content(*line);
        if (!mistaken.empty()) throw input_error(path.string(), std::string(mistaken), {}, "merges");
      }
      if (line->empty()) {
        if (blank.empty()) blank = lines.where();
        continue;
      }
      if (!blank.empty()) throw input_error(blank, "is blank", {}, "two tokens with a space between");
      source.add_merge(*line, lines.where());
    }
  }

  void read_declarations(const std::filesystem::path& folder) {
    const auto config = read_optional(folder / "tokenizer_config.json");
    const auto special = read_optional(folder / "special_tokens_map.json");
    const auto added = read_optional(folder / "added_tokens.json");
    if (config) {
      const JsonNode node(*config, folder / "tokenizer_config.json");
      check_tokenizer_config(node);
      source_.nfc = tokenizer_class(folder, node) == TokenizerClass::gpt_neox;
      source_.add_prefix_space = node.boolean_or("add_prefix_space", false);
      if (const auto decoder = node.find("added_tokens_decoder")) declare_by_id(*decoder);
    } else {
      source_.nfc = tokenizer_class(folder, std::nullopt) == TokenizerClass::gpt_neox;
    }
    const bool has_decoder = !declarations_.empty();
    if (added && !has_decoder) declare_by_token(JsonNode(*added, folder / "added_tokens.json"));
    bool has_special = false;
    if (special) has_special |= declare_special(JsonNode(*special, folder / "special_tokens_map.json"));
    if (config) has_special |= declare_special(JsonNode(*config, folder / "tokenizer_config.json"));
    const std::string usual = "<|endoftext|>";
    if (!has_decoder && !has_special && source_.ids.contains(usual)) {
      declare({.content = usual, .special = true}, std::nullopt, source_.files[0].string());
    }
  }

  std::optional<nlohmann::json> read_optional(const std::filesystem::path& path) {
    if (!is_named(path)) return std::nullopt;
    source_.files.push_back(path);
    return read_json_file(path);
  }

  /// `added_tokens_decoder`: {"50257": {"content": ...}}
  void declare_by_id(const JsonNode& decoder) {
    for (auto& [id, token] : decoder_tokens(decoder)) declare(std::move(token), id, decoder.path());
  }

  /// added_tokens.json: {"<pad>": 50257}
  void declare_by_token(const JsonNode& added) {
    for (auto& [id, content] : encoder_tokens(added)) {
      declare({.content = content, .normalized = true}, id, added.path());
    }
  }

  /// Returns whether there was any.
  bool declare_special(const JsonNode& root) {
    bool any = false;
    const auto declare_one = [&](const JsonNode& node) {
      AddedToken token = declared_token(node);
      token.special = true;
      any |= declare(std::move(token), std::nullopt, root.path());
    };
    for (const char* name :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
      if (const auto node = root.find(name)) declare_one(*node);
    }
    for (const char* name : {"additional_special_tokens", "extra_special_tokens"}) {
      const auto node = root.find(name);
      if (!node) continue;
      if (node->value().is_object()) {
        node->each_member([&](const std::string&, const JsonNode& element) { declare_one(element); });
      } else {
        node->each_element(declare_one);
      }
    }
    return any;
  }

  /// The first declaration of a token gives its flags; one as special makes it so. False for an empty one.
  bool declare(AddedToken token, std::optional<TokenId> id, const std::string& path) {
    if (token.content.empty()) return false;
    const auto [place, is_new] = places_.emplace(token.content, declarations_.size());
    if (!is_new) {
      declarations_[place->second].token.special |= token.special;
      return true;
    }
    declarations_.push_back({std::move(token), id, path});
    return true;
  }

  void add_tokens() {
    for (Declaration& declaration : declarations_) {
      source_.add_token(std::move(declaration.token), declaration.id, declaration.path);
    }
  }

  TokenizerSource& source_;
  std::vector<Declaration> declarations_;
  std::unordered_map<std::string, std::size_t> places_;  // of the declaration of each token
};

}  // namespace eso
