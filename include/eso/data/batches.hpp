// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/random.hpp"

namespace eso {

/// The order of a run: which examples each step sees.
///
/// Each epoch goes over all examples once, in batches; its last batch may be smaller. The order of an epoch
/// follows from the seed and the epoch alone, so a run resumes at any step without a saved state.
class Batches {
 public:
  /// `count` examples in batches of `batch_size`, `epochs` times; without `shuffle` in their own order.
  ///
  /// \throws Error (input) if one of them is 0 or there are 2^32 epochs or more.
  Batches(std::size_t count, std::size_t batch_size, std::size_t epochs, std::uint64_t seed,
          bool shuffle = true)
      : count_(count), batch_size_(batch_size), epochs_(epochs), seed_(seed), shuffle_(shuffle) {
    require(count >= 1, "Batches", "there is no example");
    require(batch_size >= 1, "Batches", "the batch size must be at least 1");
    require(epochs >= 1 && epochs <= std::numeric_limits<std::uint32_t>::max(), "Batches",
            "epochs must be from 1 to 4294967295");
    require(epochs <= std::numeric_limits<std::size_t>::max() / steps_per_epoch(), "Batches",
            "too many steps");
  }

  std::size_t steps_per_epoch() const { return (count_ - 1) / batch_size_ + 1; }

  /// Of the whole run.
  std::size_t steps() const { return epochs_ * steps_per_epoch(); }

  /// The 0-based epoch of the 0-based `step`.
  std::size_t epoch(std::size_t step) const { return step / steps_per_epoch(); }

  /// Passes over the examples once `step` is done: examples seen / examples.
  double epochs_done(std::size_t step) const {
    const std::size_t within = std::min((step % steps_per_epoch() + 1) * batch_size_, count_);
    return static_cast<double>(epoch(step)) + static_cast<double>(within) / static_cast<double>(count_);
  }

  /// Which examples the 0-based `step` sees, in order. O(batch), at the first step of an epoch O(count).
  ///
  /// \throws Error (input) if the run has no such step.
  std::vector<std::size_t> batch(std::size_t step) {
    require(step < steps(), "Batches::batch", "the run has no such step");
    order_epoch(epoch(step));
    const std::size_t first = step % steps_per_epoch() * batch_size_;
    const std::size_t last = first + std::min(batch_size_, count_ - first);
    return {order_.begin() + static_cast<Index>(first), order_.begin() + static_cast<Index>(last)};
  }

 private:
  void order_epoch(std::size_t epoch) {
    if (!order_.empty() && (epoch == ordered_epoch_ || !shuffle_)) return;
    ordered_epoch_ = epoch;
    if (shuffle_) {
      const StreamName name{
          .seed = seed_, .purpose = Purpose::shuffling, .step = static_cast<std::uint32_t>(epoch)};
      order_ = permutation(count_, name);
    } else {
      order_.resize(count_);
      std::iota(order_.begin(), order_.end(), std::size_t{0});
    }
  }

  std::size_t count_, batch_size_, epochs_;
  std::uint64_t seed_;
  bool shuffle_;
  std::vector<std::size_t> order_;
  std::size_t ordered_epoch_ = 0;
};

}  // namespace eso
