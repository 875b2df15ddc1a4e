// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/torch/decoder.hpp"

#include "../train/golden_steps.hpp"
#include "eso/testing/generator_laws.hpp"
#include "eso/testing/log_prob_model_laws.hpp"

namespace {

using eso::Architecture;
using eso::torch::Precision;

void check_laws(const Architecture& a,
                const eso::torch::DecoderOptions& options = test_options(Precision::float64)) {
  eso::torch::Decoder model = random_torch(a, options);
  const auto report = eso::testing::check_log_prob_model(model, limits_of(a));
  INFO(report.text());
  CHECK(report.passed());
  eso::testing::ModelLaws limits = limits_of(a);
  limits.tolerance = 1e-5;  // logits are given as floats
  const auto generating = eso::testing::check_generator(model, limits);
  INFO(generating.text());
  CHECK(generating.passed());
}

}  // namespace

TEST_CASE("torch: a decoder as GPT-2 keeps the laws") { check_laws(gpt2()); }
TEST_CASE("torch: a decoder as OPT keeps the laws") { check_laws(opt_before()); }
TEST_CASE("torch: a decoder as OPT-350m keeps the laws") { check_laws(opt()); }
TEST_CASE("torch: a decoder as GPT-NeoX keeps the laws") { check_laws(neox()); }

TEST_CASE("torch: a decoder as sequential GPT-NeoX keeps the laws") {
  Architecture a = neox();
  a.parallel_residual = false;
  check_laws(a);
}

TEST_CASE("torch: a decoder without layers keeps the laws") {
  Architecture a = gpt2();
  a.layers = 0;
  check_laws(a);
}

TEST_CASE("torch: a decoder keeps the laws with settings that no family combines") {
  Architecture a = neox();
  SECTION("rotary over the whole head, queries, keys and values in blocks") {
    a.rotary_width = 8;
    a.qkv_order = eso::QkvOrder::blocks;
    a.parallel_residual = false;
  }
  SECTION("projections before normalisation, unscaled attention by layers") {
    a = gpt2();
    a.embedding_width = 20;
    a.scale_attention = false;
    a.scale_by_inverse_layer = true;
    a.tied_head = false;
  }
  check_laws(a);
}

TEST_CASE("torch: a decoder whose layers are computed again keeps the laws and gives the same gradients") {
  eso::torch::DecoderOptions options = test_options(Precision::float64);
  options.checkpoint_activations = true;
  for (const Architecture& a : {gpt2(), opt(), neox()}) {
    check_laws(a, options);
    auto again = random_torch(a, options), kept = random_torch(a, test_options(Precision::float64));
    const eso::Batch batch = eso::testing::random_batch(limits_of(a), 9);
    eso::testing::Dice dice(4);
    const eso::LogProbs weights = eso::testing::random_weights(batch, dice);
    CHECK((again.log_probs(batch) == kept.log_probs(batch)).all());
    again.backward(weights), kept.backward(weights);
    const auto found = eso::testing::read_gradients(again.parameters()),
               expected = eso::testing::read_gradients(kept.parameters());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CHECK(eso::testing::largest_difference(found[i], expected[i]) < 1e-12);
    }
  }
}

TEST_CASE("torch: a decoder in float32 keeps the laws within its precision") {
  auto model = random_torch(gpt2(), test_options(Precision::float32));
  eso::testing::ModelLaws limits = limits_of(gpt2());
  limits.tolerance = 1e-4, limits.gradient_tolerance = 2e-2, limits.step = 1e-2;
  const auto report = eso::testing::check_log_prob_model(model, limits);
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("torch: score and greedy choice are those of transformers") {
  for (const std::string& name : golden_models) {
    INFO(name);
    auto model = load_torch(name, test_options(Precision::float64));
    const nlohmann::json golden = golden_of(name);
    for (const nlohmann::json& text : golden.at("score")) {
      const eso::LogProbs logp = model.log_probs(batch_of(text));
      const auto expected = text.at("logp").get<std::vector<double>>();
      REQUIRE(logp.cols() == static_cast<eso::Index>(expected.size()));
      for (eso::Index t = 0; t < logp.cols(); ++t) {
        CHECK(logp(0, t) == Approx(expected[static_cast<std::size_t>(t)]).margin(1e-6));
      }
    }
  }
}

TEST_CASE("torch: one step of sgd moves every parameter as PyTorch's autograd says through transformers") {
  check_golden_steps<eso::torch::Sgd>(
      [](const std::string& name) { return load_torch(name, test_options(Precision::float64)); });
}

TEST_CASE("torch: a copy of a decoding goes its own way") {
  auto model = load_torch("gpt2/plain", test_options(Precision::float64));
  const std::vector<eso::Prompt> prompts{{{1, 2}, 0}};
  const auto after = [&](auto& decoding, std::initializer_list<eso::TokenId> tokens) {
    for (const eso::TokenId token : tokens)
      decoding.advance(std::vector<eso::Index>{0}, std::vector<eso::TokenId>{token});
  };
  auto one = model.decode(prompts);
  after(one, {3});
  auto other = one.copy();
  after(one, {4}), after(other, {5});
  after(one, {6}), after(other, {6});
  auto fresh = model.decode(prompts), fresh_other = model.decode(prompts);
  after(fresh, {3, 4, 6}), after(fresh_other, {3, 5, 6});
  CHECK(one.logits() == fresh.logits());
  CHECK(other.logits() == fresh_other.logits());
}

TEST_CASE("torch: a temperature divides the logits of decoding as it does the core's") {
  auto model = load_torch("gpt2/plain", test_options(Precision::float64));
  auto core = load_golden<double>("gpt2/plain");
  model.set_temperature(0.5), core.set_temperature(0.5);
  const std::vector<eso::Prompt> prompts{{{1, 2, 3}, 0}};
  const auto found = model.decode(prompts);
  const auto expected = core.decode(prompts);
  CHECK((found.logits().cast<double>() - expected.logits().cast<double>()).cwiseAbs().maxCoeff() < 1e-4);
}
