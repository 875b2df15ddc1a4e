// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// A token drawn from a row of logits, and what is known of it.
struct Draw {
  TokenId token = 0;
  double logp = 0;     ///< log-probability at temperature 1, of the whole vocabulary, nats
  double entropy = 0;  ///< of the distribution at temperature 1, nats
  double entropy_drawn =
      0;  ///< of the distribution that was drawn from; of temperature 1 for a greedy choice
};

/// The distribution of the next token: softmax(logits / temperature), cut to the `top_k` largest logits (ties
/// of the k-th kept) and then to the smallest set of largest probabilities that reaches `top_p`, and
/// renormalised.
///
/// Order and ties are those of transformers' warpers. Temperature 0 is the most likely token, the lowest id
/// among equals. A draw inverts the cumulative distribution in the order of the ids, so it depends on the
/// logits and one uniform number alone. Cost O(V); with `top_p` below 1 O(V log V) in the kept tokens.
///
/// An object is a workspace of V numbers and may be used for many rows, by one thread at a time.
template <class Scalar>
class Distribution {
 public:
  double temperature = 1;  ///< >= 0
  Index top_k = 0;         ///< 0: off
  double top_p = 1;        ///< in (0, 1]; 1: off

  /// Draws with `uniform` in [0, 1) from `count` logits.
  ///
  /// \throws Error (system: a model can come to this) if a logit is not a number or none is finite.
  Draw draw(const Scalar* logits, Index count, double uniform) {
    const Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>> l(logits, count);
    const Scalar largest = l.maxCoeff();
    shifted_ = l - largest;
    // Minus infinity is a logit like any other, unless all are it; then, as for an infinity, this is no
    // number.
    if (std::isnan(shifted_.sum()))
      throw Error(Fault::system, "Distribution::draw", "the logits are not finite");
    const double sum = exponentiate(1);
    Draw draw;
    draw.entropy = std::log(sum) - mean_of_shifted(sum);
    if (temperature == 0) {
      draw.entropy_drawn = draw.entropy;
      draw.token = static_cast<TokenId>(std::find(logits, logits + count, largest) - logits);
    } else {
      constexpr auto largest_factor = static_cast<double>(std::numeric_limits<Scalar>::max());
      const double factor = std::min(1 / temperature, largest_factor);
      double drawn_sum = factor == 1 ? sum : exponentiate(static_cast<Scalar>(factor));
      if (cut()) drawn_sum = static_cast<double>(weight_.sum());
      draw.entropy_drawn = std::log(drawn_sum) - factor * mean_of_shifted(drawn_sum);
      draw.token = static_cast<TokenId>(invert(uniform));
    }
    draw.logp = static_cast<double>(shifted_(draw.token)) - std::log(sum);
    return draw;
  }

 private:
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;

  /// Sets weight to exp(factor * shifted) and gives the sum. Zero where that has no normal number: Eigen's
  /// exponential of minus infinity is small but positive, and could be drawn.
  double exponentiate(Scalar factor) {
    const Scalar least = std::log(std::numeric_limits<Scalar>::min());
    weight_ = factor * shifted_;
    const bool vanishes = weight_.minCoeff() < least;
    weight_ = weight_.max(least).exp();
    if (vanishes) {
      for (Index i = 0; i < weight_.size(); ++i) {
        weight_(i) = factor * shifted_(i) < least ? Scalar(0) : weight_(i);
      }
    }
    return static_cast<double>(weight_.sum());
  }

  /// Expectation of shifted under weight / sum, with 0 * -infinity = 0.
  double mean_of_shifted(double sum) const {
    return static_cast<double>((weight_ * shifted_.max(std::numeric_limits<Scalar>::lowest())).sum()) / sum;
  }

  /// Sets the weights that top-k and top-p leave out to zero; whether there was anything to do.
  bool cut() {
    const Index count = weight_.size();
    const bool by_count = top_k > 0 && top_k < count;
    if (!by_count && top_p >= 1) return false;
    if (by_count) {
      sorted_ = weight_;
      std::nth_element(sorted_.data(), sorted_.data() + (top_k - 1), sorted_.data() + count,
                       std::greater<>());
      const Scalar least = sorted_(top_k - 1);
      weight_ = (weight_ < least).select(Scalar(0), weight_);
    }
    if (top_p < 1) cut_by_mass();
    return true;
  }

  /// Drops the smallest weights as long as they add up to no more than 1 - top_p; of equal ones the lower ids
  /// first, as a stable ascending sort has them. The largest stays.
  void cut_by_mass() {
    order_.clear();
    for (Index i = 0; i < weight_.size(); ++i) {
      if (weight_(i) > 0) order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return weight_(a) < weight_(b); });
    const double limit = (1 - top_p) * static_cast<double>(weight_.sum());
    double mass = 0;
    for (std::size_t k = 0; k + 1 < order_.size(); ++k) {
      mass += static_cast<double>(weight_(order_[k]));
      if (mass > limit) break;
      weight_(order_[k]) = 0;
    }
  }

  /// The first id whose cumulative weight exceeds uniform * total, by blocks.
  Index invert(double uniform) const {
    constexpr Index block = 256;
    const Index count = weight_.size(), blocks = (count + block - 1) / block;
    const auto block_sum = [&](Index b) {
      return static_cast<double>(weight_.segment(b * block, std::min(block, count - b * block)).sum());
    };
    double total = 0;
    for (Index b = 0; b < blocks; ++b) total += block_sum(b);
    double rest = uniform * total;
    Index last = 0;  // the last id with any weight met so far: rounding must not leave the support
    for (Index b = 0; b < blocks; ++b) {
      const double sum = block_sum(b);
      if (rest >= sum && b + 1 < blocks) {
        rest -= sum;
        continue;
      }
      for (Index i = b * block; i < std::min(count, (b + 1) * block); ++i) {
        if (!(weight_(i) > 0)) continue;
        last = i;
        rest -= static_cast<double>(weight_(i));
        if (rest < 0) return i;
      }
    }
    for (Index i = count; i-- > last + 1;) {
      if (weight_(i) > 0) return i;
    }
    return last;
  }

  Array shifted_, weight_, sorted_;
  std::vector<Index> order_;
};

}  // namespace eso
