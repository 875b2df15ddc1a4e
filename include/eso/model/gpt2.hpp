// SPDX-License-Identifier: MIT
#pragma once

#include <string>

#include "eso/model/config_values.hpp"

namespace eso {

/// The architecture that a GPT-2's `config.json` asks for, read as transformers' `GPT2Config` does: a missing
/// key has GPT-2's default, and the general spellings (`hidden_size`, `num_hidden_layers`, ...) stand for
/// GPT-2's own.
///
/// Everything that leaves the mathematics alone is ignored.
///
/// \throws Error (input) naming file and key for a value of the wrong type or size, and for every setting
/// that would change the mathematics and is not implemented.
inline Architecture gpt2_architecture(const ConfigValues& config) {
  Architecture a;
  a.family = Family::gpt2;
  a.vocabulary = config.count({"vocab_size"}, 50257);
  a.context = config.count({"n_positions", "max_position_embeddings"}, 1024);
  a.width = a.embedding_width = config.count({"n_embd", "hidden_size"}, 768);
  a.layers = config.count({"n_layer", "num_hidden_layers"}, 12);
  a.heads = config.count({"n_head", "num_attention_heads"}, 12);
  a.inner = config.count({"n_inner"}, 4 * a.width);
  config.check_heads(a, config.spelled("n_head", "num_attention_heads"),
                     config.spelled("n_embd", "hidden_size"));
  a.activation = config.activation("activation_function", Activation::gelu_tanh);
  a.norm_epsilon = config.positive("layer_norm_epsilon", 1e-5);
  a.scale_attention = config.boolean("scale_attn_weights", true);
  a.scale_by_inverse_layer = config.boolean("scale_attn_by_inverse_layer_idx", false);
  a.tied_head = config.boolean("tie_word_embeddings", true);
  config.require_boolean("add_cross_attention", false);
  config.read_ends(a, 50256);
  return a;
}

/// The rates of dropout that a GPT-2's `config.json` asks for while training.
inline DropoutRates gpt2_dropout(const ConfigValues& config) {
  return {.embedding = config.rate("embd_pdrop", 0.1),
          .attention = config.rate("attn_pdrop", 0.1),
          .residual = config.rate("resid_pdrop", 0.1)};
}

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
