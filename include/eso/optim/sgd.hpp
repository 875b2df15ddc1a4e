// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "eso/error.hpp"
#include "eso/optim/blocks.hpp"
#include "eso/tensor.hpp"
#include "eso/threads.hpp"

namespace eso {

/// Plain gradient descent: p -= learning_rate (scale g + weight_decay p), for every parameter.
///
/// It remembers nothing. Source: torch.optim.SGD without momentum: unlike `AdamW` here, it also decays biases
/// and normalisations.
struct Sgd {
  double weight_decay = 0;     ///< 0: off
  Threads* threads = nullptr;  ///< share the work; the result does not depend on their number

  /// One step. Throws an input `Error` for a rate or scale that is not finite, before it changes anything.
  template <class Scalar>
  void update(const ParameterList<Scalar>& parameters, double learning_rate, double scale) {
    check_update("Sgd::update", learning_rate, scale);
    require(std::isfinite(weight_decay) && weight_decay >= 0, "Sgd",
            "weight_decay is negative or not finite");
    for_each_block(parameters, threads, [&](std::size_t i, Index begin, Index end) {
      const Parameter<Scalar>& parameter = parameters[i];
      const auto rate = static_cast<Scalar>(learning_rate), factor = static_cast<Scalar>(scale);
      const auto decay = static_cast<Scalar>(weight_decay);
      Scalar* const value = parameter.value;
      const Scalar* const gradient = parameter.gradient;
      for (Index k = begin; k < end; ++k) value[k] -= rate * (factor * gradient[k] + decay * value[k]);
    });
  }

  std::vector<TensorView> state() const { return {}; }
  void load_state(const TensorLookup&) {}
};

}  // namespace eso
