// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/text/added_tokens.hpp"
#include "eso/text/json_file.hpp"
#include "eso/text/tokenizer_source.hpp"

namespace eso {

/// The classes of transformers 5 that a byte-level BPE can have.
enum class TokenizerClass {
  gpt2,      ///< GPT2Tokenizer: takes vocabulary, merges and tokens, and sets everything else itself
  gpt_neox,  ///< GPTNeoXTokenizer: the same, and normalises to form C
  any,       ///< PreTrainedTokenizerFast: as tokenizer.json says
};

/// The class of the tokenizer in `folder`: `tokenizer_class` of its tokenizer_config.json (`config`, if there
/// is one) or config.json, or else the one that belongs to `model_type`.
///
/// \throws Error (input) that names the file and the key if it is another one.
inline TokenizerClass tokenizer_class(const std::filesystem::path& folder,
                                      const std::optional<JsonNode>& config) {
  const auto named = [](const JsonNode& node) {
    std::string_view name = node.string();
    if (name.ends_with("Fast")) name.remove_suffix(4);
    if (name == "GPT2Tokenizer") return TokenizerClass::gpt2;
    if (name == "GPTNeoXTokenizer") return TokenizerClass::gpt_neox;
    if (name == "PreTrainedTokenizer" || name == "TokenizersBackend") return TokenizerClass::any;
    throw node.wrong("GPT2Tokenizer, GPTNeoXTokenizer or PreTrainedTokenizerFast");
  };
  if (config) {
    if (const auto name = config->find("tokenizer_class")) return named(*name);
  }
  const std::filesystem::path path = folder / "config.json";
  if (!is_named(path)) return TokenizerClass::any;
  const nlohmann::json json = read_json_file(path);
  const JsonNode model(json, path);
  if (const auto name = model.find("tokenizer_class")) return named(*name);
  const auto type = model.find("model_type");
  if (!type || !type->value().is_string()) return TokenizerClass::any;
  if (type->string() == "gpt_neox") return TokenizerClass::gpt_neox;
  return type->string() == "gpt2" || type->string() == "opt" ? TokenizerClass::gpt2 : TokenizerClass::any;
}

/// Refuses what a tokenizer_config.json may ask for and is not implemented.
inline void check_tokenizer_config(const JsonNode& config) {
  const auto split = config.find("split_special_tokens");
  if (split && split->boolean()) throw split->wrong("false");
  if (const auto named = config.find("model_specific_special_tokens")) throw named->wrong("none");
}

/// A token spelled as a string, which is special, or as an object with its flags.
inline AddedToken declared_token(const JsonNode& node, bool special = false) {
  AddedToken token;
  if (node.value().is_string()) {
    token.content = node.string();
    token.special = true;
    return token;
  }
  token.content = node.at("content").string();
  token.special = special || node.boolean_or("special", false);
  token.normalized = node.boolean_or("normalized", !token.special);
  token.single_word = node.boolean_or("single_word", false);
  token.lstrip = node.boolean_or("lstrip", false);
  token.rstrip = node.boolean_or("rstrip", false);
  return token;
}

/// The tokens of an `added_tokens_decoder`, {"50257": {"content": ...}}, by id.
inline std::map<TokenId, AddedToken> decoder_tokens(const JsonNode& decoder) {
  std::map<TokenId, AddedToken> tokens;
  decoder.each_member([&](const std::string& name, const JsonNode& node) {
    if (!node.value().is_object()) throw node.wrong("an object");
    TokenId id = -1;
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data(), end, id);
    if (read.ec != std::errc() || read.ptr != end || id < 0) {
      throw input_error(decoder.path(), fmt::format("a key of \"{}\" is not a token id", decoder.key()),
                        in_quotes(name));
    }
    tokens.insert_or_assign(id, declared_token(node));
  });
  return tokens;
}

/// The tokens of an added_tokens.json, {"<pad>": 50257}, by id.
inline std::map<TokenId, std::string> encoder_tokens(const JsonNode& encoder) {
  std::map<TokenId, std::string> tokens;
  encoder.each_member([&](const std::string& content, const JsonNode& node) {
    if (!tokens.emplace(node.id(), content).second) {
      throw input_error(encoder.path(), fmt::format("two tokens have the id {}", node.id()));
    }
  });
  return tokens;
}

/// The added tokens that a tokenizer.json and the files beside it declare together, as transformers 5 reads
/// them: with an `added_tokens_decoder` in tokenizer_config.json neither special_tokens_map.json nor
/// added_tokens.json counts; tokens that have no id yet get the next ones, in the order of transformers.
///
/// The tokens that a class has of its own (`<|endoftext|>`, `<|padding|>`) count where the vocabulary has
/// them.
class TokenizerDeclarations {
 public:
  /// A token of tokenizer.json's `added_tokens`.
  struct Listed {
    TokenId id;
    AddedToken token;
  };

  /// Settles what the files beside `folder`/tokenizer.json, whose added tokens are `listed`, say about
  /// `source`, and adds all tokens.
  ///
  /// \throws Error (input) that names the file and the key of what is malformed or not implemented.
  static void apply(const std::filesystem::path& folder, const std::vector<Listed>& listed,
                    TokenizerSource& source) {
    TokenizerDeclarations self(folder, source);
    self.read(listed);
    if (self.class_ == TokenizerClass::any) {
      for (const Listed& one : listed) source.add_token(one.token, one.id, self.path("tokenizer.json"));
    }
    self.add_tokens();
  }

 private:
  struct Declaration {
    AddedToken token;
    std::string path;
    bool spelled = true;  ///< as a string, not as an object
    bool of_class = false;
  };

  static constexpr std::initializer_list<const char*> usual_names{
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

  TokenizerDeclarations(std::filesystem::path folder, TokenizerSource& source)
      : folder_(std::move(folder)), source_(source) {}

  std::string path(const char* name) const { return (folder_ / name).string(); }

  std::optional<nlohmann::json> read_optional(const char* name) {
    if (!is_named(folder_ / name)) return std::nullopt;
    source_.files.push_back(folder_ / name);
    return read_json_file(folder_ / name);
  }

  void read(const std::vector<Listed>& listed) {
    const auto config_json = read_optional("tokenizer_config.json");
    const auto special = read_optional("special_tokens_map.json");
    const auto added = read_optional("added_tokens.json");
    std::optional<JsonNode> config;
    if (config_json) config.emplace(*config_json, folder_ / "tokenizer_config.json");
    class_ = tokenizer_class(folder_, config);
    set_class(config && config->boolean_or("add_prefix_space", false));
    if (config) read_config(*config);
    const auto decoder = config ? config->find("added_tokens_decoder") : std::nullopt;
    std::optional<JsonNode> further = config;
    if (decoder) {
      for (auto& [id, token] : decoder_tokens(*decoder)) put(id, std::move(token), decoder->path());
    } else {
      if (special) {
        const JsonNode map(*special, folder_ / "special_tokens_map.json");
        read_special(map);
        if (map.value().contains("additional_special_tokens")) further = map;
      }
      if (added) read_added(JsonNode(*added, folder_ / "added_tokens.json"));
      for (const Listed& one : listed) put(one.id, one.token, path("tokenizer.json"));
    }
    if (further && !has_further_) read_further(*further, "additional_special_tokens", true);
  }

  /// What the class settles without asking tokenizer.json.
  void set_class(bool add_prefix_space) {
    if (class_ == TokenizerClass::any) return;
    source_.add_prefix_space = add_prefix_space;
    source_.nfc = class_ == TokenizerClass::gpt_neox;
    source_.use_pattern = true;
    source_.ignore_merges = source_.fuse_unknown = false;
    source_.unknown_token.reset();
    for (const char* name : {"bos_token", "eos_token", "unk_token"}) set_usual(name, "<|endoftext|>");
    if (class_ == TokenizerClass::gpt_neox) set_usual("pad_token", "<|padding|>");
  }

  void set_usual(const char* name, const char* content) {
    named_[name] = {{.content = content, .special = true}, path("tokenizer.json"), true, true};
  }

  void put(TokenId id, AddedToken token, const std::string& path) { by_id_[id] = {std::move(token), path}; }

  /// The members called `..._token`, of which null takes back what was there.
  void read_named(const JsonNode& root, bool special) {
    for (const auto& [name, value] : root.value().items()) {
      if (!name.ends_with("_token") || (special && keeps_name(name))) continue;
      if (value.is_null()) named_.erase(name);
      if (value.is_string() || value.is_object()) {
        named_[name] = {declared_token(root.at(name), special), root.path(), value.is_string()};
      } else if (!value.is_null() && !value.is_boolean()) {
        throw root.at(name).wrong("a token");
      }
    }
  }

  static bool is_usual(const std::string& name) {
    return std::find(usual_names.begin(), usual_names.end(), name) != usual_names.end();
  }

  /// Whether special_tokens_map.json does not change what a name of tokenizer_config.json stands for.
  bool keeps_name(const std::string& name) const {
    const auto found = named_.find(name);
    return found != named_.end() && found->second.spelled && !is_usual(name);
  }

  /// A list of tokens, or an object of tokens with names.
  void read_further(const JsonNode& root, const char* name, bool special) {
    const auto node = root.find(name);
    if (!node) return;
    if (node->value().is_object()) {
      node->each_member([&](const std::string& key, const JsonNode& element) {
        named_[key] = {declared_token(element, special), root.path(), element.value().is_string()};
      });
    } else {
      node->each_element([&](const JsonNode& element) {
        further_.push_back({declared_token(element, special), root.path(), element.value().is_string()});
      });
    }
  }

  /// `additional_special_tokens` is the older name, which counts where the newer one says nothing.
  void read_config(const JsonNode& config) {
    check_tokenizer_config(config);
    read_named(config, false);
    const auto further = config.find("extra_special_tokens");
    const bool counts = further && !further->value().empty();
    read_further(config, counts ? "extra_special_tokens" : "additional_special_tokens", false);
    const bool names = further && further->value().is_object();
    has_further_ = !names && (config.value().contains("extra_special_tokens") ||
                              config.value().contains("additional_special_tokens"));
  }

  void read_special(const JsonNode& special) {
    read_named(special, true);
    read_further(special, "extra_special_tokens", true);
    const auto further = special.find("extra_special_tokens");
    has_further_ |= further && further->value().is_array();
  }

  void read_added(const JsonNode& added) {
    std::unordered_set<std::string_view> known;
    for (const char* name : usual_names) {
      if (const auto found = named_.find(name); found != named_.end())
        known.insert(found->second.token.content);
    }
    for (const Declaration& declaration : further_) known.insert(declaration.token.content);
    for (auto& [id, content] : encoder_tokens(added)) {
      const bool special = known.contains(content);
      put(id, {.content = content, .normalized = !special, .special = special}, added.path());
    }
  }

  void add_tokens() {
    for (const auto& [name, declaration] : named_) special_.insert(declaration.token.content);
    for (const auto& [id, declaration] : by_id_) add(declaration, id);
    for (const auto& [content, id] : source_.added_ids) with_id_.insert(content);
    for (const char* name : usual_names) {
      if (const auto found = named_.find(name); found != named_.end()) add_new(found->second);
    }
    add_other_names();
    for (const Declaration& declaration : further_) add_new(declaration);
  }

  /// The tokens of further names, of which one alone may lack an id: JSON objects have no order here.
  void add_other_names() {
    std::string_view first;
    for (auto& [name, declaration] : named_) {
      if (is_usual(name)) continue;
      const std::size_t before = source_.added_ids.size();
      add_new(declaration);
      if (source_.ids.contains(declaration.token.content) || source_.added_ids.size() == before) continue;
      if (!first.empty()) {
        throw input_error(declaration.path, fmt::format("no id for the tokens of \"{}\" and", first),
                          in_quotes(name), "ids in \"added_tokens_decoder\"");
      }
      first = name;
    }
  }

  /// Adds a token that no file gives an id. The flags of the last declaration count that differs from all
  /// before.
  void add_new(const Declaration& declaration) {
    const std::string& content = declaration.token.content;
    if (declaration.of_class && !source_.ids.contains(content)) return;
    const AddedToken& token = declaration.token;
    const std::string flags{declaration.spelled, token.single_word, token.lstrip,
                            token.rstrip,        token.normalized,  token.special};
    if (with_id_.contains(content) || !added_.insert(flags + content).second) return;
    add(declaration, std::nullopt);
  }

  void add(const Declaration& declaration, std::optional<TokenId> id) {
    AddedToken token = declaration.token;
    if (token.content.empty()) return;
    token.special |= special_.contains(token.content);
    source_.add_token(std::move(token), id, declaration.path);
  }

  std::filesystem::path folder_;
  TokenizerSource& source_;
  TokenizerClass class_ = TokenizerClass::any;
  std::map<std::string, Declaration> named_;
  std::vector<Declaration> further_;
  std::map<TokenId, Declaration> by_id_;
  std::unordered_set<std::string_view> special_;  // the contents of `named_`
  std::unordered_set<std::string> with_id_;       // the contents that have an id in a file
  std::unordered_set<std::string> added_;         // flags and contents of the further ones added
  bool has_further_ = false;
};

}  // namespace eso
