// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eso/optim/moments.hpp"
#include "eso/torch/parameters.hpp"
#include "eso/torch/tensors.hpp"

namespace eso::torch {

/// `eso::Moments` on a device: two running averages for every number of a list of parameters and the count of
/// updates. Its state has the same tensors.
class Moments {
 public:
  /// Those of one parameter.
  struct Pair {
    double name = 0;  ///< its hash
    at::Tensor first, second;
  };

  Moments() = default;
  /// Those of a part of a list.
  Moments(double step, std::vector<Pair> pairs) : step_(step), pairs_(std::move(pairs)) {}

  /// What stands for a parameter's name in a state.
  static double hash(const std::string& name) { return eso::Moments::hash(name); }

  /// Takes zeros for a list that is the first; else throws an input `Error` naming the first parameter that
  /// is not the one remembered, before anything changes.
  void adopt(const ParameterList& parameters) {
    if (pairs_.empty() && step_ == 0) {
      std::vector<Pair> pairs;
      for (const Parameter& parameter : parameters) {
        pairs.push_back(
            {hash(parameter.name), at::zeros_like(parameter.value()), at::zeros_like(parameter.value())});
      }
      pairs_ = std::move(pairs);
      return;
    }
    require(pairs_.size() == parameters.size(), "AdamW", "has the moments of another list of parameters");
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor value = parameters[i].value();
      if (pairs_[i].name != hash(parameters[i].name) || pairs_[i].first.sizes() != value.sizes() ||
          pairs_[i].first.scalar_type() != value.scalar_type()) {
        throw input_error(parameters[i].name, "is not the parameter that AdamW has moments of");
      }
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      pairs_[i].first = pairs_[i].first.to(parameters[i].leaf.device());
      pairs_[i].second = pairs_[i].second.to(parameters[i].leaf.device());
    }
  }

  /// Updates so far.
  double step() const { return step_; }
  void advance() { ++step_; }

  std::size_t count() const { return pairs_.size(); }
  const Pair& operator[](std::size_t i) const { return pairs_[i]; }

  /// The moments in host memory, good until the next update, and the count of updates.
  std::vector<TensorView> state() const {
    const at::Tensor names = at::empty({static_cast<std::int64_t>(pairs_.size())}, at::kDouble);
    for (std::size_t i = 0; i < pairs_.size(); ++i) names.data_ptr<double>()[i] = pairs_[i].name;
    std::vector<TensorView> views{view_of("adamw.step", at::full({1}, step_, at::kDouble)),
                                  view_of("adamw.names", names)};
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      views.push_back(view_of(fmt::format("adamw.{}.first", i), pairs_[i].first));
      views.push_back(view_of(fmt::format("adamw.{}.second", i), pairs_[i].second));
    }
    return views;
  }

  /// Goes on from a state, also before any update. Throws an input `Error` naming the first tensor that is
  /// missing or wrong, before anything changes.
  void load_state(const TensorLookup& lookup) {
    const at::Tensor step = found(lookup, "adamw.step"), names = found(lookup, "adamw.names");
    require(step.numel() == 1 && step.scalar_type() == at::kDouble && step.item<double>() >= 0 &&
                step.item<double>() < 0x1p53 && step.item<double>() == std::floor(step.item<double>()),
            "adamw.step", "is not a number of updates");
    require(names.dim() == 1 && names.scalar_type() == at::kDouble, "adamw.names",
            "is not a list of float64");
    std::vector<Pair> pairs;
    for (std::int64_t i = 0; i < names.numel(); ++i) {
      pairs.push_back({names[i].item<double>(), found(lookup, fmt::format("adamw.{}.first", i)),
                       found(lookup, fmt::format("adamw.{}.second", i))});
      const at::Tensor &first = pairs.back().first, &second = pairs.back().second;
      require(first.sizes() == second.sizes() && first.scalar_type() == second.scalar_type(),
              fmt::format("adamw.{}.second", i), "is unlike the first moment of the same parameter");
    }
    step_ = step.item<double>();
    pairs_ = std::move(pairs);
  }

 private:
  static at::Tensor found(const TensorLookup& lookup, const std::string& name) {
    const std::optional<TensorView> view = lookup(name);
    if (!view) throw input_error(name, "is missing in the state of the optimizer");
    std::uint64_t count = 1;
    for (const Index dimension : view->shape) {
      require(dimension >= 0 && !__builtin_mul_overflow(count, static_cast<std::uint64_t>(dimension), &count),
              name, "has an impossible shape");
    }
    require(view->bytes.size() / size_of(view->type) == count, name, "has bytes that do not fit its shape");
    return tensor_of(*view, scalar_type(view->type), at::kCPU);
  }

  double step_ = 0;
  std::vector<Pair> pairs_;
};

}  // namespace eso::torch
