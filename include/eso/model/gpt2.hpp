// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "eso/model/architecture.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// Reads the settings of a GPT-2 from its `config.json` as transformers' `GPT2Config` does: a missing key has
/// GPT-2's default, and the general spellings (`hidden_size`, `num_hidden_layers`, ...) stand for GPT-2's
/// own.
///
/// Dropout probabilities and everything that leaves the mathematics alone are ignored.
///
/// \throws Error (input) naming file and key for a value of the wrong type or size, and for every setting
/// that would
///         change the mathematics and is not implemented.
class Gpt2Settings {
 public:
  explicit Gpt2Settings(const JsonNode& config) : config_(config) {}

  Architecture architecture() const {
    Architecture a;
    a.family = Family::gpt2;
    a.vocabulary = count({"vocab_size"}, 50257);
    a.context = count({"n_positions", "max_position_embeddings"}, 1024);
    a.width = a.embedding_width = count({"n_embd", "hidden_size"}, 768);
    a.layers = count({"n_layer", "num_hidden_layers"}, 12);
    a.heads = count({"n_head", "num_attention_heads"}, 12);
    a.inner = count({"n_inner"}, 4 * a.width);
    if (a.width % a.heads != 0) {
      throw wrong(spelled("n_head", "num_attention_heads"), fmt::format("{}", a.heads),
                  fmt::format("a divisor of {}, {}", spelled("n_embd", "hidden_size"), a.width));
    }
    a.activation = activation();
    a.norm_epsilon = positive("layer_norm_epsilon", 1e-5);
    a.scale_attention = config_.boolean_or("scale_attn_weights", true);
    a.scale_by_inverse_layer = config_.boolean_or("scale_attn_by_inverse_layer_idx", false);
    a.tied_head = config_.boolean_or("tie_word_embeddings", true);
    if (config_.boolean_or("add_cross_attention", false)) throw wrong("add_cross_attention", "true", "false");
    a.end_of_sequence = end_of_sequence();
    return a;
  }

 private:
  Error wrong(const std::string& key, const std::string& found, const std::string& expected) const {
    return input_error(config_.path(), fmt::format("\"{}\" is not usable", key), found, expected);
  }

  /// The key under which the file has it.
  const char* spelled(const char* own, const char* general) const {
    return config_.find(own) || !config_.find(general) ? own : general;
  }

  /// What the keys say that are there and not null, which must be one and the same.
  Index count(std::initializer_list<const char*> keys, Index otherwise) const {
    std::optional<Index> found;
    for (const char* key : keys) {
      const auto node = config_.find(key);
      if (!node) continue;
      constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
      const nlohmann::json& value = node->value();
      if (!value.is_number_integer() ||
          (value.is_number_unsigned() && value.get<std::uint64_t>() > largest) ||
          value.get<std::int64_t>() < 1) {
        throw wrong(key, node->found(), "an integer from 1 to 2147483647");
      }
      const auto number = static_cast<Index>(value.get<std::int64_t>());
      if (found && *found != number)
        throw wrong(key, node->found(), fmt::format("{} as in its synonym", *found));
      found = number;
    }
    return found.value_or(otherwise);
  }

  double positive(const char* key, double otherwise) const {
    const auto node = config_.find(key);
    if (!node) return otherwise;
    const double value = node->value().is_number() ? node->value().get<double>() : -1;
    if (!(value > 0) || !std::isfinite(value)) throw wrong(key, node->found(), "a number above 0");
    return value;
  }

  Activation activation() const {
    const auto node = config_.find("activation_function");
    if (!node) return Activation::gelu_tanh;
    const std::string& name = node->string();
    if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
      return Activation::gelu_tanh;
    if (name == "gelu" || name == "gelu_python") return Activation::gelu;
    if (name == "relu") return Activation::relu;
    throw wrong("activation_function", in_quotes(name),
                "gelu_new, gelu_pytorch_tanh, gelu_fast, gelu, gelu_python or relu");
  }

  TokenId end_of_sequence() const {
    const auto node = config_.find("eos_token_id");
    if (!node) return 50256;
    std::optional<TokenId> first;
    if (!node->value().is_array()) return node->id();
    node->each_element([&](const JsonNode& id) {
      if (!first) first = id.id();
    });
    if (!first) throw wrong("eos_token_id", "[]", "an id or a list of ids");
    return *first;
  }

  JsonNode config_;
};

/// The name of an array of a GPT-2 in its files, after the optional prefix `transformer.`.
inline std::string gpt2_name(Role role, Index layer) {
  const auto in_layer = [&](const char* name) { return fmt::format("h.{}.{}", layer, name); };
  switch (role) {
    case Role::token_embedding:
      return "wte.weight";
    case Role::position_embedding:
      return "wpe.weight";
    case Role::norm1_weight:
      return in_layer("ln_1.weight");
    case Role::norm1_bias:
      return in_layer("ln_1.bias");
    case Role::qkv_weight:
      return in_layer("attn.c_attn.weight");
    case Role::qkv_bias:
      return in_layer("attn.c_attn.bias");
    case Role::attention_out_weight:
      return in_layer("attn.c_proj.weight");
    case Role::attention_out_bias:
      return in_layer("attn.c_proj.bias");
    case Role::norm2_weight:
      return in_layer("ln_2.weight");
    case Role::norm2_bias:
      return in_layer("ln_2.bias");
    case Role::inner_weight:
      return in_layer("mlp.c_fc.weight");
    case Role::inner_bias:
      return in_layer("mlp.c_fc.bias");
    case Role::outer_weight:
      return in_layer("mlp.c_proj.weight");
    case Role::outer_bias:
      return in_layer("mlp.c_proj.bias");
    case Role::final_norm_weight:
      return "ln_f.weight";
    case Role::final_norm_bias:
      return "ln_f.bias";
    case Role::project_in:
    case Role::project_out:
    case Role::head:
      break;
  }
  throw input_error("gpt2_name", "the family has no such array");
}

}  // namespace eso
