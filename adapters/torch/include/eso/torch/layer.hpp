// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "eso/model/architecture.hpp"
#include "eso/torch/affine.hpp"
#include "eso/torch/attention.hpp"
#include "eso/torch/dropout.hpp"
#include "eso/torch/lora.hpp"
#include "eso/torch/packing.hpp"

namespace eso::torch {

/// Queries, keys or values, (rows, heads, width of a head) each.
struct HeadsOfRows {
  at::Tensor queries, keys, values;
};

/// Cosines and sines of the angles that a row's position turns queries and keys by, of shape
/// (rows, 1, rotary_width / 2).
struct Rotation {
  at::Tensor cosine, sine;
};

/// The rotation of rows at these positions; nothing where positions are learned.
inline std::optional<Rotation> rotation_of(const Architecture& a, const at::Tensor& positions,
                                           at::ScalarType type) {
  if (a.positions != Positions::rotary || a.rotary_width == 0) return std::nullopt;
  const auto options = positions.options().dtype(type == at::kDouble ? at::kDouble : at::kFloat);
  const at::Tensor exponents =
      at::arange(0, a.rotary_width, 2, options) / static_cast<double>(a.rotary_width);
  const at::Tensor angles =
      positions.to(options.dtype()).unsqueeze(1) * at::pow(a.rotary_base, exponents).reciprocal();
  return Rotation{angles.cos().unsqueeze(1).to(type), angles.sin().unsqueeze(1).to(type)};
}

/// x with its first entries turned: (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), halves of them.
inline at::Tensor turned(const at::Tensor& x, const Rotation& r) {
  const std::int64_t half = r.cosine.size(2), width = x.size(2);
  const at::Tensor first = x.narrow(2, 0, half), second = x.narrow(2, half, half);
  return at::cat({first * r.cosine - second * r.sine, second * r.cosine + first * r.sine,
                  x.narrow(2, 2 * half, width - 2 * half)},
                 2);
}

/// A weight as (inputs, outputs), however files have it.
inline at::Tensor in_out(const Architecture& a, const at::Tensor& weight) {
  return a.weights_in_out ? weight : weight.t();
}

/// One layer of a decoder as a function of its input and its weights, which come as one list: the twelve
/// arrays of `arrays(a)`, of which matrices may be `packed`, then A and B of each adapter.
class Layer {
 public:
  /// Attention of rows: (rows, H) from their queries, keys and values.
  using Attend = std::function<at::Tensor(const HeadsOfRows&)>;

  /// Where the matrices are in the list, by `Product`; the bias of each comes after it.
  static constexpr std::array<std::size_t, 4> matrices = {2, 4, 8, 10};

  const Architecture& a;
  const std::vector<LoraModule>& adapters;
  double adapter_scale = 1;
  std::function<at::Tensor(const at::Tensor&, std::size_t)> drop = {};  ///< what goes into A of an adapter
  /// What attention and feed-forward part add to the residual, dropped.
  std::function<at::Tensor(const at::Tensor&, DropoutPlace)> drop_branch = {};

  /// x (rows, H) through the layer; of `rows` alone after attention, where they are given.
  at::Tensor operator()(const at::Tensor& x, std::span<const at::Tensor> weights, const Rotation* rotation,
                        const at::Tensor* rows, const Attend& attend) const {
    const bool after = a.norm_order == NormOrder::after;
    const at::Tensor normed = after ? x : norm(x, weights, 0);
    HeadsOfRows heads = split(product(Product::qkv, normed, weights));
    if (rotation) {
      heads.queries = turned(heads.queries, *rotation);
      heads.keys = turned(heads.keys, *rotation);
    }
    at::Tensor attended = attend(heads), input = x;
    if (rows) attended = attended.index_select(0, *rows), input = x.index_select(0, *rows);
    const at::Tensor branch =
        branch_of(product(Product::attention_out, attended, weights), DropoutPlace::attention_out);
    if (a.parallel_residual) return input + branch + feed_forward(norm(input, weights, 6), weights);
    const at::Tensor sum = input + branch;
    if (!after) return sum + feed_forward(norm(sum, weights, 6), weights);
    const at::Tensor middle = norm(sum, weights, 0);
    return norm(middle + feed_forward(middle, weights), weights, 6);
  }

 private:
  at::Tensor norm(const at::Tensor& x, std::span<const at::Tensor> weights, std::size_t at) const {
    return at::layer_norm(x, {a.width}, weights[at], weights[at + 1], a.norm_epsilon);
  }

  at::Tensor product(Product which, const at::Tensor& x, std::span<const at::Tensor> weights) const {
    const std::size_t place = matrices[static_cast<std::size_t>(which)];
    const at::Tensor& w = weights[place];
    const at::Tensor& b = weights[place + 1];
    at::Tensor y = affine(x, w.is_mkldnn() ? w : in_out(a, w), b);
    for (std::size_t i = 0; i < adapters.size(); ++i) {
      if (adapters[i].product != which) continue;
      const at::Tensor& A = weights[12 + 2 * i];
      const at::Tensor& B = weights[13 + 2 * i];
      at::Tensor added = affine(affine(drop ? drop(x, i) : x, A.t()), B.t()) * adapter_scale;
      const std::int64_t left = adapters[i].first, right = y.size(1) - left - adapters[i].outputs;
      if (left > 0 || right > 0) added = at::constant_pad_nd(added, {left, right});
      y = y + added;
    }
    return y;
  }

  at::Tensor feed_forward(const at::Tensor& x, std::span<const at::Tensor> weights) const {
    const at::Tensor inner = product(Product::inner, x, weights);
    const at::Tensor active = a.activation == Activation::relu   ? at::relu(inner)
                              : a.activation == Activation::gelu ? at::gelu(inner)
                                                                 : at::gelu(inner, "tanh");
    return branch_of(product(Product::outer, active, weights), DropoutPlace::feed_forward);
  }

  at::Tensor branch_of(at::Tensor x, DropoutPlace place) const {
    return drop_branch ? drop_branch(x, place) : x;
  }

  HeadsOfRows split(const at::Tensor& qkv) const {
    const bool blocks = a.qkv_order == QkvOrder::blocks;
    const at::Tensor parts = blocks ? qkv.view({qkv.size(0), 3, a.heads, a.head_width()})
                                    : qkv.view({qkv.size(0), a.heads, 3, a.head_width()});
    // Unbound and not selected: the three gradients then become one array in one copy.
    const std::vector<at::Tensor> three = parts.unbind(blocks ? 1 : 2);
    return {three[0], three[1], three[2]};
  }
};

/// What scores of attention are multiplied by in a layer.
inline double attention_scale(const Architecture& a, Index layer) {
  double scale = a.scale_attention ? 1 / std::sqrt(static_cast<double>(a.head_width())) : 1;
  return a.scale_by_inverse_layer ? scale / static_cast<double>(layer + 1) : scale;
}

/// The rows of a block, (rows, heads, width), as (texts, heads, longest, width).
inline at::Tensor as_texts(const at::Tensor& x, const Block& block) {
  const at::Tensor rows = x.narrow(0, block.begin, block.rows);
  const std::vector<std::int64_t> shape{block.texts, block.longest, x.size(1), x.size(2)};
  if (block.even()) return rows.reshape(shape).transpose(1, 2);
  return at::zeros({block.texts * block.longest, x.size(1), x.size(2)}, x.options())
      .index_copy(0, block.index, rows)
      .view(shape)
      .transpose(1, 2);
}

/// The other way, (rows, H).
inline at::Tensor as_rows(const at::Tensor& texts, const Block& block) {
  const at::Tensor all =
      texts.transpose(1, 2).reshape({block.texts * block.longest, texts.size(1) * texts.size(3)});
  return block.even() ? all : all.index_select(0, block.index);
}

/// `attention` through its probabilities, of which `drop` leaves some: for dropout, whose masks are no
/// generator's of LibTorch. O(rows keys) memory.
inline at::Tensor dropped_attention(const at::Tensor& queries, const at::Tensor& keys,
                                    const at::Tensor& values, const at::Tensor& mask, double scale,
                                    const std::function<at::Tensor(const at::Tensor&)>& drop) {
  const at::ScalarType sums = queries.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor scores = at::matmul(queries, keys.transpose(2, 3)).to(sums) * scale;
  if (mask.defined()) {
    scores = scores + mask;
  } else {
    const auto options = scores.options().dtype(at::kBool);
    const at::Tensor unseen = at::ones({scores.size(2), scores.size(3)}, options).triu(1);
    scores = scores.masked_fill(unseen, -INFINITY);
  }
  return at::matmul(drop(at::softmax(scores, 3)).to(queries.scalar_type()), values);
}

/// Causal attention of a packed batch: prompts among themselves, each response over its prompt's keys and
/// values, computed once, and its own. `dropout` may be null.
inline at::Tensor attend(const HeadsOfRows& heads, const Packed& packed, double scale,
                         const Dropout* dropout = nullptr, Index layer = 0) {
  std::vector<at::Tensor> pieces;
  const auto over = [&](const Block& block, const at::Tensor& keys, const at::Tensor& values,
                        const at::Tensor& mask) {
    const at::Tensor queries = as_texts(heads.queries, block);
    if (dropout && dropout->on(DropoutPlace::attention)) {
      const at::Tensor kept =
          dropout->attention(layer, block, keys.size(2) - block.longest, heads.queries.size(1));
      const auto drop = [&](const at::Tensor& p) { return dropout->kept(p, kept, DropoutPlace::attention); };
      return as_rows(dropped_attention(queries, keys, values, mask, scale, drop), block);
    }
    return as_rows(attention(queries, keys, values, mask, scale), block);
  };
  for (const Bucket& bucket : packed.buckets) {
    const Block& prompts = bucket.prompts;
    const Block& responses = bucket.responses;
    const at::Tensor keys = as_texts(heads.keys, prompts), values = as_texts(heads.values, prompts);
    pieces.push_back(over(prompts, keys, values, {}));
    if (responses.rows == 0) continue;
    // Expanding and not gathering: the gradients of a prompt's copies are summed in one order.
    const auto beside = [&](const at::Tensor& shared, const at::Tensor& own) {
      const at::Tensor repeated = shared.unsqueeze(1)
                                      .expand({prompts.texts, bucket.per_prompt, -1, -1, -1})
                                      .reshape({responses.texts, shared.size(1), prompts.longest, -1});
      return at::cat({repeated, as_texts(own, responses)}, 2);
    };
    pieces.push_back(over(responses, beside(keys, heads.keys), beside(values, heads.values), bucket.mask));
  }
  return pieces.size() == 1 ? pieces.front() : at::cat(pieces);
}

}  // namespace eso::torch
