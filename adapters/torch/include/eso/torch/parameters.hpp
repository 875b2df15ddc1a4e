// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "eso/testing/parameter_access.hpp"

namespace eso::torch {

/// One trainable tensor of a model, by the name that it has in files: some rows of a leaf of autograd's.
struct Parameter {
  std::string name;
  at::Tensor leaf;
  std::int64_t first_row = 0, rows = 0;
  bool decays = true;  ///< weight decay applies: matrices yes, biases and normalisations no

  /// The numbers, to be changed in place.
  at::Tensor value() const { return leaf.detach().narrow(0, first_row, rows); }
  /// The gradient; undefined where nothing was added since `zero_gradients`.
  at::Tensor gradient() const {
    return leaf.grad().defined() ? leaf.grad().detach().narrow(0, first_row, rows) : at::Tensor();
  }
};

/// The trainable tensors of a model on their device.
using ParameterList = std::vector<Parameter>;

/// Square root of the sum of all squared gradients. Not finite if any gradient is not. Waits for the device.
inline double global_norm(const ParameterList& parameters) {
  std::vector<at::Tensor> gradients;
  for (const Parameter& parameter : parameters) {
    const at::Tensor gradient = parameter.gradient();
    if (gradient.defined()) gradients.push_back(gradient);
  }
  if (gradients.empty()) return 0;
  const at::Tensor norms = at::stack(at::_foreach_norm(gradients)).to(at::kDouble);
  return norms.square().sum().sqrt().item<double>();
}

/// Forgets all gradients.
inline void zero_gradients(const ParameterList& parameters) {
  for (const Parameter& parameter : parameters) at::Tensor(parameter.leaf).mutable_grad().reset();
}

}  // namespace eso::torch

namespace eso::testing {

/// The numbers of a list on a device, for central differences.
template <>
struct ParameterAccess<torch::ParameterList> {
  using List = torch::ParameterList;

  static std::size_t count(const List& list) { return list.size(); }
  static std::string name(const List& list, std::size_t array) { return list[array].name; }

  static std::vector<double> values(const List& list, std::size_t array) {
    return numbers(list[array].value());
  }
  static std::vector<double> gradients(const List& list, std::size_t array) {
    const at::Tensor gradient = list[array].gradient();
    return numbers(gradient.defined() ? gradient : at::zeros_like(list[array].value()));
  }
  /// Stores the numbers, rounded to the type of the tensor.
  static void set_values(const List& list, std::size_t array, std::span<const double> values) {
    const at::Tensor host = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
    std::copy(values.begin(), values.end(), host.data_ptr<double>());
    list[array].value().copy_(host.view(list[array].value().sizes()));
  }

 private:
  static std::vector<double> numbers(const at::Tensor& tensor) {
    const at::Tensor host = tensor.to(at::kCPU, at::kDouble).contiguous();
    return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
  }
};

}  // namespace eso::testing
