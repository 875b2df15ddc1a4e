// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "eso/torch/affine.hpp"
#include "eso/torch/graph.hpp"
#include "eso/torch/packing.hpp"

namespace eso::torch {

/// Log-probabilities of chosen tokens under softmax(x E^T / temperature), and their gradient, without a
/// (rows, V) array: the product runs over groups of rows, forward and backward.
///
///     logp(target) = x_row . E_token / temperature - log sum over v of exp(x_row . E_v / temperature)
///
/// The backward pass computes the logits again, 8 M V H operations in all for M rows, unless all of them
/// take no more than `kept_bytes`: then they are one group, which is kept, and it is 6 M V H. Products and
/// their logits in the type of x, everything else in `sums`, a chunk of the targets at a time.
class Head {
 public:
  double temperature = 1;
  at::ScalarType sums = at::kFloat;
  std::int64_t kept_bytes = std::int64_t{256} << 20;  ///< logits that are kept for the backward pass
  std::int64_t group_bytes = std::int64_t{64} << 20;  ///< logits of a group, where they are not kept

  /// Rows whose logits become log-probabilities together: on a processor few enough to stay in its cache.
  std::int64_t chunk_rows(std::int64_t vocabulary, at::Device device) const {
    return rows_of(device.is_cpu() ? std::int64_t{4} << 20 : group_bytes, vocabulary, sums);
  }

  /// (rows, V), of x and a weight in one type, which may be `packed`.
  at::Tensor logits(const at::Tensor& x, const at::Tensor& weight) const {
    at::Tensor logits = product(x, weight.is_mkldnn() ? weight : weight.t()).to(sums);
    return temperature == 1 ? logits : logits.div_(temperature);
  }

  /// One value for each target, in their order. `weight` is cast to the type of x.
  ///
  /// Where `shared` is given, the gradient of the weight is put there instead of returned: for a weight that
  /// something earlier in the model reads too and adds its own to (`embedded`).
  at::Tensor log_probs(const at::Tensor& x, const at::Tensor& weight, const Targets& targets,
                       std::shared_ptr<at::Tensor> shared = nullptr) const {
    const bool graph = c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
    const bool keeps = graph && bytes(x.size(0), weight.size(0), x.scalar_type()) <= kept_bytes;
    const std::int64_t rows = keeps ? x.size(0) : rows_of(group_bytes, weight.size(0), x.scalar_type());
    auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
    node->temperature = temperature;
    node->sums = sums;
    node->targets = targets;
    node->groups = groups_of(node->targets, rows);
    at::Tensor result;
    {
      const c10::NoGradGuard no_grad;
      node->x = x.detach();
      node->cast = weight.detach().to(x.scalar_type());
      std::vector<at::Tensor> results;
      for (const Group& group : node->groups) {
        at::Tensor z = node->product_of(group);
        node->log_probs(z, group, results);
        if (keeps) node->kept = std::move(z);
      }
      // Rounding may lift a certain token above 0.
      result = results.empty() ? at::empty({0}, x.options().dtype(sums)) : at::cat(results).clamp_max_(0);
    }
    if (!graph) return result;
    node->weight_type = weight.scalar_type();
    node->shared = std::move(shared);
    return join_graph(std::move(result), node, {x, weight});
  }

 private:
  /// Chunks of the targets whose logits are one product.
  using Group = std::span<const Targets::Chunk>;

  static std::int64_t bytes(std::int64_t rows, std::int64_t vocabulary, at::ScalarType type) {
    return rows * vocabulary * static_cast<std::int64_t>(c10::elementSize(type));
  }

  static std::int64_t rows_of(std::int64_t most_bytes, std::int64_t vocabulary, at::ScalarType type) {
    return std::max<std::int64_t>(1, most_bytes / bytes(1, vocabulary, type));
  }

  static std::vector<Group> groups_of(const Targets& targets, std::int64_t rows) {
    std::vector<Group> groups;
    const std::vector<Targets::Chunk>& chunks = targets.chunks;
    for (std::size_t first = 0, next = 0; first < chunks.size(); first = next) {
      while (next < chunks.size() && (next == first || chunks[next].end - chunks[first].begin <= rows))
        ++next;
      groups.emplace_back(&chunks[first], next - first);
    }
    return groups;
  }

  struct Node : ::torch::autograd::Node {
    /// The logits of a group, before the temperature.
    at::Tensor product_of(Group group) const {
      return product(x.slice(0, group.front().begin, group.back().end), cast.t());
    }

    /// A chunk's rows of its group's logits.
    static at::Tensor rows_of(const at::Tensor& z, Group group, const Targets::Chunk& chunk) {
      return z.slice(0, chunk.begin - group.front().begin, chunk.end - group.front().begin);
    }

    /// The same divided by the temperature; where that changes nothing, not copied.
    at::Tensor scaled(const at::Tensor& rows) const {
      const at::Tensor numbers = rows.to(sums);
      return temperature == 1 ? numbers : numbers / temperature;
    }

    at::Tensor rows_of(const Targets::Run& run) const { return targets.rows.narrow(0, run.first, run.count); }
    at::Tensor tokens_of(const Targets::Run& run) const {
      return targets.tokens.narrow(0, run.first, run.count);
    }

    /// Appends the log-probabilities of a group's targets.
    void log_probs(const at::Tensor& z, Group group, std::vector<at::Tensor>& results) {
      for (const Targets::Chunk& chunk : group) {
        const at::Tensor numbers = scaled(rows_of(z, group, chunk));
        log_sums.push_back(at::logsumexp(numbers, 1));
        for (const Targets::Run& run : chunk.runs) {
          const at::Tensor chosen = numbers.index({rows_of(run), tokens_of(run)});
          results.push_back(chosen - log_sums.back().index_select(0, rows_of(run)));
        }
      }
    }

    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      if (!gradients[0].defined()) return {at::Tensor(), at::Tensor()};
      at::Tensor d_weight;
      std::vector<at::Tensor> d_x;
      for (const Group& group : groups) {
        at::Tensor z = kept.defined() ? std::exchange(kept, at::Tensor()) : product_of(group);
        d_logits(z, group, gradients[0] / temperature);
        if (task_should_compute_output(0)) d_x.push_back(product(z, cast));
        if (task_should_compute_output(1)) {
          add_product(d_weight, z, x.slice(0, group.front().begin, group.back().end));
        }
      }
      if (shared) *shared = std::exchange(d_weight, at::Tensor());
      return {d_x.empty() ? at::Tensor() : d_x.size() == 1 ? d_x.front() : at::cat(d_x), d_weight};
    }

    /// Overwrites the logits of a group with their gradient, from those of targets over the temperature.
    void d_logits(at::Tensor& z, Group group, const at::Tensor& gradient) const {
      for (const Targets::Chunk& chunk : group) {
        const auto index = static_cast<std::size_t>(&chunk - targets.chunks.data());
        const at::Tensor place = rows_of(z, group, chunk);
        at::Tensor total = at::zeros_like(log_sums[index]);
        for (const Targets::Run& run : chunk.runs) {
          total.index_put_({rows_of(run)},
                           total.index_select(0, rows_of(run)) + gradient.narrow(0, run.first, run.count));
        }
        at::Tensor d = scaled(place);
        d.sub_(log_sums[index].unsqueeze(1)).exp_().mul_(total.neg().unsqueeze(1));
        for (const Targets::Run& run : chunk.runs) {
          const c10::List<std::optional<at::Tensor>> at_targets({rows_of(run), tokens_of(run)});
          d.index_put_(at_targets, d.index(at_targets) + gradient.narrow(0, run.first, run.count));
        }
        if (!d.is_alias_of(place)) place.copy_(d);
      }
    }

    /// sum += z^T rows, in the type of what is trained, whatever the products are in.
    void add_product(at::Tensor& sum, const at::Tensor& z, const at::Tensor& rows) const {
      if (!sum.defined() && weight_type == x.scalar_type()) {
        sum = product(z.t(), rows);
        return;
      }
      const bool first = !sum.defined();
      if (first) sum = at::empty({z.size(1), x.size(1)}, x.options().dtype(weight_type));
      // Some tokens at a time: LibTorch makes a cast copy of what it adds, which is to stay in the cache.
      const std::int64_t step = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / x.size(1));
      for (std::int64_t begin = 0; begin < z.size(1); begin += step) {
        const at::Tensor term = product(z.slice(1, begin, begin + step).t(), rows);
        const at::Tensor place = sum.slice(0, begin, begin + step);
        first ? place.copy_(term) : place.add_(term);
      }
    }

    void release_variables() override {
      x.reset(), cast.reset(), kept.reset();
      log_sums.clear();
    }

    double temperature = 1;
    at::ScalarType sums = at::kFloat;
    Targets targets;
    std::vector<Group> groups;  ///< of the chunks of `targets`
    at::Tensor x, cast, kept;
    at::ScalarType weight_type = at::kFloat;
    std::vector<at::Tensor> log_sums;  ///< of each chunk
    std::shared_ptr<at::Tensor> shared;
  };
};

}  // namespace eso::torch
