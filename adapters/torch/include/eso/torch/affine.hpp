// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/GradMode.h>

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "eso/torch/graph.hpp"

namespace eso::torch {

/// oneDNN's operator of that name, where LibTorch has it.
inline std::optional<c10::OperatorHandle> one_dnn(const char* name) {
  const bool there = at::globalContext().hasMKLDNN() && at::globalContext().userEnabledMkldnn();
  return there ? c10::Dispatcher::singleton().findSchema({name, ""}) : std::nullopt;
}

/// a b, (M, K) by (K, N), plus `bias` (N) if it is defined, without a graph. b may come from `packed`.
///
/// On the CPU in float32 it is oneDNN's product where LibTorch has it: two to three times as fast as its
/// default for a few rows, which is what generation multiplies, and a little faster for many.
inline at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {}) {
  using Signature =
      at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                 c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);
  static const std::optional<c10::OperatorHandle> linear = one_dnn("mkldnn::_linear_pointwise");
  const bool plain = linear && a.is_cpu() && a.scalar_type() == at::kFloat && a.numel() > 0 && b.numel() > 0;
  if (b.is_mkldnn() || plain) {
    const std::optional<at::Tensor> added = bias.defined() ? std::optional(bias) : std::nullopt;
    return linear->typed<Signature>().call(a, b.is_mkldnn() ? b : b.t(), added, "none",
                                           c10::List<std::optional<at::Scalar>>(), "");
  }
  return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
}

/// A copy of b (K, N) in the order in which oneDNN's product reads it, for `product` alone; b itself where
/// LibTorch or the processor have none. A product of few rows takes a quarter less time with it in float32,
/// two fifths in bfloat16.
inline at::Tensor packed(const at::Tensor& b) {
  static const std::optional<c10::OperatorHandle> reorder = one_dnn("mkldnn::_reorder_linear_weight");
  const bool type = b.scalar_type() == at::kFloat ||
                    (b.scalar_type() == at::kBFloat16 && at::cpu::is_avx512_vnni_supported());
  if (!reorder || !b.is_cpu() || !type || b.numel() == 0) return b;
  using Signature = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
  return reorder->typed<Signature>().call(b.t(), std::nullopt);
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
