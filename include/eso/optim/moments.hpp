// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/tensor.hpp"

namespace eso {

/// Two running averages for every number of a list of parameters, in the parameters' own precision, and the
/// count of updates: what AdamW remembers.
///
/// They are sized by the first list they see and then belong to it. As a state they are the tensors
///
/// | name             | shape               | content                                                 |
/// |------------------|---------------------|---------------------------------------------------------|
/// | `adamw.step`     | (1) float64         | updates so far                                          |
/// | `adamw.names`    | (n) float64         | of each parameter in order: 53 bits of its name's hash  |
/// | `adamw.I.first`  | that of parameter I | average of the gradient                                 |
/// | `adamw.I.second` | that of parameter I | average of the squared gradient                         |
///
/// so that they can be read back before any parameter is known, and a list of other parameters is refused.
class Moments {
 public:
  /// Takes zeros for a list that is the first; else throws an input `Error` naming the first parameter that
  /// is not the one remembered, before anything changes.
  template <class Scalar>
  void adopt(const ParameterList<Scalar>& parameters) {
    if (names_.empty() && step_ == 0) {
      std::vector<Pair> pairs;
      std::vector<double> names;
      for (const Parameter<Scalar>& parameter : parameters) {
        const std::vector<Scalar> zeros(static_cast<std::size_t>(parameter.size), Scalar(0));
        pairs.push_back({parameter.shape, zeros, zeros});
        names.push_back(hash(parameter.name));
      }
      pairs_ = std::move(pairs), names_ = std::move(names);
      return;
    }
    if (parameters.size() != names_.size()) {
      throw input_error("AdamW", "has the moments of another list of parameters",
                        fmt::format("{} parameters", names_.size()), fmt::format("{}", parameters.size()));
    }
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const Parameter<Scalar>& parameter = parameters[i];
      const auto* first = std::get_if<std::vector<Scalar>>(&pairs_[i].first);
      if (hash(parameter.name) != names_[i] || pairs_[i].shape != parameter.shape || first == nullptr ||
          static_cast<Index>(first->size()) != parameter.size) {
        throw input_error(parameter.name, "is not the parameter that AdamW has moments of");
      }
    }
  }

  /// Updates so far.
  double step() const { return step_; }
  void advance() { ++step_; }

  template <class Scalar>
  Scalar* first(std::size_t i) {
    return std::get<std::vector<Scalar>>(pairs_[i].first).data();
  }
  template <class Scalar>
  Scalar* second(std::size_t i) {
    return std::get<std::vector<Scalar>>(pairs_[i].second).data();
  }

  /// Views of all arrays, good until the next change.
  std::vector<TensorView> state() const {
    std::vector<TensorView> views{
        view("adamw.step", {1}, std::span(&step_, 1)),
        view("adamw.names", {static_cast<Index>(names_.size())}, std::span(names_))};
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      const auto add = [&](const char* which, const Values& values) {
        std::visit(
            [&](const auto& v) { views.push_back(view(name(i, which), pairs_[i].shape, std::span(v))); },
            values);
      };
      add("first", pairs_[i].first);
      add("second", pairs_[i].second);
    }
    return views;
  }

  /// Copies what `lookup` finds. Throws an input `Error` naming the first tensor that is missing or wrong,
  /// before anything changes.
  void load_state(const TensorLookup& lookup) {
    Moments loaded;
    const std::vector<double> step = numbers(found(lookup, "adamw.step"));
    require(step.size() == 1 && step[0] >= 0 && step[0] < 0x1p53 && step[0] == std::floor(step[0]),
            "adamw.step", "is not a number of updates");
    loaded.step_ = step[0];
    loaded.names_ = numbers(found(lookup, "adamw.names"));
    for (std::size_t i = 0; i < loaded.names_.size(); ++i) {
      const TensorView first = found(lookup, name(i, "first")), second = found(lookup, name(i, "second"));
      require(first.shape == second.shape && first.type == second.type, second.name,
              "is unlike the first moment of the same parameter");
      loaded.pairs_.push_back({first.shape, values(first), values(second)});
    }
    *this = std::move(loaded);
  }

  /// What stands for a parameter's name in a state: FNV-1a, 64 bits, of which the upper 53 are kept, what a
  /// double holds.
  static double hash(std::string_view name) {
    std::uint64_t value = 0xCBF29CE484222325U;
    for (const char c : name) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
    return static_cast<double>(value >> 11);
  }

 private:
  using Values = std::variant<std::vector<float>, std::vector<double>>;
  struct Pair {
    std::vector<Index> shape;
    Values first, second;
  };

  static std::string name(std::size_t i, const char* which) { return fmt::format("adamw.{}.{}", i, which); }

  template <class Scalar>
  static TensorView view(std::string name, std::vector<Index> shape, std::span<const Scalar> values) {
    return {std::move(name), data_type_of<Scalar>, std::move(shape), std::as_bytes(values), nullptr};
  }
  template <class Scalar>
  static TensorView view(std::string name, std::vector<Index> shape, std::span<Scalar> values) {
    return view(std::move(name), std::move(shape), std::span<const Scalar>(values));
  }

  static TensorView found(const TensorLookup& lookup, const std::string& name) {
    std::optional<TensorView> tensor = lookup(name);
    if (!tensor) throw input_error(name, "is missing in the state of the optimizer");
    std::uint64_t count = 1;
    for (const Index dimension : tensor->shape) {
      require(dimension >= 0 && !__builtin_mul_overflow(count, static_cast<std::uint64_t>(dimension), &count),
              name, "has an impossible shape");
    }
    require(tensor->bytes.size() / size_of(tensor->type) == count, name,
            "has bytes that do not fit its shape");
    return *std::move(tensor);
  }

  template <class Scalar>
  static std::vector<Scalar> copy(const TensorView& tensor) {
    std::vector<Scalar> result(static_cast<std::size_t>(value_count(tensor)));
    read_values(tensor, result.data());
    return result;
  }
  static std::vector<double> numbers(const TensorView& tensor) {
    require(tensor.type == DataType::float64 && tensor.shape.size() == 1, tensor.name,
            "is not a list of float64");
    return copy<double>(tensor);
  }
  static Values values(const TensorView& tensor) {
    if (tensor.type == DataType::float64) return copy<double>(tensor);
    require(tensor.type == DataType::float32, tensor.name, "is neither float32 nor float64");
    return copy<float>(tensor);
  }

  double step_ = 0;
  std::vector<double> names_;
  std::vector<Pair> pairs_;
};

}  // namespace eso
