// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <optional>
#include <string>

#include "eso/model/config_values.hpp"

namespace eso {

/// What a `config.json` says of rotary positions, in either spelling: `rotary_pct` and `rotary_emb_base`, or
/// an object `rope_parameters` (also `rope_scaling`) with `partial_rotary_factor` and `rope_theta`.
class GptNeoxRotary {
 public:
  explicit GptNeoxRotary(const ConfigValues& config) : config_(config) {
    read("rotary_pct", config.find("rotary_pct"), share_, share_key_);
    read("rotary_emb_base", config.find("rotary_emb_base"), base_, base_key_);
    for (const char* name : {"rope_parameters", "rope_scaling"}) {
      const auto node = config.find(name);
      if (!node) continue;
      for (const char* type : {"rope_type", "type"}) {
        const auto kind = node->find(type);
        if (kind && kind->string() != "default")
          throw config.wrong(kind->key(), kind->found(), "\"default\"");
      }
      const auto share = node->find("partial_rotary_factor"), base = node->find("rope_theta");
      read(share ? share->key() : "", share, share_, share_key_);
      read(base ? base->key() : "", base, base_, base_key_);
    }
  }

  double base() const { return base_.value_or(10000); }

  /// How many entries of a head of this width are turned.
  Index width(Index head_width) const {
    const double share = share_.value_or(0.25);
    if (share > 1) throw config_.wrong(share_key_, fmt::format("{}", share), "above 0, at most 1");
    const auto width = static_cast<Index>(static_cast<double>(head_width) * share);
    if (width < 2 || width % 2 != 0) {
      throw config_.wrong(share_key_,
                          fmt::format("{}, which turns {} of a head's {} entries", share, width, head_width),
                          "an even number of at least 2 that are turned");
    }
    return width;
  }

 private:
  void read(const std::string& key, const std::optional<JsonNode>& node, std::optional<double>& value,
            std::string& value_key) const {
    if (!node) return;
    const double found = config_.positive(*node);
    if (value && *value != found)
      throw config_.wrong(key, node->found(), fmt::format("{} as in {}", *value, value_key));
    value = found;
    value_key = key;
  }

  ConfigValues config_;
  std::optional<double> share_, base_;
  std::string share_key_ = "rotary_pct", base_key_;
};

/// The architecture that a GPT-NeoX's (Pythia's) `config.json` asks for, read as transformers'
/// `GPTNeoXConfig` does.
///
/// \throws Error (input) naming file and key for a value of the wrong type or size, and for every setting
/// that would change the mathematics and is not implemented.
///
/// Source: Black et al. 2022, "GPT-NeoX-20B", arXiv 2204.06745; Biderman et al. 2023, "Pythia", arXiv
/// 2304.01373.
inline Architecture gpt_neox_architecture(const ConfigValues& config) {
  Architecture a;
  a.family = Family::gpt_neox;
  a.vocabulary = config.count({"vocab_size"}, 50432);
  a.context = config.count({"max_position_embeddings"}, 2048);
  a.width = a.embedding_width = config.count({"hidden_size"}, 6144);
  a.layers = config.count({"num_hidden_layers"}, 44);
  a.heads = config.count({"num_attention_heads"}, 64);
  a.inner = config.count({"intermediate_size"}, 24576);
  config.check_heads(a, "num_attention_heads", "hidden_size");
  if (const Index head = config.count({"head_dim"}, a.head_width()); head != a.head_width())
    throw config.wrong("head_dim", fmt::format("{}", head), fmt::format("{}", a.head_width()));
  a.activation = config.activation("hidden_act", Activation::gelu);
  a.positions = Positions::rotary;
  const GptNeoxRotary rotary(config);
  a.rotary_width = rotary.width(a.head_width());
  a.rotary_base = rotary.base();
  a.parallel_residual = config.boolean("use_parallel_residual", true);
  a.tied_head = config.boolean("tie_word_embeddings", false);
  a.weights_in_out = false;
  a.qkv_order = QkvOrder::heads;
  a.norm_epsilon = config.positive("layer_norm_eps", 1e-5);
  config.require_boolean("attention_bias", true);
  config.read_ends(a, 2);
  return a;
}

/// The rates of dropout that a GPT-NeoX's `config.json` asks for while training.
inline DropoutRates gpt_neox_dropout(const ConfigValues& config) {
  const double hidden = config.rate("hidden_dropout", 0);
  return {.embedding = hidden, .attention = config.rate("attention_dropout", 0), .residual = hidden};
}

/// The name of an array of a GPT-NeoX in its files, after the prefix `gpt_neox.`.
inline std::string gpt_neox_name(Role role, Index layer) {
  const auto in_layer = [&](const char* name) { return fmt::format("layers.{}.{}", layer, name); };
  switch (role) {
    case Role::token_embedding:
      return "embed_in.weight";
    case Role::norm1_weight:
      return in_layer("input_layernorm.weight");
    case Role::norm1_bias:
      return in_layer("input_layernorm.bias");
    case Role::qkv_weight:
      return in_layer("attention.query_key_value.weight");
    case Role::qkv_bias:
      return in_layer("attention.query_key_value.bias");
    case Role::attention_out_weight:
      return in_layer("attention.dense.weight");
    case Role::attention_out_bias:
      return in_layer("attention.dense.bias");
    case Role::norm2_weight:
      return in_layer("post_attention_layernorm.weight");
    case Role::norm2_bias:
      return in_layer("post_attention_layernorm.bias");
    case Role::inner_weight:
      return in_layer("mlp.dense_h_to_4h.weight");
    case Role::inner_bias:
      return in_layer("mlp.dense_h_to_4h.bias");
    case Role::outer_weight:
      return in_layer("mlp.dense_4h_to_h.weight");
    case Role::outer_bias:
      return in_layer("mlp.dense_4h_to_h.bias");
    case Role::final_norm_weight:
      return "final_layer_norm.weight";
    case Role::final_norm_bias:
      return "final_layer_norm.bias";
    case Role::position_embedding:
    case Role::project_in:
    case Role::project_out:
    case Role::head:
      break;
  }
  throw input_error("gpt_neox_name", "the family has no such array");
}

}  // namespace eso
