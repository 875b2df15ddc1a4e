// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "eso/torch/graph.hpp"

namespace eso::torch {

/// A function of tensors that computes one tensor, and the same every time it is called.
using Recomputable = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// f(inputs), of which nothing but the inputs is kept: the backward pass computes it again, with the graph.
///
/// Source: Chen et al. 2016, arXiv 1604.06174, with each call as one segment.
inline at::Tensor checkpointed(Recomputable f, const std::vector<at::Tensor>& inputs) {
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      std::vector<at::Tensor> leaves, wanted;
      for (const at::Tensor& input : inputs) {
        leaves.push_back(input.detach().requires_grad_(input.requires_grad()));
        if (input.requires_grad()) wanted.push_back(leaves.back());
      }
      at::Tensor output;
      {
        const c10::AutoGradMode enable(true);
        output = f(leaves);
      }
      ::torch::autograd::variable_list found = ::torch::autograd::grad({output}, wanted, {gradients[0]});
      ::torch::autograd::variable_list result;
      std::size_t next = 0;
      for (const at::Tensor& input : inputs)
        result.push_back(input.requires_grad() ? found[next++] : at::Tensor());
      return result;
    }
    void release_variables() override { inputs.clear(); }

    Recomputable f;
    std::vector<at::Tensor> inputs;
  };
  at::Tensor output;
  {
    const c10::NoGradGuard no_grad;
    output = f(inputs);
  }
  auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
  node->f = std::move(f);
  node->inputs = inputs;
  return join_graph(std::move(output), node, inputs);
}

}  // namespace eso::torch
