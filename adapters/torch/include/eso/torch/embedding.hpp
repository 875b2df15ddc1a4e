// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "eso/torch/graph.hpp"

namespace eso::torch {

/// Rows `tokens` of `table` (V, E), and their gradient: (V, E), zero but for those rows.
///
/// Where `shared` is given and has a gradient of the table by then, which what the rows went through left
/// there (`Head::log_probs`), the rows are added to it: a second array of that size is neither made nor
/// summed. Rows that stand more than once are added in the same order each time.
inline at::Tensor embedded(const at::Tensor& table, const at::Tensor& tokens,
                           std::shared_ptr<at::Tensor> shared = nullptr) {
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      at::Tensor sum = shared ? std::exchange(*shared, at::Tensor()) : at::Tensor();
      if (!gradients[0].defined()) return {std::move(sum)};
      if (!sum.defined()) sum = at::zeros(sizes, gradients[0].options());
      if (sum.is_cpu()) {
        sum.index_add_(0, tokens, gradients[0]);
      } else {
        sum.index_put_({tokens}, gradients[0], true);
      }
      return {std::move(sum)};
    }
    void release_variables() override { tokens.reset(); }

    at::Tensor tokens;
    std::vector<std::int64_t> sizes;
    std::shared_ptr<at::Tensor> shared;
  };
  at::Tensor rows;
  {
    const c10::NoGradGuard no_grad;
    rows = at::embedding(table.detach(), tokens);
  }
  if (!c10::GradMode::is_enabled() || !table.requires_grad()) return rows;
  const auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
  node->tokens = tokens;
  node->sizes = table.sizes().vec();
  node->shared = std::move(shared);
  return join_graph(std::move(rows), node, {table});
}

}  // namespace eso::torch
