// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include <array>

#include "eso/torch/embedding.hpp"
#include "eso/torch/head.hpp"

#include "eso/testing/texts.hpp"

namespace {

/// Log-probabilities and gradients of sum(weights * logp) by autograd through log_softmax.
struct Expected {
  at::Tensor logp, d_x, d_weight;
};

Expected through_autograd(const at::Tensor& x, const at::Tensor& weight, const eso::torch::Targets& targets,
                          const at::Tensor& weights, double temperature) {
  std::vector<at::Tensor> rows;
  for (const auto& chunk : targets.chunks) {
    for (const auto& run : chunk.runs)
      rows.push_back(targets.rows.narrow(0, run.first, run.count) + chunk.begin);
  }
  const at::Tensor a = x.detach().requires_grad_(), b = weight.detach().requires_grad_();
  const at::Tensor logp =
      at::log_softmax(at::mm(a, b.t()) / temperature, 1).index({at::cat(rows), targets.tokens});
  (logp * weights).sum().backward();
  return {logp.detach(), a.grad(), b.grad()};
}

}  // namespace

TEST_CASE("torch: the head in chunks and groups of rows gives what log_softmax gives, values and gradients") {
  const at::Device device = test_device();
  const eso::testing::ModelLaws texts{.vocabulary = 11, .context = 20};
  const eso::Batch batch = eso::testing::random_batch(texts, 3);
  using Sizes = std::array<int, 3>;
  for (const auto& [chunk, group, kept] : {Sizes{1, 1, 0}, Sizes{1, 3, 0}, Sizes{2, 5, 0}, Sizes{5, 1, 0},
                                           Sizes{2, 1, 1000}, Sizes{1000, 1, 0}, Sizes{1000, 1, 1000}}) {
    for (const double temperature : {1.0, 0.7}) {
      INFO("chunks of " << chunk << ", groups of " << group << ", kept " << kept << " rows, temperature "
                        << temperature);
      const eso::torch::Packed packed = eso::torch::Packer(batch, chunk).pack(device, at::kDouble);
      const auto options = at::TensorOptions(at::kDouble).device(device);
      at::manual_seed(5);
      const at::Tensor x = at::randn({packed.head_count, 4}, options).requires_grad_();
      const at::Tensor weight = at::randn({11, 4}, options).requires_grad_();
      const at::Tensor weights = at::randn({packed.targets.tokens.size(0)}, options);
      eso::torch::Head head;
      head.sums = at::kDouble;
      head.temperature = temperature;
      head.group_bytes = group * 11 * 8, head.kept_bytes = kept * 11 * 8;
      const at::Tensor logp = head.log_probs(x, weight, packed.targets);
      ::torch::autograd::backward({logp}, {weights});
      const Expected expected = through_autograd(x, weight, packed.targets, weights, temperature);
      CHECK((logp - expected.logp).abs().max().item<double>() < 1e-12);
      CHECK((x.grad() - expected.d_x).abs().max().item<double>() < 1e-12);
      CHECK((weight.grad() - expected.d_weight).abs().max().item<double>() < 1e-12);
    }
  }
}

TEST_CASE("torch: a table that is the head too gets the sum of both gradients") {
  const eso::Batch batch = eso::testing::random_batch({.vocabulary = 11, .context = 20}, 3);
  const eso::torch::Packed packed = eso::torch::Packer(batch, 2).pack(test_device(), at::kDouble);
  const auto options = at::TensorOptions(at::kDouble).device(test_device());
  at::manual_seed(5);
  const at::Tensor values = at::randn({11, 4}, options);
  const at::Tensor weights = at::randn({packed.targets.tokens.size(0)}, options);
  std::vector<at::Tensor> gradients;
  for (const bool together : {false, true}) {
    const at::Tensor table = values.clone().requires_grad_();
    const auto shared = together ? std::make_shared<at::Tensor>() : nullptr;
    const at::Tensor x = eso::torch::embedded(table, packed.tokens, shared).index_select(0, packed.head_rows);
    eso::torch::Head head;
    head.sums = at::kDouble;
    ::torch::autograd::backward({head.log_probs(x.tanh(), table, packed.targets, shared)}, {weights});
    gradients.push_back(table.grad());
    if (shared) CHECK_FALSE(shared->defined());
  }
  const at::Tensor table = values.clone().requires_grad_();
  const at::Tensor x = at::embedding(table, packed.tokens).index_select(0, packed.head_rows).tanh();
  const at::Tensor logp = at::log_softmax(at::mm(x, table.t()), 1);
  std::vector<at::Tensor> rows;
  for (const auto& chunk : packed.targets.chunks) {
    for (const auto& run : chunk.runs)
      rows.push_back(packed.targets.rows.narrow(0, run.first, run.count) + chunk.begin);
  }
  (logp.index({at::cat(rows), packed.targets.tokens}) * weights).sum().backward();
  for (const at::Tensor& gradient : gradients)
    CHECK((gradient - table.grad()).abs().max().item<double>() < 1e-12);
}

TEST_CASE("torch: a row that predicts the first tokens of several responses stands once in the head") {
  eso::Batch batch;
  batch.prompts.push_back({{1, 2, 3}, 0});
  for (const eso::TokenId first : {4, 5, 4}) {
    batch.responses.emplace_back();
    batch.responses.back().tokens = {first, 6};
  }
  const eso::torch::Packed packed = eso::torch::Packer(batch, 100).pack(test_device(), at::kDouble);
  CHECK(packed.head_count == 4);              // the prompt's last row and the first of each response
  CHECK(packed.targets.tokens.size(0) == 6);  // of which 3 are asked of the prompt's row
  REQUIRE(packed.targets.chunks.size() == 1);
  REQUIRE(packed.targets.chunks[0].runs.size() == 3);
  CHECK(packed.targets.chunks[0].runs[0].count == 4);
  CHECK(packed.targets.chunks[0].runs[1].count == 1);
}
