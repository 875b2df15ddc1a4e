// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include <malloc.h>

#include "eso/model/plan.hpp"

#ifndef __SANITIZE_ADDRESS__  // whose heap mallinfo2 does not see
namespace {

/// Bytes that the heap has given out, those of tensors on the CPU with them.
double in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

/// One of each kind, so large that what is not tensors does not count.
std::vector<eso::Architecture> architectures() {
  std::vector<eso::Architecture> all{gpt2(), opt(), opt_before(), neox()};
  for (eso::Architecture& a : all) {
    const bool projects = a.projects();
    a.family = a.positions == eso::Positions::rotary   ? eso::Family::gpt_neox
               : a.activation == eso::Activation::relu ? eso::Family::opt
                                                       : eso::Family::gpt2;
    a.width = 64, a.inner = 256, a.heads = 4, a.layers = 4, a.vocabulary = 500, a.context = 160;
    a.embedding_width = projects ? 32 : 64;
  }
  return all;
}

eso::Batch batch_of(const eso::PlanSettings& s) {
  eso::Batch batch;
  for (eso::Index p = 0; p < s.batch; ++p) {
    batch.prompts.push_back({eso::Tokens(static_cast<std::size_t>(s.prompt_tokens), 3), p});
    for (eso::Index n = 0; n < s.given + s.samples; ++n) {
      eso::Response response;
      response.prompt = p;
      response.tokens.assign(static_cast<std::size_t>(s.response_tokens), 7);
      batch.responses.push_back(std::move(response));
    }
  }
  return batch;
}

}  // namespace

TEST_CASE("torch: what a plan says of weights, activations and gradients is what the decoder takes") {
  if (test_device().is_cuda()) {
    WARN("skipped: counts the host's heap, and tensors are on the device");
    return;
  }
  for (const eso::Architecture& a : architectures()) {
    for (const bool rounded : {false, true}) {
      for (const bool again : {false, true}) {
        for (const eso::Index rank : {0, 4}) {
          INFO("positions " << int(a.positions) << ", activation " << int(a.activation) << ", rounded "
                            << rounded << ", again " << again << ", rank " << rank);
          eso::PlanSettings s;
          s.backend = eso::PlanBackend::torch;
          s.bfloat16 = rounded;
          s.checkpoint_activations = again;
          s.batch = 4;
          s.prompt_tokens = 100;
          s.response_tokens = 40;
          s.samples = 2;
          eso::torch::DecoderOptions options =
              test_options(rounded ? eso::torch::Precision::bfloat16 : eso::torch::Precision::float32);
          options.checkpoint_activations = again;
          if (rank > 0) {
            options.lora.rank = s.adapter_rank = rank;
            for (const eso::torch::LoraModule& module : adapted_modules(a, options.lora))
              s.adapters.push_back({eso::Role::qkv_weight, module.outputs});
          }
          const eso::Plan plan = eso::plan(a, s);
          const eso::Batch batch = batch_of(s);
          eso::torch::Decoder model = eso::torch::random_model(a, 1, options);
          // What LibTorch keeps for itself it has after a first pass.
          model.backward(model.log_probs(batch));
          eso::torch::zero_gradients(model.parameters());
          const double start = in_use();
          const eso::LogProbs logp = model.log_probs(batch);
          const eso::PlanMemory& m = plan.head;
          const double logits =
              (rounded ? 2 : 4) * plan.head_rows * static_cast<double>(a.vocabulary);  // kept
          CHECK(in_use() - start == Approx(m.activations + m.copies + logits).epsilon(0.1).margin(1e5));
          model.backward(logp);
          CHECK(in_use() - start == Approx(plan.update.gradients).epsilon(0.05).margin(1e5));
        }
      }
    }
  }
}

TEST_CASE("torch: what a plan says of dropout is what the decoder takes") {
  if (test_device().is_cuda()) {
    WARN("skipped: counts the host's heap, and tensors are on the device");
    return;
  }
  const eso::Architecture a = architectures().front();
  for (const bool rounded : {false, true}) {
    for (const eso::Index samples : {0, 2}) {
      INFO("rounded " << rounded << ", samples " << samples);
      eso::PlanSettings s;
      s.backend = eso::PlanBackend::torch;
      s.bfloat16 = rounded;
      s.batch = 4, s.prompt_tokens = 100, s.response_tokens = 40, s.samples = samples;
      s.dropout = {.attention = 0.1, .residual = 0.1};
      const eso::Plan plan = eso::plan(a, s);
      const eso::Batch batch = batch_of(s);
      eso::torch::Decoder model = eso::torch::random_model(
          a, 1, test_options(rounded ? eso::torch::Precision::bfloat16 : eso::torch::Precision::float32));
      model.dropout = s.dropout;
      const eso::StepSeed seed{.seed = 1, .step = 1};
      model.backward(model.log_probs(batch, seed));
      eso::torch::zero_gradients(model.parameters());
      const double start = in_use();
      const eso::LogProbs logp = model.log_probs(batch, seed);
      const double logits = (rounded ? 2 : 4) * plan.head_rows * static_cast<double>(a.vocabulary);
      CHECK(in_use() - start == Approx(plan.head.activations + plan.head.copies + logits).epsilon(0.15));
    }
  }
}
#endif
