// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/model/attention.hpp"
#include "eso/model/vocabulary_head.hpp"
#include "eso/tensor.hpp"

namespace eso {

/// Where a decoder's array lies and what it is called in files.
template <class Scalar>
struct StoredArray {
  ArraySpec spec;
  std::vector<std::string> names;  ///< of the tensors that it is in files: of equally many rows of it each
  Scalar* value = nullptr;

  /// The numbers of one tensor.
  Index tensor_size() const { return spec.size() / static_cast<Index>(names.size()); }
  std::vector<Index> tensor_shape() const {
    std::vector<Index> shape = spec.shape;
    shape.front() /= static_cast<Index>(names.size());
    return shape;
  }
  Scalar* tensor(std::size_t i) const { return value + static_cast<Index>(i) * tensor_size(); }
};

/// The tensors of `stored` as parameters; `gradients` has one array for each of its arrays.
template <class Scalar>
ParameterList<Scalar> parameter_list(const std::vector<StoredArray<Scalar>>& stored,
                                     const std::vector<Scalar*>& gradients) {
  ParameterList<Scalar> list;
  for (std::size_t i = 0; i < stored.size(); ++i) {
    const StoredArray<Scalar>& array = stored[i];
    const Index size = array.tensor_size();
    for (std::size_t t = 0; t < array.names.size(); ++t) {
      list.push_back({array.names[t], array.tensor_shape(), array.tensor(t),
                      gradients[i] + static_cast<Index>(t) * size, size, array.spec.shape.size() > 1});
    }
  }
  return list;
}

/// Views of the tensors of `stored`, which `owner` keeps alive.
template <class Scalar>
std::vector<TensorView> tensor_views(const std::vector<StoredArray<Scalar>>& stored,
                                     const std::shared_ptr<const void>& owner) {
  std::vector<TensorView> views;
  for (const StoredArray<Scalar>& array : stored) {
    for (std::size_t t = 0; t < array.names.size(); ++t) {
      const std::span values(array.tensor(t), static_cast<std::size_t>(array.tensor_size()));
      views.push_back(
          {array.names[t], data_type_of<Scalar>, array.tensor_shape(), std::as_bytes(values), owner});
    }
  }
  return views;
}

/// Copies all tensors of `stored` from where `lookup` finds them.
///
/// \throws Error (input) naming the first that is missing or another, before anything is changed.
template <class Scalar>
void copy_tensors(const TensorLookup& lookup, const std::vector<StoredArray<Scalar>>& stored) {
  std::vector<std::pair<TensorView, Scalar*>> found;
  for (const StoredArray<Scalar>& array : stored) {
    for (std::size_t t = 0; t < array.names.size(); ++t) {
      std::optional<TensorView> tensor = lookup(array.names[t]);
      if (!tensor) throw input_error(array.names[t], "the tensor is missing");
      if (tensor->shape != array.tensor_shape() || tensor->type != data_type_of<Scalar>) {
        throw input_error(array.names[t], "the tensor has another shape or type than the model");
      }
      found.emplace_back(std::move(*tensor), array.tensor(t));
    }
  }
  for (const auto& [tensor, value] : found)
    std::copy(tensor.bytes.begin(), tensor.bytes.end(), reinterpret_cast<std::byte*>(value));
}

/// The operations of one layer.
template <class Scalar>
struct DecoderLayer {
  LayerNorm<Scalar> norm1, norm2;
  Linear<Scalar> qkv, attention_out, inner, outer;
  Attention<Scalar> attention;
};

/// The operations of a decoder, each pointing at its arrays.
template <class Scalar>
struct DecoderWeights {
  Weight<Scalar> token_embedding, position_embedding;
  Linear<Scalar> project_in, project_out;
  std::vector<DecoderLayer<Scalar>> layers;
  LayerNorm<Scalar> final_norm;
  VocabularyHead<Scalar> head;

  /// Copies the matrices, as they are now, for products with few rows: as much memory as they take, that of
  /// the copies of `old` if there are some.
  void pack(const DecoderWeights* old, Threads& threads) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      for (const auto linear : {&DecoderLayer<Scalar>::qkv, &DecoderLayer<Scalar>::attention_out,
                                &DecoderLayer<Scalar>::inner, &DecoderLayer<Scalar>::outer}) {
        (layers[i].*linear).pack(old ? (old->layers[i].*linear).packed : nullptr, threads);
      }
    }
    head.pack(old ? old->head.packed : nullptr, threads);
  }

  /// Points them at `stored`, which has the order of `arrays(a)`, and at their gradients where there are any.
  void bind(const Architecture& a, const std::vector<StoredArray<Scalar>>& stored,
            const std::vector<Scalar*>& gradients) {
    layers.clear();
    for (Index i = 0; i < a.layers; ++i) layers.push_back({{}, {}, {}, {}, {}, {}, Attention<Scalar>(a, i)});
    for (std::size_t i = 0; i < stored.size(); ++i) {
      slot(stored[i].spec) = {stored[i].value, gradients.empty() ? nullptr : gradients[i]};
    }
    const auto shape = [&](Linear<Scalar>& linear, Index in, Index out) {
      linear.in = in, linear.out = out, linear.in_out = a.weights_in_out;
    };
    const auto epsilon = static_cast<Scalar>(a.norm_epsilon);
    for (DecoderLayer<Scalar>& layer : layers) {
      shape(layer.qkv, a.width, 3 * a.width);
      shape(layer.attention_out, a.width, a.width);
      shape(layer.inner, a.width, a.inner);
      shape(layer.outer, a.inner, a.width);
      layer.norm1.epsilon = layer.norm2.epsilon = epsilon;
    }
    final_norm.epsilon = epsilon;
    shape(project_in, a.embedding_width, a.width);
    shape(project_out, a.width, a.embedding_width);
    if (a.tied_head) head.weight = token_embedding;
    head.vocabulary = a.vocabulary;
    head.width = a.embedding_width;
  }

 private:
  Weight<Scalar>& slot(const ArraySpec& spec) {
    DecoderLayer<Scalar>* const layer = layers.data() + spec.layer;  // of none where there are no layers
    switch (spec.role) {
      case Role::token_embedding:
        return token_embedding;
      case Role::position_embedding:
        return position_embedding;
      case Role::project_in:
        return project_in.weight;
      case Role::norm1_weight:
        return layer->norm1.weight;
      case Role::norm1_bias:
        return layer->norm1.bias;
      case Role::qkv_weight:
        return layer->qkv.weight;
      case Role::qkv_bias:
        return layer->qkv.bias;
      case Role::attention_out_weight:
        return layer->attention_out.weight;
      case Role::attention_out_bias:
        return layer->attention_out.bias;
      case Role::norm2_weight:
        return layer->norm2.weight;
      case Role::norm2_bias:
        return layer->norm2.bias;
      case Role::inner_weight:
        return layer->inner.weight;
      case Role::inner_bias:
        return layer->inner.bias;
      case Role::outer_weight:
        return layer->outer.weight;
      case Role::outer_bias:
        return layer->outer.bias;
      case Role::final_norm_weight:
        return final_norm.weight;
      case Role::final_norm_bias:
        return final_norm.bias;
      case Role::project_out:
        return project_out.weight;
      case Role::head:
        return head.weight;
    }
    throw input_error("Decoder", "unknown role of an array");
  }
};

/// Copies of the weights for decoding, whose memory one `Decoding` hands to the next.
template <class Scalar>
class PackedWeights {
 public:
  /// A copy of the weights as they are now, in the memory of the last copy unless that is still in use.
  std::shared_ptr<const DecoderWeights<Scalar>> copy(const DecoderWeights<Scalar>& weights,
                                                     Threads& threads) {
    const std::lock_guard lock(mutex_);
    auto fresh = std::make_shared<DecoderWeights<Scalar>>(weights);
    fresh->pack(last_.use_count() == 1 ? last_.get() : nullptr, threads);
    return last_ = fresh;
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<const DecoderWeights<Scalar>> last_;
};

}  // namespace eso
