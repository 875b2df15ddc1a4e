// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "eso/tensor.hpp"
#include "eso/threads.hpp"

namespace eso {

/// Calls `body(i, begin, end)` for pieces [begin, end) of every parameter i, on all of `threads` (none:
/// here).
///
/// The pieces are the same for every number of threads, so what an element gets cannot depend on it.
template <class Scalar, class Body>
void for_each_block(const ParameterList<Scalar>& parameters, Threads* threads, const Body& body) {
  constexpr Index block = 16384;
  std::vector<Index> first{0};  // number of the first piece of each parameter, and of all pieces
  for (const Parameter<Scalar>& parameter : parameters)
    first.push_back(first.back() + (parameter.size + block - 1) / block);
  const auto run = [&](Index number) {
    const auto i =
        static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), number) - first.begin()) - 1;
    const Index begin = (number - first[i]) * block;
    body(i, begin, std::min(begin + block, parameters[i].size));
  };
  if (threads != nullptr) return threads->for_each(first.back(), run);
  for (Index number = 0; number < first.back(); ++number) run(number);
}

/// Throws an input `Error` unless an optimizer can use these: finite, the rate not negative.
inline void check_update(std::string_view where, double learning_rate, double scale) {
  require(std::isfinite(learning_rate) && learning_rate >= 0, where,
          "the learning rate is negative or not finite");
  require(std::isfinite(scale), where, "the scale of the gradients is not finite");
}

}  // namespace eso
