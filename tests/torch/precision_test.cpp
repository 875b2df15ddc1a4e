// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/testing/log_prob_model_laws.hpp"

using eso::torch::Precision;

TEST_CASE("torch: bfloat16 keeps what is trained in float32 and is near float32, gradients too") {
  for (const std::string& name : golden_models) {
    INFO(name);
    auto rounded = load_torch(name, test_options(Precision::bfloat16)),
         exact = load_torch(name, test_options(Precision::float32));
    const eso::testing::ModelLaws limits{.vocabulary = exact.vocabulary_size(),
                                         .context = exact.context_length()};
    const eso::Batch batch = eso::testing::random_batch(limits, 1);
    eso::testing::Dice dice(4);
    const eso::LogProbs weights = eso::testing::random_weights(batch, dice);
    const eso::LogProbs a = rounded.log_probs(batch), b = exact.log_probs(batch);
    CHECK((a - b).abs().maxCoeff() < 0.15);
    CHECK((a - b).abs().maxCoeff() > 0);
    rounded.backward(weights), exact.backward(weights);
    double apart = 0, size = 0;
    const auto list = rounded.parameters(), other = exact.parameters();
    for (std::size_t i = 0; i < list.size(); ++i) {
      CHECK(list[i].value().scalar_type() == at::kFloat);
      CHECK(list[i].gradient().scalar_type() == at::kFloat);
      CHECK(at::equal(list[i].value(), other[i].value()));
      apart += (list[i].gradient() - other[i].gradient()).square().sum().item<double>();
      size += other[i].gradient().square().sum().item<double>();
    }
    CHECK(std::sqrt(apart / size) < 0.1);  // these models have large random weights
  }
}

TEST_CASE("torch: bfloat16 keeps the laws that rounding leaves") {
  auto model = load_torch("gpt2/plain", test_options(Precision::bfloat16));
  eso::testing::ModelLaws limits{.vocabulary = model.vocabulary_size(), .context = model.context_length()};
  limits.tolerance = 0.1;
  limits.probes = 1;
  limits.gradient_tolerance = 1e9;  // central differences of rounded functions say nothing
  eso::testing::LogProbModelCheck check(model, limits);
  auto report = std::move(check).all();
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE(
    "torch: a model for inference under bfloat16 holds its weights in bfloat16 and refuses to go back") {
  auto options = test_options(Precision::bfloat16);
  options.trains = false;
  auto frozen = load_torch("gpt_neox/parallel", options),
       trained = load_torch("gpt_neox/parallel", test_options(Precision::bfloat16));
  const eso::testing::ModelLaws limits{.vocabulary = frozen.vocabulary_size(),
                                       .context = frozen.context_length()};
  const eso::Batch batch = eso::testing::random_batch(limits, 1);
  CHECK((frozen.log_probs(batch) == trained.log_probs(batch)).all());
  CHECK(frozen.parameters().front().value().scalar_type() == at::kBFloat16);
  CHECK_THROWS_AS(frozen.backward(frozen.log_probs(batch)), eso::Error);
}

TEST_CASE("torch: a model that keeps nothing gives the same log-probabilities and refuses to go back") {
  auto model = load_torch("gpt2/plain", test_options(Precision::float32));
  const eso::testing::ModelLaws limits{.vocabulary = model.vocabulary_size(),
                                       .context = model.context_length()};
  const eso::Batch batch = eso::testing::random_batch(limits, 1);
  const eso::LogProbs expected = model.log_probs(batch);
  model.keeps_for_backward = false;
  CHECK((model.log_probs(batch) == expected).all());
  CHECK_THROWS_AS(model.backward(expected), eso::Error);
}

TEST_CASE("torch: devices and precisions that are none are refused") {
  for (const char* name : {"gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", ""}) {
    CHECK_THROWS_AS(eso::torch::device_named(name), eso::Error);
  }
  CHECK_THROWS_AS(eso::torch::precision_named("float16"), eso::Error);
}

TEST_CASE("torch: decoding with packed weights gives the same logits") {
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const eso::Architecture& a : {gpt2(), opt(), neox()}) {
      INFO("family " << int(a.family) << ", bfloat16 " << (precision == Precision::bfloat16));
      eso::torch::Decoder model = random_torch(a, test_options(precision));
      const std::vector<eso::Prompt> prompts{{{1, 2}, 0}, {{3}, 1}};
      auto copied = model.decode(prompts);
      model.packs_for_decoding = false;
      auto plain = model.decode(prompts);
      for (eso::TokenId step = 0; step < 5; ++step) {
        copied.advance(std::vector<eso::Index>{0, 1}, std::vector<eso::TokenId>{step, 7});
        plain.advance(std::vector<eso::Index>{0, 1}, std::vector<eso::TokenId>{step, 7});
        const float most = plain.logits().array().abs().maxCoeff();
        CHECK((copied.logits() - plain.logits()).array().abs().maxCoeff() <
              (precision == Precision::float32 ? 1e-5F : 2e-2F) * most);
      }
    }
  }
}
