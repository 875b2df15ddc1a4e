// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "eso/tensor.hpp"

namespace eso::testing {

/// The numbers of a list of parameters, for central differences. Specialise it for lists of arrays that live
/// elsewhere (a device's, say); `array` counts from 0 to `count(list) - 1`.
template <class List>
struct ParameterAccess;

/// Those of a list in host memory.
template <class Scalar>
struct ParameterAccess<ParameterList<Scalar>> {
  using List = ParameterList<Scalar>;

  static std::size_t count(const List& list) { return list.size(); }
  static std::string name(const List& list, std::size_t array) { return list[array].name; }

  static std::vector<double> values(const List& list, std::size_t array) {
    return {list[array].value, list[array].value + list[array].size};
  }
  static std::vector<double> gradients(const List& list, std::size_t array) {
    return {list[array].gradient, list[array].gradient + list[array].size};
  }
  /// Stores the numbers, rounded to the type of the array.
  static void set_values(const List& list, std::size_t array, std::span<const double> numbers) {
    std::transform(numbers.begin(), numbers.end(), list[array].value,
                   [](double number) { return static_cast<Scalar>(number); });
  }
};

/// The gradients of all parameters of a model, array by array.
using Gradients = std::vector<std::vector<double>>;

/// What `backward` has added up so far.
template <class List>
Gradients read_gradients(const List& list) {
  Gradients result;
  for (std::size_t array = 0; array < ParameterAccess<List>::count(list); ++array) {
    result.push_back(ParameterAccess<List>::gradients(list, array));
  }
  return result;
}

/// Adds gradients of the same arrays.
inline void add(Gradients& to, const Gradients& from) {
  for (std::size_t array = 0; array < to.size(); ++array) {
    for (std::size_t i = 0; i < to[array].size(); ++i) to[array][i] += from[array][i];
  }
}

/// Largest absolute difference of two arrays, missing numbers counting as 0; not a number if one is not.
inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const double apart = std::abs((i < a.size() ? a[i] : 0) - (i < b.size() ? b[i] : 0));
    if (std::isnan(apart)) return apart;
    largest = std::max(largest, apart);
  }
  return largest;
}

}  // namespace eso::testing
