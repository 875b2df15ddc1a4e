// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/torch/lora.hpp"

#include "eso/testing/log_prob_model_laws.hpp"

namespace {

eso::torch::DecoderOptions lora_options(std::vector<std::string> targets, double dropout = 0) {
  eso::torch::DecoderOptions options = test_options(eso::torch::Precision::float64);
  options.lora = {.rank = 3, .alpha = 6, .targets = std::move(targets), .dropout = dropout};
  return options;
}

/// Random numbers in all adapters, so that B is no longer 0.
void perturb(eso::torch::Decoder& model) {
  std::uint32_t number = 0;
  for (const eso::torch::Parameter& parameter : model.parameters()) {
    at::Tensor values = at::empty({parameter.value().numel()}, at::kDouble);
    const eso::StreamName stream{.purpose = eso::Purpose::perturbing, .sample = number++};
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      values.data_ptr<double>()[i] = 0.3 * eso::normal(stream, static_cast<std::uint64_t>(i));
    }
    parameter.value().copy_(values.view(parameter.value().sizes()));
  }
}

std::vector<std::string> all_targets(const eso::Architecture& a) {
  std::vector<std::string> targets;
  for (const eso::torch::LoraModule& module : eso::torch::lora_modules(a)) targets.emplace_back(module.name);
  return targets;
}

}  // namespace

TEST_CASE("torch: adapters keep the laws of a model") {
  for (const char* name : {"gpt2/plain", "opt/before", "gpt_neox/parallel"}) {
    INFO(name);
    const auto all = all_targets(load_golden<double>(name).architecture());
    auto model = load_torch(name, lora_options(all));
    perturb(model);
    eso::testing::ModelLaws limits{.vocabulary = model.vocabulary_size(), .context = model.context_length()};
    limits.step = 1e-5, limits.gradient_tolerance = 1e-4;
    const auto report = eso::testing::check_log_prob_model(model, limits);
    INFO(report.text());
    CHECK(report.passed());
  }
}

TEST_CASE("torch: fresh adapters change nothing, trained ones are what the merged model computes") {
  for (const std::string& name : golden_models) {
    INFO(name);
    auto base = load_torch(name, test_options(eso::torch::Precision::float64));
    for (const auto& targets : {std::vector<std::string>{}, all_targets(base.architecture())}) {
      auto model = load_torch(name, lora_options(targets));
      const eso::testing::ModelLaws limits{.vocabulary = model.vocabulary_size(),
                                           .context = model.context_length()};
      const eso::Batch batch = eso::testing::random_batch(limits, 1);
      CHECK((model.log_probs(batch) - base.log_probs(batch)).abs().maxCoeff() < 1e-12);
      perturb(model);
      const eso::LogProbs adapted = model.log_probs(batch);
      CHECK((adapted - base.log_probs(batch)).abs().maxCoeff() > 1e-3);
      auto merged = load_torch(name, test_options(eso::torch::Precision::float64));
      const std::vector<eso::TensorView> views = model.merged_state();
      merged.load_state([&](std::string_view wanted) -> std::optional<eso::TensorView> {
        for (const eso::TensorView& view : views) {
          if (view.name == wanted) return view;
        }
        return std::nullopt;
      });
      CHECK((merged.log_probs(batch) - adapted).abs().maxCoeff() < 1e-10);
    }
  }
}

TEST_CASE("torch: a merged model that is to be written in bfloat16 is rounded once") {
  auto options = lora_options({"c_attn", "c_fc"});
  options.precision = eso::torch::Precision::bfloat16;
  auto model = load_torch("gpt2/plain", options);
  perturb(model);
  const std::vector<eso::TensorView> exact = model.merged_state(), rounded = model.merged_state(true);
  REQUIRE(rounded.size() == exact.size());
  int adapted = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    INFO(exact[i].name);
    CHECK(rounded[i].name == exact[i].name);
    CHECK(rounded[i].type == eso::DataType::bfloat16);
    const at::Tensor sum = eso::torch::tensor_of(exact[i], at::kFloat, at::kCPU);
    CHECK(at::equal(eso::torch::tensor_of(rounded[i], at::kBFloat16, at::kCPU), sum.to(at::kBFloat16)));
    if (exact[i].type == eso::DataType::float32) ++adapted;
  }
  CHECK(adapted == 2 * model.architecture().layers);
}

TEST_CASE(
    "torch: the dropout of adapters follows from the seed alone, also where layers are computed again") {
  auto options = lora_options({"c_attn", "c_proj"}, 0.5);
  auto kept = load_torch("gpt2/plain", options);
  options.checkpoint_activations = true;
  auto again = load_torch("gpt2/plain", options);
  perturb(kept), perturb(again);
  const eso::testing::ModelLaws limits{.vocabulary = kept.vocabulary_size(),
                                       .context = kept.context_length()};
  const eso::Batch batch = eso::testing::random_batch(limits, 1);
  const eso::LogProbs first = kept.log_probs(batch, {1, 2});
  CHECK((kept.log_probs(batch, {1, 2}) == first).all());
  CHECK((kept.log_probs(batch, {1, 3}) != first).any());
  CHECK((kept.log_probs(batch) != first).any());
  kept.log_probs(batch, {1, 2}), again.log_probs(batch, {1, 2});
  kept.backward(first), again.backward(first);
  const auto a = eso::testing::read_gradients(kept.parameters()),
             b = eso::testing::read_gradients(again.parameters());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(eso::testing::largest_difference(a[i], b[i]) < 1e-12);
}

TEST_CASE("torch: adapters' targets name modules by the last parts of their paths") {
  const auto paths = [](const char* name, std::vector<std::string> targets) {
    std::vector<std::string> found;
    const eso::Architecture a = load_golden<double>(name).architecture();
    for (const eso::torch::LoraModule& m :
         eso::torch::adapted_modules(a, {.rank = 1, .targets = std::move(targets)}))
      found.emplace_back(m.path);
    return found;
  };
  using Paths = std::vector<std::string>;
  CHECK(paths("gpt2/plain", {}) == Paths{"attn.c_attn"});
  CHECK(paths("gpt2/plain", {"c_proj"}) == Paths{"attn.c_proj", "mlp.c_proj"});
  CHECK(paths("gpt2/plain", {"mlp.c_proj"}) == Paths{"mlp.c_proj"});
  CHECK(paths("gpt2/plain", {"all-linear"}) == Paths{"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"});
  CHECK(paths("opt/before", {"fc1", "v_proj"}) == Paths{"self_attn.v_proj", "fc1"});
  CHECK(paths("gpt_neox/parallel", {"dense"}) == Paths{"attention.dense"});
  CHECK(eso::torch::lora_targets(load_golden<double>("gpt2/plain").architecture(),
                                 {.rank = 1, .targets = {"all-linear"}}) ==
        Paths{"c_attn", "c_proj", "c_fc"});
}

TEST_CASE("torch: settings of adapters that mean nothing are refused") {
  CHECK_THROWS_WITH(load_torch("gpt2/plain", lora_options({"q_proj"})),
                    Catch::Contains("attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj"));
  CHECK_THROWS_AS(load_torch("gpt2/plain", lora_options({"proj"})), eso::Error);  // no whole part
  CHECK_THROWS_AS(load_torch("gpt2/plain", lora_options({""})), eso::Error);
  CHECK_THROWS_AS(load_torch("gpt2/plain", lora_options({}, 1)), eso::Error);
  auto options = lora_options({});
  options.lora.alpha = 0;
  CHECK_THROWS_AS(load_torch("gpt2/plain", options), eso::Error);
}
