// SPDX-License-Identifier: MIT
#include "eso/model/decoder.hpp"

#include <catch2/catch.hpp>

#include "eso/testing/generator_laws.hpp"
#include "eso/testing/log_prob_model_laws.hpp"
#include "small_architectures.hpp"

namespace {

using eso::Architecture;
using eso::Index;

/// A decoder with random weights large enough that every token matters.
template <class Scalar>
eso::Decoder<Scalar> random_decoder(const Architecture& a, int threads = 1, std::uint64_t seed = 1) {
  auto memory = std::make_shared<std::vector<std::vector<Scalar>>>();
  std::vector<eso::StoredArray<Scalar>> stored;
  std::uint32_t number = 0;
  for (const eso::ArraySpec& spec : eso::arrays(a)) {
    auto& values = memory->emplace_back(static_cast<std::size_t>(spec.size()));
    const bool norm = spec.role == eso::Role::norm1_weight || spec.role == eso::Role::norm2_weight ||
                      spec.role == eso::Role::final_norm_weight;
    const eso::StreamName stream{.seed = seed, .purpose = eso::Purpose::perturbing, .sample = number};
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<Scalar>((norm ? 1 : 0) + 0.4 * eso::normal(stream, i));
    }
    stored.push_back({spec, {fmt::format("array {}", number++)}, values.data()});
  }
  return {a, std::move(stored), memory, std::make_shared<eso::Threads>(threads)};
}

void check_laws(const Architecture& a, int threads = 1) {
  auto model = random_decoder<double>(a, threads);
  const auto report = eso::testing::check_log_prob_model(model, limits_of(a));
  INFO(report.text());
  CHECK(report.passed());
  const auto generating = eso::testing::check_generator(model, limits_of(a));
  INFO(generating.text());
  CHECK(generating.passed());
}

}  // namespace

TEST_CASE("a decoder as GPT-2 keeps the laws of a model and a generator") { check_laws(gpt2()); }
TEST_CASE("a decoder as OPT keeps the laws of a model and a generator") { check_laws(opt_before()); }
TEST_CASE("a decoder as OPT-350m keeps the laws of a model and a generator") { check_laws(opt()); }
TEST_CASE("a decoder as GPT-NeoX keeps the laws of a model and a generator") { check_laws(neox()); }

TEST_CASE("a decoder as sequential GPT-NeoX keeps the laws of a model and a generator") {
  Architecture a = neox();
  a.parallel_residual = false;
  check_laws(a);
}

TEST_CASE("a decoder without layers keeps the laws of a model and a generator") {
  Architecture a = gpt2();
  a.layers = 0;
  check_laws(a);
}

TEST_CASE("a decoder on three threads keeps the laws of a model and a generator") { check_laws(gpt2(), 3); }

TEST_CASE("a decoder keeps the laws with settings that no family combines") {
  Architecture a = neox();
  SECTION("rotary over the whole head, queries, keys and values in blocks") {
    a.rotary_width = 8;
    a.qkv_order = eso::QkvOrder::blocks;
    a.parallel_residual = false;
  }
  SECTION("rotary with normalisation after each part and (in, out) matrices") {
    a.norm_order = eso::NormOrder::after;
    a.parallel_residual = false;
    a.weights_in_out = true;
    a.rotary_base = 100;
  }
  SECTION("projections before normalisation, unscaled attention by layers") {
    a = gpt2();
    a.embedding_width = 20;
    a.scale_attention = false;
    a.scale_by_inverse_layer = true;
    a.tied_head = false;
  }
  SECTION("no final normalisation, parallel with learned positions") {
    a = gpt2();
    a.final_norm = false;
    a.parallel_residual = true;
    a.activation = eso::Activation::gelu;
  }
  check_laws(a);
}

TEST_CASE("a decoder in float keeps the laws within its precision") {
  auto model = random_decoder<float>(gpt2());
  eso::testing::ModelLaws limits = limits_of(gpt2());
  limits.tolerance = 1e-4, limits.gradient_tolerance = 2e-2, limits.step = 1e-2;
  const auto report = eso::testing::check_log_prob_model(model, limits);
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("a decoder with another temperature keeps the laws") {
  auto model = random_decoder<double>(gpt2());
  model.set_temperature(0.6);
  const auto report = eso::testing::check_log_prob_model(model, limits_of(gpt2()));
  INFO(report.text());
  CHECK(report.passed());
  const auto generating = eso::testing::check_generator(model, limits_of(gpt2()));
  INFO(generating.text());
  CHECK(generating.passed());
}

TEST_CASE("log-probabilities of a decoder without layers are those computed by hand") {
  // Token 0 is (2, 0); its mean is 1 and its deviation 1, so it normalises to (1, -1). With the rows (2, 0),
  // (0, 0) and (0, 1) the logits are 2, 0 and -1; log(e^2 + 1 + e^-1) = log 8.7569355 = 2.1698460.
  Architecture a;
  a.vocabulary = 3, a.context = 4, a.width = a.embedding_width = 2, a.heads = 1, a.inner = 1;
  a.norm_epsilon = 1e-12;
  std::vector<double> tokens{2, 0, 0, 0, 0, 1}, positions(8, 0.0), weight{1, 1}, bias{0, 0};
  std::vector<eso::StoredArray<double>> stored;
  double* const values[] = {tokens.data(), positions.data(), weight.data(), bias.data()};
  for (const eso::ArraySpec& spec : eso::arrays(a)) stored.push_back({spec, {"x"}, values[stored.size()]});
  eso::Decoder<double> model(a, stored, nullptr, std::make_shared<eso::Threads>());
  const auto score = [&](eso::TokenId token) {
    eso::Batch batch;
    batch.prompts.push_back({{0}, 0});
    batch.responses.emplace_back().tokens = {token};
    return model.log_probs(batch)(0, 0);
  };
  CHECK(score(0) == Approx(2 - 2.1698460));
  CHECK(score(1) == Approx(0 - 2.1698460));
  CHECK(score(2) == Approx(-1 - 2.1698460));
  // At temperature 2 the logits are 1, 0 and -1/2; log(e + 1 + e^-0.5) = log 4.3248125 = 1.4643691.
  model.set_temperature(2);
  CHECK(score(0) == Approx(1 - 1.4643691));
  CHECK(score(2) == Approx(-0.5 - 1.4643691));
}

TEST_CASE("a temperature is refused unless it is finite and above 0") {
  auto model = random_decoder<double>(gpt2());
  for (const double temperature : {0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    CHECK_THROWS_AS(model.set_temperature(temperature), eso::Error);
  }
}

TEST_CASE("a decoder that keeps nothing gives the same log-probabilities and refuses to go back") {
  auto model = random_decoder<double>(gpt2());
  const eso::Batch batch = eso::testing::random_batch(limits_of(gpt2()), 9);
  const eso::LogProbs expected = model.log_probs(batch);
  model.keeps_for_backward = false;
  CHECK((model.log_probs(batch) == expected).all());
  CHECK_THROWS_AS(model.backward(expected), eso::Error);
}

TEST_CASE("texts beyond the blocks of attention and vocabulary give what they give alone") {
  Architecture a = gpt2();
  a.vocabulary = 2300;  // three tiles of the head, the last one not full
  a.context = 300;
  auto model = random_decoder<double>(a, 2);
  eso::testing::Dice dice(4);
  eso::Batch batch;
  for (const Index length : {150, 1, 64}) batch.prompts.push_back({dice.tokens(length, a.vocabulary), 0});
  for (const auto& [prompt, length] :
       {std::pair<Index, Index>{0, 150}, {0, 70}, {0, 1}, {1, 129}, {2, 65}, {2, 64}}) {
    batch.responses.emplace_back().prompt = prompt;
    batch.responses.back().tokens = dice.tokens(length, a.vocabulary);
  }
  const eso::LogProbs together = model.log_probs(batch);
  const eso::LogProbs weights = eso::testing::random_weights(batch, dice);
  zero_gradients(model.parameters());
  model.backward(weights);
  const auto gradients = eso::testing::read_gradients(model.parameters());
  zero_gradients(model.parameters());
  for (Index n = 0; n < batch.response_count(); ++n) {
    const eso::Response& response = batch.response(n);
    const eso::LogProbs alone = model.log_probs(eso::testing::one_text(
        batch.prompts[static_cast<std::size_t>(response.prompt)].tokens, response.tokens));
    const Index length = alone.cols();
    CHECK((alone.row(0) - together.row(n).head(length)).abs().maxCoeff() < 1e-9);
    model.backward(weights.row(n).head(length));
  }
  const auto apart = eso::testing::read_gradients(model.parameters());
  double worst = 0, largest = 0;
  for (std::size_t array = 0; array < apart.size(); ++array) {
    for (std::size_t i = 0; i < apart[array].size(); ++i) {
      worst = std::max(worst, std::abs(apart[array][i] - gradients[array][i]));
      largest = std::max(largest, std::abs(apart[array][i]));
    }
  }
  CHECK(largest > 1);
  CHECK(worst < 1e-9 * largest);
}

TEST_CASE("decoding with copied weights gives the same logits, bit for bit") {
  static_assert(eso::KeyValueDecoding<float>::patience < 12);
  for (const Architecture& a : {gpt2(), opt(), neox()}) {
    eso::Decoder<float> model = random_decoder<float>(a, 2);
    const std::vector<eso::Prompt> prompts{{{1, 2}, 0}, {{3}, 1}};
    auto copied = model.decode(prompts);
    model.packs_for_decoding = false;
    auto plain = model.decode(prompts);
    for (eso::TokenId step = 0; step < 12; ++step) {
      // Three rows, then two once the third has left.
      std::vector<Index> parents{0, 1};
      if (step == 0) parents.push_back(0);
      std::vector<eso::TokenId> tokens{step, 7, 2};
      tokens.resize(parents.size());
      copied.advance(parents, tokens);
      plain.advance(parents, tokens);
      CHECK(copied.logits() == plain.logits());
    }
  }
}

TEST_CASE("the state of a decoder goes into another one, whole or not at all") {
  auto first = random_decoder<double>(neox(), 1, 1), second = random_decoder<double>(neox(), 1, 2);
  const eso::Batch batch = eso::testing::random_batch(limits_of(neox()), 9);
  const eso::LogProbs of_first = first.log_probs(batch), of_second = second.log_probs(batch);
  REQUIRE((of_first != of_second).any());
  const auto views = first.state();
  std::size_t hidden = views.size() - 1;
  const eso::TensorLookup lookup = [&](std::string_view name) -> std::optional<eso::TensorView> {
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (views[i].name == name && i != hidden) return views[i];
    }
    return std::nullopt;
  };
  CHECK_THROWS_WITH(second.load_state(lookup), Catch::Contains(views[hidden].name));
  CHECK((second.log_probs(batch) == of_second).all());
  hidden = views.size();
  second.load_state(lookup);
  CHECK((second.log_probs(batch) == of_first).all());
}
