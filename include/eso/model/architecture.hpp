// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// What stands between the two products of a layer's feed-forward part.
enum class Activation : std::uint8_t {
  gelu_tanh,  ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): GPT-2's `gelu_new`
  gelu,       ///< x/2 (1 + erf(x / sqrt(2))): GPT-NeoX
  relu,       ///< max(x, 0): OPT
};

/// How a token learns where it stands.
enum class Positions : std::uint8_t {
  learned,  ///< a row of a table is added to the embedding: GPT-2, OPT
  rotary,   ///< queries and keys are turned by an angle: GPT-NeoX
};

/// Where the normalisations of a layer stand.
enum class NormOrder : std::uint8_t {
  before,  ///< x + f(norm(x)): GPT-2, GPT-NeoX, most OPT
  after,   ///< norm(x + f(x)): OPT-350m
};

/// How queries, keys and values lie in the columns of their common product.
enum class QkvOrder : std::uint8_t {
  blocks,  ///< all queries, all keys, all values: GPT-2
  heads,   ///< query, key and value of head 0, of head 1, ...: GPT-NeoX
};

/// Which layout of names and shapes a model's files have.
enum class Family : std::uint8_t { gpt2, opt, gpt_neox };

/// Everything that decides what a `Decoder` computes, apart from its weights.
///
/// The defaults are GPT-2's. Which combinations a family's files may ask for is decided where its
/// `config.json` is read (`eso/model/hugging_face.hpp`); the decoder computes every combination.
struct Architecture {
  Family family = Family::gpt2;
  Index vocabulary = 0;  ///< V, rows of the embedding
  Index context = 0;     ///< the most tokens of a prompt and its response
  Index width = 0;       ///< H
  Index layers = 0;
  Index heads = 0;            ///< divides `width`
  Index inner = 0;            ///< width of the feed-forward part
  Index embedding_width = 0;  ///< of the token embedding; where it is not H, two projections stand between
  Activation activation = Activation::gelu_tanh;
  Positions positions = Positions::learned;
  Index position_offset = 0;  ///< row of the position table for position 0
  Index rotary_width = 0;     ///< leading entries of each head that are turned, even
  double rotary_base = 10000;
  NormOrder norm_order = NormOrder::before;
  bool final_norm = true;
  bool parallel_residual = false;  ///< x + attention(norm1(x)) + feed_forward(norm2(x))
  bool tied_head = true;           ///< the head's weights are the token embedding
  bool weights_in_out = true;      ///< matrices are stored (in, out) as GPT-2 does, else (out, in)
  QkvOrder qkv_order = QkvOrder::blocks;
  double norm_epsilon = 1e-5;
  bool scale_attention = true;                 ///< scores are divided by the square root of the head's width
  bool scale_by_inverse_layer = false;         ///< and by the layer's number, from 1
  std::optional<TokenId> end_of_sequence = 0;  ///< what is appended to a response that ends; nothing: none is
  std::vector<TokenId> ends = {0};             ///< the ids with which a response that is generated ends

  Index head_width() const { return width / heads; }
  bool is_end(TokenId id) const { return std::find(ends.begin(), ends.end(), id) != ends.end(); }
  bool projects() const { return embedding_width != width; }
};

/// Shares of units that are set to zero while training (`eso/model/dropout.hpp`), from 0 to below 1.
struct DropoutRates {
  double embedding = 0;  ///< of what goes into the first layer
  double attention = 0;  ///< of the probabilities of attention
  double residual = 0;   ///< of what attention and feed-forward part add to the residual

  bool any() const { return embedding > 0 || attention > 0 || residual > 0; }

  /// One rate wherever the family has dropout: OPT has none of the embedding.
  static DropoutRates all(Family family, double rate) {
    return {.embedding = family == Family::opt ? 0 : rate, .attention = rate, .residual = rate};
  }
};

/// What an array of a decoder is for.
enum class Role : std::uint8_t {
  token_embedding,
  position_embedding,
  project_in,
  norm1_weight,
  norm1_bias,
  qkv_weight,
  qkv_bias,
  attention_out_weight,
  attention_out_bias,
  norm2_weight,
  norm2_bias,
  inner_weight,
  inner_bias,
  outer_weight,
  outer_bias,
  final_norm_weight,
  final_norm_bias,
  project_out,
  head,
};

/// One array of a decoder: its role, the layer (0 where it belongs to none) and its shape as it is stored.
struct ArraySpec {
  Role role;
  Index layer;
  std::vector<Index> shape;

  Index size() const {
    Index size = 1;
    for (const Index n : shape) size *= n;
    return size;
  }
};

/// All arrays of the architecture, in the order in which data meets them.
inline std::vector<ArraySpec> arrays(const Architecture& a) {
  const auto matrix = [&](Index in, Index out) {
    return a.weights_in_out ? std::vector<Index>{in, out} : std::vector<Index>{out, in};
  };
  std::vector<ArraySpec> specs;
  const auto add = [&](Role role, Index layer, std::vector<Index> shape) {
    specs.push_back({role, layer, std::move(shape)});
  };
  add(Role::token_embedding, 0, {a.vocabulary, a.embedding_width});
  if (a.positions == Positions::learned)
    add(Role::position_embedding, 0, {a.context + a.position_offset, a.width});
  if (a.projects()) add(Role::project_in, 0, matrix(a.embedding_width, a.width));
  for (Index layer = 0; layer < a.layers; ++layer) {
    add(Role::norm1_weight, layer, {a.width});
    add(Role::norm1_bias, layer, {a.width});
    add(Role::qkv_weight, layer, matrix(a.width, 3 * a.width));
    add(Role::qkv_bias, layer, {3 * a.width});
    add(Role::attention_out_weight, layer, matrix(a.width, a.width));
    add(Role::attention_out_bias, layer, {a.width});
    add(Role::norm2_weight, layer, {a.width});
    add(Role::norm2_bias, layer, {a.width});
    add(Role::inner_weight, layer, matrix(a.width, a.inner));
    add(Role::inner_bias, layer, {a.inner});
    add(Role::outer_weight, layer, matrix(a.inner, a.width));
    add(Role::outer_bias, layer, {a.width});
  }
  if (a.final_norm) {
    add(Role::final_norm_weight, 0, {a.width});
    add(Role::final_norm_bias, 0, {a.width});
  }
  if (a.projects()) add(Role::project_out, 0, matrix(a.width, a.embedding_width));
  if (!a.tied_head) add(Role::head, 0, {a.vocabulary, a.embedding_width});
  return specs;
}

}  // namespace eso
