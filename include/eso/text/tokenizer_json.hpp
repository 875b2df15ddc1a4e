// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/text/json_file.hpp"
#include "eso/text/tokenizer_declarations.hpp"
#include "eso/text/tokenizer_source.hpp"

namespace eso {

/// Reads a tokenizer.json that describes a byte-level BPE.
///
/// Read are `normalizer` (null, NFC or a Sequence of it), `pre_tokenizer` and `decoder` (ByteLevel or a
/// Sequence of one), `model` (BPE) and `added_tokens`. Nothing is ever cut or added, so `post_processor`,
/// `truncation` and `padding` are not read. Whatever else would change the ids is refused. What the files
/// beside it say, and the class that they name, counts as `TokenizerDeclarations` describes.
class TokenizerJson {
 public:
  /// \throws Error (input) that names the file and the key.
  static TokenizerSource read(const std::filesystem::path& path) {
    const nlohmann::json json = read_json_file(path);
    const JsonNode root(json, path);
    TokenizerSource source;
    source.files.push_back(path);
    if (const auto normalizer = root.find("normalizer")) read_normalizer(*normalizer, source);
    read_pre_tokenizer(only_of(root.at("pre_tokenizer"), "pretokenizers"), source);
    read_decoder(only_of(root.at("decoder"), "decoders"));
    read_model(root.at("model"), source);
    std::vector<TokenizerDeclarations::Listed> tokens;
    if (const auto list = root.find("added_tokens")) {
      list->each_element([&](const JsonNode& node) { read_added_token(node, tokens); });
    }
    TokenizerDeclarations::apply(path.parent_path(), tokens, source);
    return source;
  }

 private:
  static void require_type(const JsonNode& node, const std::string& expected) {
    const JsonNode type = node.at("type");
    if (type.string() != expected) throw type.wrong(expected);
  }

  /// The one element of a Sequence, or the node itself if it is none.
  static JsonNode only_of(const JsonNode& node, const std::string& elements) {
    if (node.value().is_null()) throw node.wrong("ByteLevel");
    if (node.at("type").string() != "Sequence") return node;
    std::optional<JsonNode> only;
    const JsonNode list = node.at(elements);
    list.each_element([&](const JsonNode& element) { only = element; });
    if (list.value().size() != 1) throw list.wrong("ByteLevel alone");
    return *only;
  }

  static void read_normalizer(const JsonNode& node, TokenizerSource& source) {
    const JsonNode type = node.at("type");
    if (type.string() == "NFC") {
      source.nfc = true;
    } else if (type.string() == "Sequence") {
      node.at("normalizers").each_element([&](const JsonNode& element) {
        require_type(element, "NFC");
        source.nfc = true;
      });
    } else {
      throw type.wrong("null or NFC");
    }
  }

  static void read_pre_tokenizer(const JsonNode& node, TokenizerSource& source) {
    require_type(node, "ByteLevel");
    source.add_prefix_space = node.at("add_prefix_space").boolean();
    source.use_pattern = node.boolean_or("use_regex", true);
  }

  static void read_decoder(const JsonNode& node) { require_type(node, "ByteLevel"); }

  static void read_model(const JsonNode& model, TokenizerSource& source) {
    if (const auto type = model.find("type"); type && type->string() != "BPE") throw type->wrong("BPE");
    if (const auto dropout = model.find("dropout")) {
      if (!dropout->value().is_number() || dropout->value().get<double>() != 0)
        throw dropout->wrong("null or 0");
    }
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const auto node = model.find(affix);
      if (node && !node->string().empty()) throw node->wrong("null or \"\"");
    }
    source.ignore_merges = model.boolean_or("ignore_merges", false);
    source.fuse_unknown = model.boolean_or("fuse_unk", false);
    if (const auto unknown = model.find("unk_token")) source.unknown_token = unknown->string();
    source.read_vocabulary(model.at("vocab"));
    check_byte_fallback(model, source);
    read_merges(model.at("merges"), source);
  }

  /// Falling back to tokens like <0x0A> changes nothing where every byte has a token, as it has in a
  /// byte-level vocabulary.
  static void check_byte_fallback(const JsonNode& model, const TokenizerSource& source) {
    const auto fallback = model.find("byte_fallback");
    if (fallback && fallback->boolean() && !source.has_every_byte()) {
      throw fallback->wrong("false, or all 256 bytes in the vocabulary");
    }
  }

  static void read_merges(const JsonNode& merges, TokenizerSource& source) {
    source.merges.reserve(merges.value().size());
    merges.each_element([&](const JsonNode& node) {
      const std::string where = node.path() + ": " + node.key();
      if (!node.value().is_array()) {
        const std::string& line = node.string();
        if (!line.starts_with("#version")) source.add_merge(line, where);
        return;
      }
      std::vector<std::string_view> pair;
      node.each_element([&](const JsonNode& token) { pair.push_back(token.string()); });
      if (pair.size() != 2) throw node.wrong("two tokens");
      source.add_merge(pair[0], pair[1], where);
    });
  }

  static void read_added_token(const JsonNode& node, std::vector<TokenizerDeclarations::Listed>& tokens) {
    if (!node.value().is_object()) throw node.wrong("an object");
    AddedToken token = declared_token(node);
    const TokenId id = node.at("id").id();
    if (!token.content.empty()) tokens.push_back({id, std::move(token)});
  }
};

}  // namespace eso
