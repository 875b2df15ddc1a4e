// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eso/torch/adamw.hpp"
#include "eso/torch/process_group.hpp"

namespace eso::torch {

/// `AdamW` whose moments are divided among processes: each keeps those of about as many numbers, moves these
/// parameters and gives them to the others. The result is that of `AdamW`, the memory 8 bytes a float32
/// parameter divided by the number of processes.
///
/// Source: Rajbhandari et al. 2020, arXiv 1910.02054, stage 1.
struct ShardedAdamW {
  AdamW adamw;  ///< of the parameters that this process moves
  std::shared_ptr<ProcessGroup> group;

  ShardedAdamW(AdamW settings, std::shared_ptr<ProcessGroup> processes)
      : adamw(std::move(settings)), group(std::move(processes)) {}

  /// As `AdamW::update`; all processes call it with the same list.
  void update(const ParameterList& parameters, double learning_rate, double scale) {
    std::vector<Entry> entries;
    for (const Parameter& parameter : parameters) {
      entries.push_back(
          {Moments::hash(parameter.name), parameter.value().sizes().vec(), parameter.value().scalar_type()});
    }
    own(std::move(entries));
    ParameterList mine;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (entries_[i].owner == group->rank()) mine.push_back(parameters[i]);
    }
    adamw.update(mine, learning_rate, scale);
    const c10::NoGradGuard no_grad;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      group->broadcast(parameters[i].value(), entries_[i].owner);
    }
  }

  /// Those of all processes, which all call it: the tensors of `AdamW::state`.
  std::vector<TensorView> state() const {
    const at::Tensor names = at::empty({static_cast<std::int64_t>(entries_.size())}, at::kDouble);
    for (std::size_t i = 0; i < entries_.size(); ++i) names.data_ptr<double>()[i] = entries_[i].name;
    std::vector<TensorView> views{view_of("adamw.step", at::full({1}, adamw.moments.step(), at::kDouble)),
                                  view_of("adamw.names", names)};
    std::size_t next = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const bool mine = entries_[i].owner == group->rank();
      for (const bool first : {true, false}) {
        at::Tensor host = at::empty(entries_[i].shape, entries_[i].type);
        if (mine) {
          const Moments::Pair& pair = adamw.moments[next];
          host = (first ? pair.first : pair.second).to(at::kCPU).contiguous();
        }
        group->broadcast(host, entries_[i].owner);
        views.push_back(view_of(fmt::format("adamw.{}.{}", i, first ? "first" : "second"), host));
      }
      if (mine) ++next;
    }
    return views;
  }

  /// Goes on from a state, of which this process keeps its part; all of it is in host memory meanwhile.
  /// Throws as `Moments::load_state`.
  void load_state(const TensorLookup& lookup) {
    Moments whole;
    whole.load_state(lookup);
    std::vector<Entry> entries;
    for (std::size_t i = 0; i < whole.count(); ++i)
      entries.push_back({whole[i].name, whole[i].first.sizes().vec(), whole[i].first.scalar_type()});
    own(std::move(entries));
    std::vector<Moments::Pair> mine;
    for (std::size_t i = 0; i < whole.count(); ++i) {
      if (entries_[i].owner == group->rank()) mine.push_back(whole[i]);
    }
    adamw.moments = Moments(whole.step(), std::move(mine));
  }

 private:
  struct Entry {
    double name = 0;
    std::vector<std::int64_t> shape;
    at::ScalarType type = at::kFloat;
    int owner = 0;
  };

  /// Decides who moves which parameter: consecutive ones, about as many numbers each.
  void own(std::vector<Entry> entries) {
    if (entries.size() == entries_.size()) return;
    const auto numbers = [](const Entry& entry) {
      double count = 1;
      for (const std::int64_t n : entry.shape) count *= static_cast<double>(n);
      return count;
    };
    double total = 0, before = 0;
    for (const Entry& entry : entries) total += numbers(entry);
    for (Entry& entry : entries) {
      const double middle = before + numbers(entry) / 2;
      entry.owner = std::min(group->size() - 1, static_cast<int>(middle / total * group->size()));
      before += numbers(entry);
    }
    entries_ = std::move(entries);
  }

  std::vector<Entry> entries_ = {};
};

}  // namespace eso::torch
