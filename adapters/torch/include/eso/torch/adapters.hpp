// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eso/model/architecture.hpp"
#include "eso/random.hpp"
#include "eso/torch/lora.hpp"

namespace eso::torch {

/// A tensor and its name in files.
struct NamedTensor {
  std::string name;
  at::Tensor value;
};

/// The adapters of all layers of a model: their A (rank, in) and B (outputs, rank), named as PEFT does, and
/// what they add to a weight. None, if `lora` is off.
class Adapters {
 public:
  /// \throws Error (input) as `adapted_modules`.
  Adapters(const Architecture& a, const Lora& lora, const at::TensorOptions& options, bool trains)
      : lora_(lora), weights_in_out_(a.weights_in_out), modules_(adapted_modules(a, lora)) {
    const char* const prefix = a.family == Family::gpt2  ? "transformer.h"
                               : a.family == Family::opt ? "model.decoder.layers"
                                                         : "gpt_neox.layers";
    std::uint32_t number = 1U << 16;
    for (Index layer = 0; layer < a.layers; ++layer) {
      for (const LoraModule& module : modules_) {
        const std::string name = fmt::format("base_model.model.{}.{}.{}", prefix, layer, module.path);
        const at::Tensor start = uniform(number++, module.product == Product::outer ? a.inner : a.width);
        tensors_.push_back({name + ".lora_A.weight", start.to(options).requires_grad_(trains)});
        tensors_.push_back({name + ".lora_B.weight",
                            at::zeros({module.outputs, lora.rank}, options).requires_grad_(trains)});
      }
    }
  }

  bool on() const { return lora_.on(); }

  /// What the product of B and A is multiplied by.
  double scale() const { return on() ? lora_.alpha / static_cast<double>(lora_.rank) : 1; }

  /// The modules that have one, in each layer.
  const std::vector<LoraModule>& modules() const { return modules_; }

  /// Layer by layer, A and B of each module.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  std::span<const NamedTensor> of_layer(Index layer) const {
    const std::size_t count = 2 * modules_.size();
    return std::span(tensors_).subspan(static_cast<std::size_t>(layer) * count, count);
  }

  /// The weight in the array `spec` with what adapters add, a copy in the type `sums`; or, if it has none,
  /// the same tensor.
  at::Tensor merged(const ArraySpec& spec, const at::Tensor& weight, at::ScalarType sums) const {
    static constexpr Role roles[] = {Role::qkv_weight, Role::attention_out_weight, Role::inner_weight,
                                     Role::outer_weight};
    at::Tensor sum;
    for (std::size_t m = 0; m < modules_.size(); ++m) {
      if (roles[static_cast<std::size_t>(modules_[m].product)] != spec.role) continue;
      const std::span<const NamedTensor> layer = of_layer(spec.layer);
      const at::Tensor a = layer[2 * m].value.detach().to(sums), b = layer[2 * m + 1].value.detach().to(sums);
      at::Tensor added = at::mm(b, a).mul_(scale());  // (outputs, in)
      if (weights_in_out_) added = added.t();
      if (!sum.defined()) sum = weight.to(sums, /*non_blocking=*/false, /*copy=*/true);
      sum.narrow(weights_in_out_ ? 1 : 0, modules_[m].first, modules_[m].outputs).add_(added);
    }
    return sum.defined() ? sum : weight;
  }

 private:
  /// (rank, width), uniform on +-1 / sqrt(width).
  at::Tensor uniform(std::uint32_t number, Index width) const {
    at::Tensor values = at::empty({lora_.rank, width}, at::kDouble);
    const StreamName stream{.purpose = Purpose::initialising, .sample = number};
    const double bound = 1 / std::sqrt(static_cast<double>(width));
    for (Index i = 0; i < values.numel(); ++i) {
      values.data_ptr<double>()[i] = bound * (2 * uniform01(stream, static_cast<std::uint64_t>(i)) - 1);
    }
    return values;
  }

  Lora lora_;
  bool weights_in_out_;
  std::vector<LoraModule> modules_;
  std::vector<NamedTensor> tensors_;
};

}  // namespace eso::torch
