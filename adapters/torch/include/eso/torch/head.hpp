// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "eso/torch/affine.hpp"
#include "eso/torch/graph.hpp"
#include "eso/torch/packing.hpp"

namespace eso::torch {

/// Log-probabilities of chosen tokens under softmax(x E^T / temperature), and their gradient, without a
/// (rows, V) array: the product runs over chunks of rows, forward and backward.
///
///     logp(target) = x_row . E_token / temperature - log sum over v of exp(x_row . E_v / temperature)
///
/// The backward pass computes the chunks again, 8 M V H operations in all for M rows, unless there is one
/// chunk alone, whose logits are kept: then 6 M V H. Products in the type of x, everything else in `sums`.
class Head {
 public:
  double temperature = 1;
  at::ScalarType sums = at::kFloat;

  /// Rows whose logits take 64 MiB.
  static std::int64_t chunk_rows(std::int64_t vocabulary, at::ScalarType sums) {
    return std::max<std::int64_t>(
        1, (std::int64_t{64} << 20) / (vocabulary * static_cast<std::int64_t>(c10::elementSize(sums))));
  }

  /// (rows, V), of x and a weight in one type.
  at::Tensor logits(const at::Tensor& x, const at::Tensor& weight) const {
    return logits(x, weight, temperature, sums);
  }

  static at::Tensor logits(const at::Tensor& x, const at::Tensor& weight, double temperature,
                           at::ScalarType sums) {
    at::Tensor logits = product(x, weight.t()).to(sums);
    return temperature == 1 ? logits : logits.div_(temperature);
  }

  /// One value for each target, in their order. `weight` is cast to the type of x.
  at::Tensor log_probs(const at::Tensor& x, const at::Tensor& weight, const Targets& targets) const {
    const bool graph = c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
    std::shared_ptr<Node> node;
    if (graph) node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
    std::vector<at::Tensor> results, log_sums;
    at::Tensor kept;
    {
      const c10::NoGradGuard no_grad;
      const at::Tensor w = weight.to(x.scalar_type());
      for (const Targets::Chunk& chunk : targets.chunks) {
        at::Tensor z = logits(x.slice(0, chunk.begin, chunk.end), w);
        const at::Tensor log_sum = at::logsumexp(z, 1);
        for (const Targets::Run& run : chunk.runs) {
          const at::Tensor rows = targets.rows.narrow(0, run.first, run.count);
          const at::Tensor chosen = z.index({rows, targets.tokens.narrow(0, run.first, run.count)});
          results.push_back(chosen - log_sum.index_select(0, rows));
        }
        log_sums.push_back(log_sum);
        if (graph && targets.chunks.size() == 1) kept = std::move(z);
      }
    }
    // Rounding may lift a certain token above 0.
    at::Tensor result =
        results.empty() ? at::empty({0}, x.options().dtype(sums)) : at::cat(results).clamp_max_(0);
    if (!graph) return result;
    node->temperature = temperature;
    node->sums = sums;
    node->x = x.detach();
    node->weight = weight.detach();
    node->targets = targets;
    node->log_sums = std::move(log_sums);
    node->kept = std::move(kept);
    return join_graph(std::move(result), node, {x, weight});
  }

 private:
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      if (!gradients[0].defined()) return {at::Tensor(), at::Tensor()};
      const at::Tensor w = weight.to(x.scalar_type());
      at::Tensor d_weight;
      std::vector<at::Tensor> d_x;
      for (std::size_t c = 0; c < targets.chunks.size(); ++c) {
        const Targets::Chunk& chunk = targets.chunks[c];
        const at::Tensor rows = x.slice(0, chunk.begin, chunk.end);
        at::Tensor z =
            kept.defined() ? std::exchange(kept, at::Tensor()) : logits(rows, w, temperature, sums);
        const at::Tensor d = d_logits(z, chunk, log_sums[c], gradients[0]).to(x.scalar_type());
        if (task_should_compute_output(0)) d_x.push_back(product(d, w));
        if (task_should_compute_output(1)) add(d_weight, product(d.t(), rows));
      }
      return {d_x.empty() ? at::Tensor() : at::cat(d_x), d_weight};
    }

    /// Overwrites the logits with the gradient of theirs before they were divided by the temperature.
    at::Tensor d_logits(at::Tensor& z, const Targets::Chunk& chunk, const at::Tensor& log_sum,
                        const at::Tensor& gradient) const {
      at::Tensor total = at::zeros_like(log_sum);
      for (const Targets::Run& run : chunk.runs) {
        const at::Tensor at_rows = targets.rows.narrow(0, run.first, run.count);
        total.index_put_({at_rows},
                         total.index_select(0, at_rows) + gradient.narrow(0, run.first, run.count));
      }
      total.div_(temperature);
      z.sub_(log_sum.unsqueeze(1)).exp_().mul_(total.neg().unsqueeze(1));
      for (const Targets::Run& run : chunk.runs) {
        const c10::List<std::optional<at::Tensor>> place(
            {targets.rows.narrow(0, run.first, run.count), targets.tokens.narrow(0, run.first, run.count)});
        z.index_put_(place, z.index(place) + gradient.narrow(0, run.first, run.count) / temperature);
      }
      return z;
    }

    /// In the type of what is trained, whatever the products are in.
    void add(at::Tensor& sum, const at::Tensor& term) const {
      if (!sum.defined()) {
        sum = term.to(weight.scalar_type());
      } else {
        sum.add_(term);
      }
    }

    void release_variables() override {
      x.reset(), weight.reset(), kept.reset();
      log_sums.clear();
    }

    double temperature = 1;
    at::ScalarType sums = at::kFloat;
    at::Tensor x, weight, kept;
    Targets targets;
    std::vector<at::Tensor> log_sums;
  };
};

}  // namespace eso::torch
