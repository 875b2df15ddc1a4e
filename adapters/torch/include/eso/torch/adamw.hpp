// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eso/optim/adamw.hpp"
#include "eso/optim/blocks.hpp"
#include "eso/torch/moments.hpp"
#include "eso/torch/parameters.hpp"

namespace eso::torch {

/// `eso::AdamW` on a device: the same update by LibTorch's fused kernel, one pass over memory.
///
/// Parameters without a gradient are taken to have a gradient of zero. Its state has the tensors of
/// `eso::Moments`.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.05;  ///< 0: off
  WeightDecay weight_decay_mode = WeightDecay::decoupled;
  Moments moments = {};  ///< what it remembers, sized at the first update

  /// One step. Throws an input `Error` for settings, a rate or a scale that mean nothing and for parameters
  /// other than those of the steps before, each before anything changes.
  void update(const ParameterList& parameters, double learning_rate, double scale) {
    check_update("torch::AdamW::update", learning_rate, scale);
    require(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, "AdamW",
            "beta1 and beta2 must lie in [0, 1)");
    require(std::isfinite(weight_decay) && weight_decay >= 0, "AdamW",
            "weight_decay is negative or not finite");
    require(epsilon > 0, "AdamW", "epsilon must be positive");
    moments.adopt(parameters);
    moments.advance();
    const c10::NoGradGuard no_grad;
    for (const bool decays : {true, false}) {
      Group group;
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (parameters[i].decays != decays) continue;
        add(group, parameters[i], moments[i], scale);
        if (group.numbers >= group_numbers) move(std::exchange(group, {}), learning_rate, decays);
      }
      move(std::move(group), learning_rate, decays);
    }
  }

  /// The moments in host memory, good until the next update, and the count of updates.
  std::vector<TensorView> state() const { return moments.state(); }
  /// Goes on from a state, also before any update. Throws as `Moments::load_state` says.
  void load_state(const TensorLookup& lookup) { moments.load_state(lookup); }

 private:
  struct Group {
    std::vector<at::Tensor> values, gradients, first, second, steps;
    std::int64_t numbers = 0;
  };
  static constexpr std::int64_t group_numbers = std::int64_t{32}
                                                << 20;  ///< bounds what scaled gradients take

  static void add(Group& group, const Parameter& parameter, const Moments::Pair& pair, double scale) {
    const at::Tensor value = parameter.value(), gradient = parameter.gradient();
    group.values.push_back(value);
    group.gradients.push_back(!gradient.defined() ? at::zeros_like(value)
                              : scale == 1        ? gradient
                                                  : gradient * scale);
    group.first.push_back(pair.first);
    group.second.push_back(pair.second);
    group.numbers += value.numel();
  }

  void move(Group group, double learning_rate, bool decays) const {
    if (group.values.empty()) return;
    // The kernel reads the number of this update as float32, on the device.
    const at::Tensor step = at::full({}, moments.step(), group.values.front().options().dtype(at::kFloat));
    group.steps.assign(group.values.size(), step);
    const double decay = decays ? weight_decay : 0;
    if (weight_decay_mode == WeightDecay::l2) {
      at::_fused_adam_(group.values, group.gradients, group.first, group.second, {}, group.steps,
                       learning_rate, beta1, beta2, decay, epsilon, false, false);
    } else {
      at::_fused_adamw_(group.values, group.gradients, group.first, group.second, {}, group.steps,
                        learning_rate, beta1, beta2, decay, epsilon, false, false);
    }
  }
};

}  // namespace eso::torch
