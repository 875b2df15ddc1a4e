// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/GradMode.h>

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "eso/torch/graph.hpp"

namespace eso::torch {

/// a b, (M, K) by (K, N), plus `bias` (N) if it is defined, without a graph.
///
/// On the CPU in float32 it is oneDNN's product where LibTorch has it: two to three times as fast as its
/// default for a few rows, which is what generation multiplies, and a little faster for many.
inline at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {}) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                 c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const std::optional<c10::OperatorHandle> one_dnn =
      at::globalContext().hasMKLDNN() && at::globalContext().userEnabledMkldnn()
          ? c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""})
          : std::nullopt;
  if (one_dnn && a.is_cpu() && a.scalar_type() == at::kFloat && a.numel() > 0 && b.numel() > 0) {
    const std::optional<at::Tensor> added = bias.defined() ? std::optional(bias) : std::nullopt;
    return one_dnn->typed<Signature>().call(a, b.t(), added, "none", c10::List<std::optional<at::Scalar>>(),
                                            "");
  }
  return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
}

/// x w, plus `bias` if it is defined, and its gradient.
inline at::Tensor affine(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias = {}) {
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      const at::Tensor& d = gradients[0];
      if (!d.defined()) return {at::Tensor(), at::Tensor(), at::Tensor()};
      return {task_should_compute_output(0) ? product(d, w.t()) : at::Tensor(),
              task_should_compute_output(1) ? product(x.t(), d) : at::Tensor(),
              task_should_compute_output(2) ? d.sum(0) : at::Tensor()};
    }
    void release_variables() override { x.reset(), w.reset(); }

    at::Tensor x, w;
  };
  const bool graph = c10::GradMode::is_enabled() &&
                     (x.requires_grad() || w.requires_grad() || (bias.defined() && bias.requires_grad()));
  if (!graph) return product(x, w, bias);
  at::Tensor y;
  {
    const c10::NoGradGuard no_grad;
    y = product(x.detach(), w.detach(), bias.defined() ? bias.detach() : bias);
  }
  const auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
  // What is frozen needs no gradient, and its product nothing kept for one.
  if (w.requires_grad()) node->x = x.detach();
  if (x.requires_grad()) node->w = w.detach();
  return join_graph(std::move(y), node, {x, w, bias});
}

}  // namespace eso::torch
