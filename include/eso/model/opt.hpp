// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <vector>

#include "eso/model/config_values.hpp"

namespace eso {

/// The architecture that an OPT's `config.json` asks for, read as transformers' `OPTConfig` does.
///
/// Positions are rows from 2 on of their table. The epsilon of the normalisations is 1e-5: the file has no
/// say. With `do_layer_norm_before` false (OPT-350m) they follow each part and none stands before the head.
///
/// One thing differs from transformers: there the input embedding of `pad_token_id` is not trained, here no
/// id is special.
///
/// \throws Error (input) naming file and key for a value of the wrong type or size, and for every setting
/// that would change the mathematics and is not implemented.
///
/// Source: Zhang et al. 2022, "OPT: Open Pre-trained Transformer Language Models", arXiv 2205.01068.
inline Architecture opt_architecture(const ConfigValues& config) {
  Architecture a;
  a.family = Family::opt;
  a.vocabulary = config.count({"vocab_size"}, 50272);
  a.context = config.count({"max_position_embeddings"}, 2048);
  a.width = config.count({"hidden_size"}, 768);
  a.embedding_width = config.count({"word_embed_proj_dim"}, a.width);
  a.layers = config.count({"num_hidden_layers"}, 12);
  a.heads = config.count({"num_attention_heads"}, 12);
  a.inner = config.count({"ffn_dim"}, 3072);
  config.check_heads(a, "num_attention_heads", "hidden_size");
  a.activation = config.activation("activation_function", Activation::relu);
  a.position_offset = 2;
  const bool before = config.boolean("do_layer_norm_before", true);
  a.norm_order = before ? NormOrder::before : NormOrder::after;
  a.final_norm = !config.boolean("_remove_final_layer_norm", false) && before;
  a.tied_head = config.boolean("tie_word_embeddings", true);
  a.weights_in_out = false;
  config.require_boolean("enable_bias", true);
  config.require_boolean("layer_norm_elementwise_affine", true);
  config.read_ends(a, 2);
  return a;
}

/// The rates of dropout that an OPT's `config.json` asks for while training. The embedding has none.
///
/// \throws Error (input) also for a `layerdrop` above 0, which is not implemented.
inline DropoutRates opt_dropout(const ConfigValues& config) {
  if (const double rate = config.rate("layerdrop", 0); rate > 0)
    throw config.wrong("layerdrop", fmt::format("{}", rate), "0");
  return {.attention = config.rate("attention_dropout", 0), .residual = config.rate("dropout", 0.1)};
}

/// The names of an array of an OPT in its files, after the prefix "decoder." or
/// "model.decoder.": one, but for queries, keys and values, which are three.
inline std::vector<std::string> opt_names(Role role, Index layer) {
  const auto in_layer = [&](const char* name) { return fmt::format("layers.{}.{}", layer, name); };
  const auto projections = [&](const char* kind) -> std::vector<std::string> {
    std::vector<std::string> names;
    for (const char which : {'q', 'k', 'v'})
      names.push_back(fmt::format("layers.{}.self_attn.{}_proj.{}", layer, which, kind));
    return names;
  };
  switch (role) {
    case Role::token_embedding:
      return {"embed_tokens.weight"};
    case Role::position_embedding:
      return {"embed_positions.weight"};
    case Role::project_in:
      return {"project_in.weight"};
    case Role::norm1_weight:
      return {in_layer("self_attn_layer_norm.weight")};
    case Role::norm1_bias:
      return {in_layer("self_attn_layer_norm.bias")};
    case Role::qkv_weight:
      return projections("weight");
    case Role::qkv_bias:
      return projections("bias");
    case Role::attention_out_weight:
      return {in_layer("self_attn.out_proj.weight")};
    case Role::attention_out_bias:
      return {in_layer("self_attn.out_proj.bias")};
    case Role::norm2_weight:
      return {in_layer("final_layer_norm.weight")};
    case Role::norm2_bias:
      return {in_layer("final_layer_norm.bias")};
    case Role::inner_weight:
      return {in_layer("fc1.weight")};
    case Role::inner_bias:
      return {in_layer("fc1.bias")};
    case Role::outer_weight:
      return {in_layer("fc2.weight")};
    case Role::outer_bias:
      return {in_layer("fc2.bias")};
    case Role::final_norm_weight:
      return {"final_layer_norm.weight"};
    case Role::final_norm_bias:
      return {"final_layer_norm.bias"};
    case Role::project_out:
      return {"project_out.weight"};
    case Role::head:
      break;
  }
  throw input_error("opt_names", "the family has no such array");
}

}  // namespace eso
