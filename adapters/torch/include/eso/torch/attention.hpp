// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/torch/graph.hpp"

namespace eso::torch {

/// Causal softmax(scale q k^T) v, and its gradient, on the CPU: q, k and v (texts, heads, rows, width), a row
/// sees the keys up to its own.
///
/// As `scaled_dot_product_attention`, in less time for up to about a thousand rows: products run over up to
/// 128 rows of several texts' heads at once, and leave out the keys behind the last of them. Scores and the
/// softmax are in float32 under bfloat16 too. Nothing is kept for the backward pass but q, k and v. A block
/// has about `block_numbers` scores, or one row's; the backward pass has four such arrays at a time.
class Attention {
 public:
  Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
            std::int64_t block_numbers = std::int64_t{1} << 20)
      : block_numbers_(block_numbers),
        sizes_(q.sizes().vec()),
        type_(q.scalar_type()),
        sums_(type_ == at::kDouble ? at::kDouble : at::kFloat),
        scale_(scale),
        q_(flat(q)),
        k_(flat(k)),
        v_(flat(v)) {}

  at::Tensor forward() const {
    const at::Tensor out = at::empty_like(v_);
    for_blocks([&](const Block& b) { b.rows(out).copy_(at::bmm(probabilities(b).to(type_), b.keys(v_))); });
    return out.view(sizes_);
  }

  /// Gradients of q, k and v from that of the result.
  std::vector<at::Tensor> backward(const at::Tensor& d_out) const {
    const at::Tensor d = flat(d_out), d_q = at::empty_like(q_);
    const at::Tensor d_k = at::zeros_like(k_, k_.options().dtype(sums_)),
                     d_v = at::zeros_like(v_, v_.options().dtype(sums_));
    for_blocks([&](const Block& b) {
      const at::Tensor p = probabilities(b);
      const at::Tensor d_p = at::bmm(b.rows(d).to(sums_), b.keys(v_).to(sums_).transpose(1, 2));
      const at::Tensor d_s = at::_softmax_backward_data(d_p, p, 2, sums_).mul_(scale_).to(type_);
      b.rows(d_q).copy_(at::bmm(d_s, b.keys(k_)));
      b.keys(d_k).add_(at::bmm(d_s.transpose(1, 2), b.rows(q_)));
      b.keys(d_v).add_(at::bmm(p.to(type_).transpose(1, 2), b.rows(d)));
    });
    return {d_q.view(sizes_), d_k.to(type_).view(sizes_), d_v.to(type_).view(sizes_)};
  }

 private:
  /// Some rows of some texts' heads, and the keys that they may see.
  struct Block {
    std::int64_t first, count, first_row, row_count;

    at::Tensor rows(const at::Tensor& x) const {
      return x.narrow(0, first, count).narrow(1, first_row, row_count);
    }
    at::Tensor keys(const at::Tensor& x) const {
      return x.narrow(0, first, count).narrow(1, 0, first_row + row_count);
    }
  };

  /// (texts * heads, rows, width), in order in memory.
  static at::Tensor flat(const at::Tensor& x) {
    return x.reshape({x.size(0) * x.size(1), x.size(2), x.size(3)}).contiguous();
  }

  template <class Work>
  void for_blocks(const Work& work) const {
    const std::int64_t all = q_.size(0), length = std::max<std::int64_t>(q_.size(1), 1);
    const std::int64_t rows =
        std::clamp<std::int64_t>(block_numbers_ / length, 1, std::min<std::int64_t>(length, 128));
    const std::int64_t count = std::max<std::int64_t>(1, block_numbers_ / (rows * length));
    for (std::int64_t first = 0; first < all; first += count) {
      for (std::int64_t row = 0; row < q_.size(1); row += rows)
        work(Block{first, std::min(count, all - first), row, std::min(rows, q_.size(1) - row)});
    }
  }

  at::Tensor probabilities(const Block& b) const {
    const at::Tensor scores =
        at::bmm(b.rows(q_).to(sums_), b.keys(k_).to(sums_).transpose(1, 2)).mul_(scale_);
    const at::Tensor unseen = at::full({b.row_count, b.row_count}, -INFINITY, scores.options()).triu_(1);
    scores.narrow(2, b.first_row, b.row_count).add_(unseen);
    return at::_softmax(scores, 2, false);
  }

  std::int64_t block_numbers_;
  std::vector<std::int64_t> sizes_;
  at::ScalarType type_, sums_;
  double scale_;
  at::Tensor q_, k_, v_;
};

/// The longest texts that go through `Attention`.
inline constexpr std::int64_t attention_rows = 1024;

/// softmax(scale q k^T + mask) v in the graph: q (texts, heads, rows, width), k and v with as many keys.
/// `mask` is (1 or texts, 1, rows, keys), 0 or -inf; where it is undefined attention is causal. By
/// `Attention` on the CPU where it is the faster, else `scaled_dot_product_attention`.
inline at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double scale) {
  if (!q.is_cpu() || mask.defined() || q.size(2) > attention_rows) {
    const std::optional<at::Tensor> added = mask.defined() ? std::optional(mask) : std::nullopt;
    // A copy on the CPU: a view would hold what else was computed with it.
    return at::scaled_dot_product_attention(q.is_cpu() ? q.contiguous() : q, k, v, added, 0.0,
                                            !mask.defined(), scale);
  }
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      require(inner != nullptr, "torch::attention", "what it kept was given back by a backward pass");
      if (!gradients[0].defined()) return {at::Tensor(), at::Tensor(), at::Tensor()};
      return inner->backward(gradients[0]);
    }
    void release_variables() override { inner.reset(); }

    std::unique_ptr<Attention> inner;
  };
  auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
  at::Tensor out;
  {
    const c10::NoGradGuard no_grad;
    node->inner = std::make_unique<Attention>(q.detach(), k.detach(), v.detach(), scale);
    out = node->inner->forward();
  }
  const bool graph =
      c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return graph ? join_graph(std::move(out), node, {q, k, v}) : out;
}

}  // namespace eso::torch
