// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "eso/batch.hpp"
#include "eso/kernels/elementwise.hpp"

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
/// logits and one uniform number alone. Cost O(V), two exponentials a token (one at temperature 1).
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
    const Scalar largest = largest_of(logits, count);
    constexpr auto largest_factor = static_cast<double>(std::numeric_limits<Scalar>::max());
    const double factor = temperature > 0 ? std::min(1 / temperature, largest_factor) : 1;
    const Sums at_one = pass(logits, count, largest, static_cast<Scalar>(factor));
    Draw draw;
    draw.entropy = at_one.entropy(1);
    if (temperature == 0) {
      draw.entropy_drawn = draw.entropy;
      draw.token = static_cast<TokenId>(std::find(logits, logits + count, largest) - logits);
    } else {
      if (cut()) drawn_ = sums_of_kept(logits, largest);
      draw.entropy_drawn = drawn_.entropy(factor);
      draw.token = static_cast<TokenId>(invert(uniform));
    }
    draw.logp = static_cast<double>(logits[draw.token] - largest) - std::log(at_one.weight);
    return draw;
  }

 private:
  using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;

  static constexpr Index block =
      512;  ///< logits at once: what is computed of them stays in the nearest cache

  /// Of weights exp(factor shifted): their sum, and that of weight times shifted.
  struct Sums {
    double weight = 0, shifted = 0;
    double entropy(double factor) const { return std::log(weight) - factor * shifted / weight; }
  };

  /// Fills `weight_` with exp(factor (logit - largest)), `block_sums_` with its sums and `drawn_`; gives the
  /// sums for a factor of 1.
  Sums pass(const Scalar* logits, Index count, Scalar largest, Scalar factor) {
    weight_.resize(count);
    block_sums_.resize((count + block - 1) / block);
    drawn_ = {};
    Sums at_one;
    Scalar strange = 0;
    alignas(64) Scalar shifted[block], weight[block];
    for (Index b = 0; b < block_sums_.size(); ++b) {
      const Index first = b * block, length = std::min(block, count - first);
      strange += subtract(logits + first, length, largest, shifted);
      const Sums one{static_cast<double>(weights_of(shifted, length, Scalar(1), weight)),
                     static_cast<double>(weighted_sum(weight, shifted, length))};
      at_one.weight += one.weight, at_one.shifted += one.shifted;
      Scalar* const drawn = weight_.data() + first;
      if (factor == 1) {
        std::copy_n(weight, length, drawn);
        block_sums_(b) = one.weight;
      } else {
        block_sums_(b) = static_cast<double>(weights_of(shifted, length, factor, drawn));
        drawn_.shifted += static_cast<double>(weighted_sum(drawn, shifted, length));
      }
    }
    // Minus infinity is a logit like any other, unless all are it; then, as for an infinity, this is no
    // number.
    if (std::isnan(strange)) throw Error(Fault::system, "Distribution::draw", "the logits are not finite");
    drawn_.weight = block_sums_.sum();
    if (factor == 1) drawn_ = at_one;
    return at_one;
  }

  /// The sums of what `cut` left, block by block.
  Sums sums_of_kept(const Scalar* logits, Scalar largest) {
    Sums sums;
    alignas(64) Scalar shifted[block];
    for (Index b = 0; b < block_sums_.size(); ++b) {
      const Index first = b * block, length = std::min(block, weight_.size() - first);
      const Scalar* const weight = weight_.data() + first;
      block_sums_(b) = static_cast<double>(sum_of(weight, length));
      if (block_sums_(b) == 0) continue;
      subtract(logits + first, length, largest, shifted);
      sums.weight += block_sums_(b);
      sums.shifted += static_cast<double>(weighted_sum(weight, shifted, length));
    }
    return sums;
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
  /// first, as a stable ascending sort has them. The largest stays. Only weights of about the size where that
  /// ends are sorted.
  void cut_by_mass() {
    masses_.assign(sizes, 0.0);
    double total = 0;
    for (Index i = 0; i < weight_.size(); ++i)
      masses_[size_of(weight_(i))] += static_cast<double>(weight_(i));
    for (const double mass : masses_) total += mass;
    const double limit = (1 - top_p) * total;
    double dropped = 0;
    std::size_t last = 0;  // weights of this size are dropped in part
    while (last + 1 < sizes && dropped + masses_[last] <= limit) dropped += masses_[last++];
    order_.clear();
    for (Index i = 0; i < weight_.size(); ++i) {
      const std::size_t size = size_of(weight_(i));
      if (size == last) order_.push_back(i);
      if (size < last) weight_(i) = 0;
    }
    std::stable_sort(order_.begin(), order_.end(), [&](Index a, Index b) { return weight_(a) < weight_(b); });
    const std::size_t droppable = last + 1 < sizes ? order_.size() : order_.size() - 1;
    for (std::size_t k = 0; k < droppable; ++k) {
      dropped += static_cast<double>(weight_(order_[k]));
      if (dropped > limit) break;
      weight_(order_[k]) = 0;
    }
  }

  /// A weight's size, rising with it: exponent and five bits of a float, from 1 down to what rounds to zero.
  static constexpr std::size_t sizes = (127 << 5) + 1;
  static std::size_t size_of(Scalar weight) {
    return std::bit_cast<std::uint32_t>(static_cast<float>(weight)) >> 18;
  }

  /// The first id whose cumulative weight exceeds uniform * total, by blocks.
  Index invert(double uniform) const {
    const Index count = weight_.size(), blocks = block_sums_.size();
    double rest = uniform * block_sums_.sum();
    Index last = 0;  // the last id with any weight met so far: rounding must not leave the support
    for (Index b = 0; b < blocks; ++b) {
      if (rest >= block_sums_(b) && b + 1 < blocks) {
        rest -= block_sums_(b);
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

  Array weight_, sorted_;
  Eigen::ArrayXd block_sums_;
  Sums drawn_;
  std::vector<double> masses_;
  std::vector<Index> order_;
};

}  // namespace eso
