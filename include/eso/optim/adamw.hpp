// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "eso/error.hpp"
#include "eso/kernels/elementwise.hpp"
#include "eso/optim/blocks.hpp"
#include "eso/optim/moments.hpp"
#include "eso/tensor.hpp"
#include "eso/threads.hpp"

namespace eso {

/// How `AdamW` makes weights smaller: `decoupled`, by a factor of their own (AdamW), or `l2`, by a gradient
/// of weight_decay p beside the loss's (Adam with L2). The latter is divided by the root of the second moment
/// like any gradient, so that weights with small gradients shrink most.
enum class WeightDecay { decoupled, l2 };

/// Adam with decoupled weight decay. For update t = 1, 2, ... with g = scale * gradient:
///
///     p <- p (1 - learning_rate weight_decay)        on parameters that decay
///     m <- m + (1 - beta1) (g - m)
///     v <- beta2 v + (1 - beta2) g^2
///     p <- p - learning_rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
///
/// With `WeightDecay::l2` the first line is g <- g + weight_decay p, on parameters that decay.
/// All in the precision of the parameters, float32 moments for float. One pass over memory: 28 bytes a float
/// parameter.
///
/// Source: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2, in the order of torch.optim.AdamW, and
/// of torch.optim.Adam for `l2`. The paper multiplies the decay by the schedule alone; here, as in PyTorch,
/// it is multiplied by the learning rate.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.05;  ///< 0: off
  WeightDecay weight_decay_mode = WeightDecay::decoupled;
  Threads* threads = nullptr;  ///< share the work; the result does not depend on their number
  Moments moments = {};        ///< what it remembers, sized at the first update

  /// One step. Throws an input `Error` for settings, a rate or a scale that mean nothing and for parameters
  /// other than those of the steps before, each before anything changes.
  template <class Scalar>
  void update(const ParameterList<Scalar>& parameters, double learning_rate, double scale) {
    check_update("AdamW::update", learning_rate, scale);
    require(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, "AdamW",
            "beta1 and beta2 must lie in [0, 1)");
    require(std::isfinite(weight_decay) && weight_decay >= 0, "AdamW",
            "weight_decay is negative or not finite");
    require(static_cast<Scalar>(epsilon) > 0, "AdamW", "epsilon must be positive");
    moments.adopt(parameters);
    moments.advance();
    const double correction1 = 1 - std::pow(beta1, moments.step()),
                 correction2 = 1 - std::pow(beta2, moments.step());
    const AdamWFactors<Scalar> factors{.keep = 1,
                                       .scale = static_cast<Scalar>(scale),
                                       .rest1 = static_cast<Scalar>(1 - beta1),
                                       .beta2 = static_cast<Scalar>(beta2),
                                       .rest2 = static_cast<Scalar>(1 - beta2),
                                       .step_size = static_cast<Scalar>(learning_rate / correction1),
                                       .correction = static_cast<Scalar>(std::sqrt(correction2)),
                                       .epsilon = static_cast<Scalar>(epsilon)};
    for_each_block(parameters, threads, [&](std::size_t i, Index begin, Index end) {
      const Parameter<Scalar>& parameter = parameters[i];
      const double decay = parameter.decays ? weight_decay : 0;
      const bool beside = weight_decay_mode == WeightDecay::l2 && decay > 0;
      AdamWFactors<Scalar> here = factors;
      here.keep = static_cast<Scalar>(beside ? 1 : 1 - learning_rate * decay);
      if (beside) here.scale = 1;
      Scalar* const first = moments.first<Scalar>(i);
      Scalar* const second = moments.second<Scalar>(i);
      for (Index k = begin; k < end; k += piece) {
        const Index count = std::min(piece, end - k);
        const Scalar* gradient = parameter.gradient + k;
        std::array<Scalar, piece> with_decay;
        Scalar* const both = with_decay.data();
        if (beside) {
          const auto weight = static_cast<Scalar>(decay);
          for (Index j = 0; j < count; ++j)
            both[j] = factors.scale * gradient[j] + weight * parameter.value[k + j];
          gradient = both;
        }
        move_parameters(count, here, gradient, parameter.value + k, first + k, second + k);
      }
    });
  }

  /// Views of the moments and the count of updates, good until the next update; see `Moments`.
  std::vector<TensorView> state() const { return moments.state(); }
  /// Goes on from a state, also before any update. Throws as `Moments::load_state` says.
  void load_state(const TensorLookup& lookup) { moments.load_state(lookup); }

 private:
  static constexpr Index piece = 1024;  ///< what the first-level cache holds of four arrays
};

}  // namespace eso
