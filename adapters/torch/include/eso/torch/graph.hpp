// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>
#include <utility>
#include <vector>

namespace eso::torch {

/// Makes `node` the place where the gradient of `output` goes on to those of `inputs`.
inline at::Tensor join_graph(at::Tensor output, const std::shared_ptr<::torch::autograd::Node>& node,
                             const std::vector<at::Tensor>& inputs) {
  ::torch::autograd::edge_list edges;
  for (const at::Tensor& input : inputs) {
    edges.push_back(input.defined() ? ::torch::autograd::impl::gradient_edge(input)
                                    : ::torch::autograd::Edge());
  }
  node->set_next_edges(std::move(edges));
  ::torch::autograd::set_history(output, node);
  return output;
}

}  // namespace eso::torch
