// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/model/architecture.hpp"
#include "eso/random.hpp"
#include "eso/torch/adapters.hpp"
#include "eso/torch/checkpoint.hpp"
#include "eso/torch/device.hpp"
#include "eso/torch/dropout.hpp"
#include "eso/torch/embedding.hpp"
#include "eso/torch/head.hpp"
#include "eso/torch/layer.hpp"
#include "eso/torch/parameters.hpp"

namespace eso::torch {

/// How a model is held and computed.
struct DecoderOptions {
  at::Device device = at::Device(at::kCPU);
  Precision precision = Precision::float32;
  bool trains = true;  ///< false: weights in the type of products alone, nothing is kept for `backward`
  bool checkpoint_activations =
      false;  ///< a layer keeps its input alone; the backward pass computes it again
  Lora lora = {};
};

/// One array of `arrays(a)` on its device.
struct DeviceArray {
  ArraySpec spec;
  std::vector<std::string> names;  ///< of the tensors that it is in files: of equally many rows of it each
  at::Tensor value;
};

class Decoding;

/// An autoregressive transformer on LibTorch: a `LogProbModel`, a `Generator` and `Checkpointable`, on any
/// device, for every `Architecture` (`eso::Decoder` is the same on the CPU without LibTorch).
///
/// A prompt is computed once for all its responses, texts of like lengths go through attention together, and
/// only rows whose next token is asked for leave the last layer's attention. The gradient is autograd's, of
/// products, the head and on the CPU attention our own (`affine`, `Head`, `Attention`); no (tokens, V) array
/// above `Head::kept_bytes` exists. Under bfloat16 what is trained stays float32 and is cast inside the
/// graph, so gradients are float32 too.
///
/// A pass waits for the device once, for the log-probabilities; with dropout also for each mask.
class Decoder {
 public:
  /// Generation copies the weights into the order in which it reads them, on the CPU where oneDNN does so.
  /// Faster by a third; in float32 as much memory again as the weights while it lasts.
  bool packs_for_decoding = true;
  bool keeps_for_backward = true;  ///< false: `log_probs` keeps nothing and `backward` is refused

  DropoutRates dropout = {};  ///< of `log_probs(batch, seed)`; nothing else drops

  /// Takes the arrays of `arrays(a)` in that order, on the device already; they are changed by training.
  Decoder(const Architecture& a, std::vector<DeviceArray> taken, const DecoderOptions& options)
      : architecture_(a),
        options_(options),
        adapters_(a, options.lora,
                  at::TensorOptions(options.trains ? master_type(options.precision) : compute())
                      .device(options.device),
                  options.trains),
        arrays_(std::move(taken)) {
    require(arrays_.size() == arrays(a).size(), "torch::Decoder", "needs every array of its architecture");
    head_.sums = master_type(options.precision);
    for (DeviceArray& array : arrays_) array.value.requires_grad_(options.trains && !options.lora.on());
  }

  /// A copy would train the same tensors.
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  Decoder(Decoder&&) = default;
  Decoder& operator=(Decoder&&) = default;

  const Architecture& architecture() const { return architecture_; }
  const DecoderOptions& options() const { return options_; }
  Index vocabulary_size() const { return architecture_.vocabulary; }
  Index context_length() const { return architecture_.context; }
  std::optional<TokenId> end_of_sequence() const { return architecture_.end_of_sequence; }
  bool is_end(TokenId id) const { return architecture_.is_end(id); }

  /// From here on the logits are divided by `temperature`, which is 1 unless it is set.
  void set_temperature(double temperature) {
    require(temperature > 0 && std::isfinite(temperature), "torch::Decoder::set_temperature",
            "must be finite and above 0");
    head_.temperature = temperature;
    forget();
  }

  /// (N, R) log-probabilities in nats. Keeps what `backward` needs until the next call.
  LogProbs log_probs(const Batch& batch) { return forward(batch, std::nullopt); }

  /// The same as the model trains: through the masks of dropout that the step has (`DropoutMasks`), and
  /// those of its adapters (`AdapterDropout`).
  LogProbs log_probs(const Batch& batch, StepSeed seed) { return forward(batch, seed); }

  /// Adds the gradient of sum(d_logp * log_probs) to the gradients. Once for each `log_probs`: what it kept
  /// is given back on the way.
  void backward(const LogProbs& d_logp) {
    require(has_forward_, "torch::Decoder::backward", "no log_probs came before it");
    if (d_logp.rows() != shape_.first || d_logp.cols() != shape_.second) {
      throw input_error("torch::Decoder::backward", "d_logp has the wrong shape",
                        fmt::format("({}, {})", d_logp.rows(), d_logp.cols()),
                        fmt::format("({}, {})", shape_.first, shape_.second));
    }
    has_forward_ = false;
    const at::Tensor logp = std::exchange(logp_, at::Tensor());
    if (logp.numel() == 0) return;
    const at::Tensor weights = at::empty({logp.numel()}, at::kDouble);
    for (std::size_t i = 0; i < places_.size(); ++i) {
      weights.data_ptr<double>()[i] = d_logp(places_[i].first, places_[i].second);
    }
    ::torch::autograd::backward({logp}, {weights.to(logp.options(), true)});
  }

  /// Every trainable tensor: all of the model, or the adapters.
  ParameterList parameters() {
    ParameterList list;
    if (options_.lora.on()) {
      for (const NamedTensor& adapter : adapters_.tensors()) {
        list.push_back({adapter.name, adapter.value, 0, adapter.value.size(0), true});
      }
      return list;
    }
    for (const DeviceArray& array : arrays_) {
      const std::int64_t rows = array.value.size(0) / static_cast<std::int64_t>(array.names.size());
      for (std::size_t t = 0; t < array.names.size(); ++t) {
        list.push_back(
            {array.names[t], array.value, static_cast<std::int64_t>(t) * rows, rows, array.value.dim() > 1});
      }
    }
    return list;
  }

  /// The prompts computed once, ready to be continued.
  Decoding decode(std::span<const Prompt> prompts) const;

  /// What training changes, by the names of files.
  std::vector<TensorView> state() const {
    std::vector<TensorView> views;
    for (const NamedTensor& tensor : trained()) views.push_back(view_of(tensor.name, tensor.value));
    return views;
  }

  /// \throws Error (input) naming the first tensor that is missing or another, before anything is changed.
  void load_state(const TensorLookup& lookup) {
    std::vector<std::pair<at::Tensor, at::Tensor>> found;
    for (const NamedTensor& tensor : trained()) {
      const std::optional<TensorView> view = lookup(tensor.name);
      if (!view) throw input_error(tensor.name, "the tensor is missing");
      const at::IntArrayRef shape = tensor.value.sizes();
      if (std::vector<Index>(shape.begin(), shape.end()) != view->shape ||
          scalar_type(view->type) != tensor.value.scalar_type()) {
        throw input_error(tensor.name, "the tensor has another shape or type than the model");
      }
      found.emplace_back(tensor.value, tensor_of(*view, tensor.value.scalar_type(), at::kCPU));
    }
    for (const auto& [to, from] : found) to.copy_(from);
    forget();
  }

  /// The weights of the whole model by the names of files, adapters merged into them. What has adapters is a
  /// copy, in the type of sums unless `rounded`: then in that of products, as what has none.
  std::vector<TensorView> merged_state(bool rounded = false) const {
    std::vector<TensorView> views;
    for (const DeviceArray& array : arrays_) {
      const at::Tensor value = adapters_.merged(array.spec, array.value.detach(), head_.sums);
      const at::ScalarType type = rounded && adapters_.on() ? compute() : value.scalar_type();
      const at::Tensor stored = value.to(type);
      if (type != value.scalar_type() &&
          at::isinf(stored).logical_and(at::isfinite(value)).any().item<bool>())
        throw input_error(tensors_of(array, stored).front().name, "has a value that becomes infinite",
                          std::string(at::toString(value.scalar_type())), std::string(at::toString(type)));
      for (const NamedTensor& tensor : tensors_of(array, stored)) {
        views.push_back(view_of(tensor.name, tensor.value));
      }
    }
    return views;
  }

 private:
  friend class Decoding;

  static constexpr std::size_t layer_arrays = 12;

  at::ScalarType compute() const { return compute_type(options_.precision); }
  bool last(Index layer) const { return layer + 1 == architecture_.layers; }

  void forget() {
    has_forward_ = false;
    logp_.reset();
  }

  static std::vector<NamedTensor> tensors_of(const DeviceArray& array, const at::Tensor& value) {
    std::vector<NamedTensor> tensors;
    const std::int64_t rows = value.size(0) / static_cast<std::int64_t>(array.names.size());
    for (std::size_t t = 0; t < array.names.size(); ++t) {
      tensors.push_back(
          {array.names[t], value.detach().narrow(0, static_cast<std::int64_t>(t) * rows, rows)});
    }
    return tensors;
  }

  std::vector<NamedTensor> trained() const {
    std::vector<NamedTensor> tensors;
    if (options_.lora.on()) {
      for (const NamedTensor& adapter : adapters_.tensors())
        tensors.push_back({adapter.name, adapter.value.detach()});
      return tensors;
    }
    for (const DeviceArray& array : arrays_) {
      for (NamedTensor& tensor : tensors_of(array, array.value)) tensors.push_back(std::move(tensor));
    }
    return tensors;
  }

  /// The array of this role, which belongs to no layer.
  const at::Tensor& outside(Role role) const {
    for (const DeviceArray& array : arrays_) {
      if (array.spec.role == role) return array.value;
    }
    throw input_error("torch::Decoder", "the architecture has no such array");
  }

  /// Where the arrays of layer 0 begin.
  std::size_t first_layer() const {
    return 1 + (architecture_.positions == Positions::learned ? 1U : 0U) +
           (architecture_.projects() ? 1U : 0U);
  }

  /// A layer's weights as they are trained: its arrays, then its adapters.
  std::vector<at::Tensor> layer_weights(Index layer) const {
    std::vector<at::Tensor> weights;
    const auto index = static_cast<std::size_t>(layer);
    for (std::size_t i = 0; i < layer_arrays; ++i) {
      weights.push_back(arrays_[first_layer() + index * layer_arrays + i].value);
    }
    for (const NamedTensor& adapter : adapters_.of_layer(layer)) weights.push_back(adapter.value);
    return weights;
  }

  at::Tensor projected(const at::Tensor& x, const at::Tensor& weight) const {
    const at::Tensor w = weight.to(x.scalar_type());
    return affine(x, architecture_.weights_in_out ? w : w.t());
  }

  /// `shared` has the head's gradient of the table, where it is one with the head.
  at::Tensor embed(const at::Tensor& tokens, const at::Tensor& positions,
                   std::shared_ptr<at::Tensor> shared = nullptr) const {
    at::Tensor x = embedded(outside(Role::token_embedding), tokens, std::move(shared)).to(compute());
    if (architecture_.projects()) x = projected(x, outside(Role::project_in));
    if (architecture_.positions == Positions::rotary) return x;
    const at::Tensor rows = positions + architecture_.position_offset;
    return x + at::embedding(outside(Role::position_embedding), rows).to(compute());
  }

  /// From the last layer's output to what the head multiplies.
  at::Tensor to_head(at::Tensor x) const {
    if (architecture_.final_norm) {
      x = at::layer_norm(x, {architecture_.width}, outside(Role::final_norm_weight).to(compute()),
                         outside(Role::final_norm_bias).to(compute()), architecture_.norm_epsilon);
    }
    return architecture_.projects() ? projected(x, outside(Role::project_out)) : x;
  }

  const at::Tensor& head_weight() const {
    return outside(architecture_.tied_head ? Role::token_embedding : Role::head);
  }

  /// Layer `index` as a function of its input and its weights as they are trained. It holds copies, not this:
  /// a checkpointed layer is computed again while the backward pass runs.
  Recomputable layer_function(Index index, std::shared_ptr<const Packed> packed,
                              std::optional<Rotation> rotation,
                              std::shared_ptr<const PassDropout> drops) const {
    return [a = architecture_, modules = adapters_.modules(), scale = adapters_.scale(), type = compute(),
            is_last = last(index), index, packed, rotation, drops](const std::vector<at::Tensor>& in) {
      std::vector<at::Tensor> weights;
      for (std::size_t i = 1; i < in.size(); ++i) weights.push_back(in[i].to(type));
      Layer layer{a, modules, scale};
      const std::size_t first = static_cast<std::size_t>(index) * modules.size();
      if (drops->adapters) {
        layer.drop = [&](const at::Tensor& v, std::size_t i) { return (*drops->adapters)(v, first + i); };
      }
      const Dropout* const units = drops->units ? &*drops->units : nullptr;
      if (units) {
        layer.drop_branch = [&](const at::Tensor& v, DropoutPlace place) {
          return units->drop(v, place, index, is_last ? &packed->head_list : nullptr);
        };
      }
      return layer(in[0], weights, rotation ? &*rotation : nullptr, is_last ? &packed->head_rows : nullptr,
                   [&](const HeadsOfRows& heads) {
                     return attend(heads, *packed, attention_scale(a, index), units, index);
                   });
    };
  }

  at::Tensor hidden(const std::shared_ptr<const Packed>& packed, std::optional<StepSeed> seed, Index example,
                    const std::shared_ptr<at::Tensor>& shared) const {
    const auto drops = std::make_shared<PassDropout>();
    if (seed && options_.lora.dropout > 0) drops->adapters = {*seed, example, options_.lora.dropout};
    if (seed && dropout.any()) {
      drops->units.emplace(DropoutMasks(dropout, architecture_, packed->names, *seed));
    }
    at::Tensor x = embed(packed->tokens, packed->positions, shared);
    if (drops->units) x = drops->units->drop(x, DropoutPlace::embedding, 0, nullptr);
    const std::optional<Rotation> rotation = rotation_of(architecture_, packed->positions, compute());
    for (Index index = 0; index < architecture_.layers; ++index) {
      const Recomputable layer = layer_function(index, packed, rotation, drops);
      std::vector<at::Tensor> inputs = layer_weights(index);
      inputs.insert(inputs.begin(), x);
      const bool again = options_.checkpoint_activations && c10::GradMode::is_enabled();
      x = again ? checkpointed(layer, inputs) : layer(inputs);
    }
    return to_head(architecture_.layers == 0 ? x.index_select(0, packed->head_rows) : x);
  }

  LogProbs forward(const Batch& batch, std::optional<StepSeed> seed) {
    check(batch, vocabulary_size(), context_length(), "torch::Decoder::log_probs");
    forget();
    LogProbs result = LogProbs::Zero(batch.response_count(), batch.longest());
    shape_ = {result.rows(), result.cols()};
    const bool keeps = options_.trains && keeps_for_backward;
    places_.clear();
    if (batch.response_count() == 0) {
      logp_ = at::empty({0});
      has_forward_ = keeps;
      return result;
    }
    const c10::AutoGradMode graph(keeps);
    const std::int64_t chunk = head_.chunk_rows(vocabulary_size(), options_.device);
    const auto packed = std::make_shared<const Packed>(Packer(batch, chunk).pack(options_.device, compute()));
    const auto shared = architecture_.tied_head ? std::make_shared<at::Tensor>() : nullptr;
    const at::Tensor x = hidden(packed, seed, batch.prompts.front().example, shared);
    logp_ = head_.log_probs(x, head_weight(), packed->targets, shared);
    places_ = packed->targets.places;
    const at::Tensor host = logp_.detach().to(at::kCPU, at::kDouble);
    for (std::size_t i = 0; i < places_.size(); ++i) {
      result(places_[i].first, places_[i].second) = host.const_data_ptr<double>()[i];
    }
    if (!keeps) logp_.reset();
    has_forward_ = keeps;
    return result;
  }

  Architecture architecture_;
  DecoderOptions options_;
  Adapters adapters_;
  std::vector<DeviceArray> arrays_;
  Head head_;
  bool has_forward_ = false;
  std::pair<Index, Index> shape_ = {0, 0};
  std::vector<std::pair<Index, Index>> places_;
  at::Tensor logp_;
};

}  // namespace eso::torch
