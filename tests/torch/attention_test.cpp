// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/torch/attention.hpp"

namespace {

at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes, at::kDouble); }

/// As the formula says, through autograd.
at::Tensor by_formula(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask,
                      double scale) {
  at::Tensor scores = at::matmul(q, k.transpose(2, 3)) * scale;
  if (mask.defined()) {
    scores = scores + mask;
  } else {
    const at::Tensor behind = at::ones({q.size(2), k.size(2)}, at::kBool).triu(1);
    scores = scores.masked_fill(behind, -INFINITY);
  }
  return at::matmul(at::softmax(scores, 3), v);
}

/// 0 or -inf, with at least the first key of each row left.
at::Tensor random_mask(std::int64_t texts, std::int64_t rows, std::int64_t keys) {
  const at::Tensor unseen = at::rand({texts, 1, rows, keys}, at::kDouble).gt(0.6);
  unseen.select(3, 0).fill_(false);
  return at::zeros({texts, 1, rows, keys}, at::kDouble).masked_fill(unseen, -INFINITY);
}

}  // namespace

TEST_CASE("torch: attention on the CPU is what its formula says, values and gradients, in any blocks") {
  at::manual_seed(3);
  struct Sizes {
    std::int64_t texts, heads, rows;
  };
  for (const auto& [texts, heads, rows] : {Sizes{3, 2, 7}, Sizes{1, 1, 1}, Sizes{2, 3, 5}}) {
    const at::Tensor q = random({texts, rows, heads, 4}).transpose(1, 2).requires_grad_(),
                     k = random({texts, heads, rows, 4}).requires_grad_(),
                     v = random({texts, heads, rows, 4}).requires_grad_();
    const at::Tensor expected = by_formula(q, k, v, {}, 0.7), weights = random(expected.sizes());
    const auto wanted = ::torch::autograd::grad({expected}, {q, k, v}, {weights});
    for (const std::int64_t block : {1, 13, 30, 1 << 20}) {
      INFO(texts << " texts, " << rows << " rows, blocks of " << block);
      const eso::torch::Attention attention(q.detach(), k.detach(), v.detach(), 0.7, block);
      CHECK((attention.forward() - expected).abs().max().item<double>() < 1e-12);
      const auto found = attention.backward(weights);
      for (std::size_t i = 0; i < 3; ++i) CHECK((found[i] - wanted[i]).abs().max().item<double>() < 1e-12);
    }
    const at::Tensor joined = eso::torch::attention(q, k, v, {}, 0.7);
    const auto through = ::torch::autograd::grad({joined}, {q, k, v}, {weights}, true);
    for (std::size_t i = 0; i < 3; ++i) CHECK((through[i] - wanted[i]).abs().max().item<double>() < 1e-12);
    (weights * joined).sum().backward();  // again, since the graph was kept
    CHECK((q.grad() - wanted[0]).abs().max().item<double>() < 1e-12);
    CHECK_THROWS((weights * joined).sum().backward());  // now it is gone
  }
}

TEST_CASE("torch: attention with a mask, or of long texts, is what the formula says") {
  at::manual_seed(5);
  for (const std::int64_t masks : {1, 3}) {
    const at::Tensor q = random({3, 4, 2, 4}).transpose(1, 2), k = random({3, 2, 6, 4}),
                     v = random({3, 2, 6, 4}), mask = random_mask(masks, 4, 6);
    const at::Tensor expected = by_formula(q, k, v, mask, 0.7);
    CHECK((eso::torch::attention(q, k, v, mask, 0.7) - expected).abs().max().item<double>() < 1e-12);
  }
  const std::int64_t rows = eso::torch::attention_rows + 1;
  const at::Tensor q = random({1, 1, rows, 4}), k = random({1, 1, rows, 4}), v = random({1, 1, rows, 4});
  const at::Tensor expected = by_formula(q, k, v, {}, 0.7);
  CHECK((eso::torch::attention(q, k, v, {}, 0.7) - expected).abs().max().item<double>() < 1e-12);
}

TEST_CASE("torch: attention in bfloat16 has its scores in float32") {
  at::manual_seed(4);
  const auto rounded = [](const at::Tensor& x) { return x.to(at::kBFloat16); };
  const at::Tensor q = rounded(8 * random({1, 2, 40, 16})), k = rounded(random({1, 2, 40, 16})),
                   v = rounded(random({1, 2, 40, 16}));
  const at::Tensor exact = by_formula(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), {}, 1);
  const at::Tensor found = eso::torch::attention(q, k, v, {}, 1);
  CHECK(found.scalar_type() == at::kBFloat16);
  // What rounding probabilities and the result takes; scores of 30 rounded to bfloat16 would be off by 0.1.
  CHECK((found.to(at::kDouble) - exact).abs().max().item<double>() < 0.02);
}
