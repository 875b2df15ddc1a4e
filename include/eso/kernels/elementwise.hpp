// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <numbers>
#include <type_traits>

#include "eso/kernels/kernels.hpp"

namespace eso {

// Passes over arrays of one kind of number: floats by the kernels of this processor, doubles by
// Eigen but for the update of AdamW.

template <class Scalar>
using ArrayMap = Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>>;
template <class Scalar>
using ConstArrayMap = Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>;

/// Largest of `count` numbers, of which there is at least one.
template <class Scalar>
Scalar largest_of(const Scalar* x, Index count) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().largest(x, count);
  } else {
    return ConstArrayMap<Scalar>(x, count).maxCoeff();
  }
}

/// Sum of `count` numbers.
template <class Scalar>
Scalar sum_of(const Scalar* x, Index count) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().sum(x, count);
  } else {
    return ConstArrayMap<Scalar>(x, count).sum();
  }
}

/// Sum of exp(x - shift).
template <class Scalar>
Scalar sum_of_exp(const Scalar* x, Index count, Scalar shift) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().sum_of_exp(x, count, shift);
  } else {
    return (ConstArrayMap<Scalar>(x, count) - shift).exp().sum();
  }
}

/// x = exp(x - shift) factor.
template <class Scalar>
void exponentiate(Scalar* x, Index count, Scalar shift, Scalar factor = 1) {
  if constexpr (std::is_same_v<Scalar, float>) {
    kernels<float>().exp(x, count, shift, factor);
  } else {
    ArrayMap<Scalar> all(x, count);
    all = (all - shift).exp() * factor;
  }
}

/// y = GELU(x) in its tanh form (Hendrycks and Gimpel 2016, arXiv 1606.08415).
template <class Scalar>
void gelu_tanh(const Scalar* x, Index count, Scalar* y) {
  if constexpr (std::is_same_v<Scalar, float>) {
    kernels<float>().gelu(x, count, y);
  } else {
    const ConstArrayMap<Scalar> in(x, count);
    const Scalar root = std::sqrt(Scalar(2) / std::numbers::pi_v<Scalar>);
    ArrayMap<Scalar>(y, count) =
        Scalar(0.5) * in * (Scalar(1) + (root * in * (Scalar(1) + Scalar(0.044715) * in.square())).tanh());
  }
}

/// d = d times the derivative of `gelu_tanh` at x.
template <class Scalar>
void gelu_tanh_backward(const Scalar* x, Index count, Scalar* d) {
  if constexpr (std::is_same_v<Scalar, float>) {
    kernels<float>().gelu_backward(x, count, d);
  } else {
    const ConstArrayMap<Scalar> in(x, count);
    const Scalar root = std::sqrt(Scalar(2) / std::numbers::pi_v<Scalar>);
    const Eigen::Array<Scalar, Eigen::Dynamic, 1> t =
        (root * in * (Scalar(1) + Scalar(0.044715) * in.square())).tanh();
    ArrayMap<Scalar>(d, count) *=
        Scalar(0.5) * (Scalar(1) + t) +
        Scalar(0.5) * in * (Scalar(1) - t.square()) * root * (Scalar(1) + Scalar(3 * 0.044715) * in.square());
  }
}

/// to = x - shift; gives its sum.
template <class Scalar>
Scalar subtract(const Scalar* x, Index count, Scalar shift, Scalar* to) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().subtract(x, count, shift, to);
  } else {
    ArrayMap<Scalar> all(to, count);
    all = ConstArrayMap<Scalar>(x, count) - shift;
    return all.sum();
  }
}

/// to = exp(factor x), and 0 where that has no normal number; gives its sum.
template <class Scalar>
Scalar weights_of(const Scalar* x, Index count, Scalar factor, Scalar* to) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().weights(x, count, factor, to);
  } else {
    // Eigen's exponential of minus infinity is small but positive.
    const Scalar least = std::log(std::numeric_limits<Scalar>::min());
    const ConstArrayMap<Scalar> in(x, count);
    ArrayMap<Scalar> weight(to, count);
    weight = factor * in;
    const bool vanishes = weight.minCoeff() < least;
    weight = weight.max(least).exp();
    if (vanishes) weight = (factor * in < least).select(Scalar(0), weight);
    return weight.sum();
  }
}

/// Sum of weight times x, with 0 times minus infinity = 0.
template <class Scalar>
Scalar weighted_sum(const Scalar* weight, const Scalar* x, Index count) {
  if constexpr (std::is_same_v<Scalar, float>) {
    return kernels<float>().weighted_sum(weight, x, count);
  } else {
    return (ConstArrayMap<Scalar>(weight, count) *
            ConstArrayMap<Scalar>(x, count).max(std::numeric_limits<Scalar>::lowest()))
        .sum();
  }
}

/// One update of `count` parameters by AdamW; m and v are their moments.
template <class Scalar>
void move_parameters(Index count, const AdamWFactors<Scalar>& f, const Scalar* gradient, Scalar* value,
                     Scalar* m, Scalar* v) {
  kernels<Scalar>().adamw(count, f, gradient, value, m, v);
}

}  // namespace eso
