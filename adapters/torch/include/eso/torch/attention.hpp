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

#include "eso/torch/graph.hpp"

namespace eso::torch {

/// softmax(scale q k^T + mask) v, and its gradient, on the CPU: q (texts, heads, rows, width), k and v
/// (texts, heads, keys, width). `mask` is (1 or texts, 1, rows, keys), 0 or -inf; where it is undefined there
/// are as many keys as rows and a row sees those up to its own.
///
/// As `scaled_dot_product_attention`, in half its time: products run over some rows of all heads at once, and
/// a causal one leaves out the keys behind the last of them. Scores and the softmax are in float32 under
/// bfloat16 too. Nothing is kept for the backward pass but q, k and v; no more than `block_numbers` scores
/// are there at a time, or those of one row of all heads.
class Attention {
 public:
  Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, at::Tensor mask, double scale,
            std::int64_t block_numbers = std::int64_t{1} << 20)
      : block_numbers_(block_numbers),
        texts_(q.size(0)),
        heads_(q.size(1)),
        rows_(q.size(2)),
        keys_(k.size(2)),
        type_(q.scalar_type()),
        sums_(type_ == at::kDouble ? at::kDouble : at::kFloat),
        scale_(scale),
        mask_(std::move(mask)),
        q_(flat(q)),
        k_(flat(k)),
        v_(flat(v)) {}

  at::Tensor forward() const {
    const at::Tensor out = at::empty({q_.size(0), rows_, v_.size(2)}, q_.options());
    for_blocks([&](const Block& b) {
      const at::Tensor p = probabilities(b).to(type_);
      b.rows(out).copy_(at::bmm(p, b.keys(v_)));
    });
    return out.view({texts_, heads_, rows_, v_.size(2)});
  }

  /// Gradients of q, k and v from that of the result.
  std::vector<at::Tensor> backward(const at::Tensor& d_out) const {
    const at::Tensor d = flat(d_out), d_q = at::empty_like(q_);
    at::Tensor d_k = at::zeros_like(k_, k_.options().dtype(sums_)),
               d_v = at::zeros_like(v_, v_.options().dtype(sums_));
    for_blocks([&](const Block& b) {
      const at::Tensor p = probabilities(b);
      const at::Tensor d_p = at::bmm(b.rows(d).to(sums_), b.keys(v_).to(sums_).transpose(1, 2));
      const at::Tensor d_s = at::_softmax_backward_data(d_p, p, 2, sums_).mul_(scale_).to(type_);
      b.rows(d_q).copy_(at::bmm(d_s, b.keys(k_)));
      b.keys(d_k).add_(at::bmm(d_s.transpose(1, 2), b.rows(q_)));
      b.keys(d_v).add_(at::bmm(p.to(type_).transpose(1, 2), b.rows(d)));
    });
    const auto as_given = [&](const at::Tensor& x) {
      return x.to(type_).view({texts_, heads_, x.size(1), x.size(2)});
    };
    return {as_given(d_q), as_given(d_k), as_given(d_v)};
  }

 private:
  /// Some rows of some texts, and the keys that they may see.
  struct Block {
    std::int64_t first_text, texts, heads, first_row, row_count, key_count;

    at::Tensor rows(const at::Tensor& x) const {
      return x.narrow(0, first_text * heads, texts * heads).narrow(1, first_row, row_count);
    }
    at::Tensor keys(const at::Tensor& x) const {
      return x.narrow(0, first_text * heads, texts * heads).narrow(1, 0, key_count);
    }
  };

  /// (texts * heads, rows, width), in order in memory.
  static at::Tensor flat(const at::Tensor& x) {
    return x.reshape({x.size(0) * x.size(1), x.size(2), x.size(3)}).contiguous();
  }

  template <class Work>
  void for_blocks(const Work& work) const {
    const std::int64_t of_row = heads_ * keys_;
    const std::int64_t rows = std::clamp<std::int64_t>(block_numbers_ / std::max<std::int64_t>(of_row, 1), 1,
                                                       std::clamp<std::int64_t>(rows_, 1, 128));
    const std::int64_t texts =
        std::max<std::int64_t>(1, block_numbers_ / std::max<std::int64_t>(rows * of_row, 1));
    for (std::int64_t t = 0; t < texts_; t += texts) {
      for (std::int64_t r = 0; r < rows_; r += rows) {
        const std::int64_t count = std::min(rows, rows_ - r);
        work(Block{t, std::min(texts, texts_ - t), heads_, r, count, mask_.defined() ? keys_ : r + count});
      }
    }
  }

  at::Tensor probabilities(const Block& b) const {
    at::Tensor scores = at::bmm(b.rows(q_).to(sums_), b.keys(k_).to(sums_).transpose(1, 2)).mul_(scale_);
    if (mask_.defined()) {
      const bool each = mask_.size(0) > 1;
      const at::Tensor mask =
          mask_.narrow(0, each ? b.first_text : 0, each ? b.texts : 1).narrow(2, b.first_row, b.row_count);
      scores.view({b.texts, heads_, b.row_count, b.key_count}).add_(mask);
    } else {
      const at::Tensor unseen = at::full({b.row_count, b.row_count}, -INFINITY, scores.options()).triu_(1);
      scores.narrow(2, b.first_row, b.row_count).add_(unseen);
    }
    return at::_softmax(scores, 2, false);
  }

  std::int64_t block_numbers_, texts_, heads_, rows_, keys_;
  at::ScalarType type_, sums_;
  double scale_;
  at::Tensor mask_, q_, k_, v_;
};

/// `Attention` in the graph; on other devices LibTorch's own.
inline at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double scale) {
  if (!q.is_cpu()) {
    const std::optional<at::Tensor> added = mask.defined() ? std::optional(mask) : std::nullopt;
    return at::scaled_dot_product_attention(q, k, v, added, 0.0, !mask.defined(), scale);
  }
  struct Node : ::torch::autograd::Node {
    ::torch::autograd::variable_list apply(::torch::autograd::variable_list&& gradients) override {
      const c10::NoGradGuard no_grad;
      if (!gradients[0].defined()) return {at::Tensor(), at::Tensor(), at::Tensor()};
      return std::exchange(inner, nullptr)->backward(gradients[0]);
    }
    void release_variables() override { inner.reset(); }

    std::unique_ptr<Attention> inner;
  };
  auto node = std::shared_ptr<Node>(new Node, ::torch::autograd::deleteNode);
  at::Tensor out;
  {
    const c10::NoGradGuard no_grad;
    node->inner = std::make_unique<Attention>(q.detach(), k.detach(), v.detach(), mask, scale);
    out = node->inner->forward();
  }
  const bool graph =
      c10::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return graph ? join_graph(std::move(out), node, {q, k, v}) : out;
}

}  // namespace eso::torch
