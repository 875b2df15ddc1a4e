// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <vector>

#include "eso/optim/blocks.hpp"
#include "eso/torch/parameters.hpp"

namespace eso::torch {

/// `eso::Sgd` on a device: p <- p - learning_rate (scale gradient + weight_decay p),
/// for every parameter.
struct Sgd {
  double weight_decay = 0;  ///< 0: off

  /// One step. Throws an input `Error` for a rate or scale that means nothing.
  void update(const ParameterList& parameters, double learning_rate, double scale) const {
    check_update("torch::Sgd::update", learning_rate, scale);
    require(std::isfinite(weight_decay) && weight_decay >= 0, "Sgd",
            "weight_decay is negative or not finite");
    const c10::NoGradGuard no_grad;
    for (const Parameter& parameter : parameters) {
      const at::Tensor value = parameter.value(), gradient = parameter.gradient();
      if (weight_decay > 0) value.mul_(1 - learning_rate * weight_decay);
      if (gradient.defined()) value.add_(gradient, -learning_rate * scale);
    }
  }

  std::vector<TensorView> state() const { return {}; }
  void load_state(const TensorLookup&) {}
};

}  // namespace eso::torch
