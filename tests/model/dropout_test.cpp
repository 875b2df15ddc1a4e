// SPDX-License-Identifier: MIT
#include "eso/model/dropout.hpp"

#include "eso/testing/log_prob_model_laws.hpp"
#include "golden_models.hpp"

namespace {

using eso::DropoutPlace;
using eso::Index;

/// A decoder in training as a `LogProbModel`: one step's masks, the same names for all texts.
struct Dropping {
  eso::Decoder<double>& inner;

  eso::LogProbs log_probs(eso::Batch batch) {
    for (eso::Prompt& prompt : batch.prompts) prompt.example = 5;
    for (eso::Response& response : batch.responses) response.kind = eso::Kind::sample, response.sample = 1;
    return inner.log_probs(batch, {.seed = 8, .step = 2});
  }
  void backward(const eso::LogProbs& d_logp) { inner.backward(d_logp); }
  eso::ParameterList<double> parameters() { return inner.parameters(); }
};

eso::testing::ModelLaws limits_of(const eso::Architecture& a) {
  eso::testing::ModelLaws limits{.vocabulary = a.vocabulary, .context = a.context};
  limits.step = 1e-6, limits.gradient_tolerance = 1e-4;  // relu has corners
  return limits;
}

eso::Batch text_of(eso::Tokens prompt, eso::Tokens response) {
  eso::Batch batch;
  batch.prompts.push_back({std::move(prompt), 0});
  batch.responses.emplace_back().tokens = std::move(response);
  return batch;
}

/// The factors of one row, for a batch of one text of three tokens and a response of three.
std::vector<double> factors(
    const eso::DropoutRates& rates, eso::StepSeed seed, DropoutPlace place, Index layer = 0, Index row = 0,
    Index head = 0, Index count = 4000, const std::function<void(eso::Batch&)>& edit = [](eso::Batch&) {}) {
  eso::Architecture a;
  a.context = 4000, a.width = 4000, a.heads = 2, a.layers = 2;
  eso::Batch batch = text_of({1, 2, 3}, {4, 5, 6});
  edit(batch);
  const eso::DropoutMasks masks(rates, a, batch, eso::pack(batch), seed);
  std::vector<double> values(static_cast<std::size_t>(count));
  masks.factors(place, layer, row, head, count, values.data());
  return values;
}

}  // namespace

TEST_CASE("log-probabilities and gradients under dropout are those of transformers with the same masks") {
  const GoldenDropout golden;
  for (const std::string& name : dropout_models) {
    INFO(name);
    const nlohmann::json& expected = golden.of(name);
    auto model = load_golden<double>(name);
    model.dropout = golden.rates(name);
    const eso::LogProbs logp = model.log_probs(golden.batch, golden.seed);
    for (Index t = 0; t < logp.cols(); ++t)
      CHECK(logp(0, t) == Approx(expected["logp"][static_cast<std::size_t>(t)].get<double>()).epsilon(1e-12));
    eso::LogProbs weights(1, logp.cols());
    for (Index t = 0; t < logp.cols(); ++t)
      weights(0, t) = (t % 2 == 0 ? 1 : -1) * (1 + static_cast<double>(t) / 4);
    zero_gradients(model.parameters());
    model.backward(weights);
    CHECK(model.parameters().size() == expected["norms"].size());
    for (const auto& parameter : model.parameters()) {
      INFO(parameter.name);
      CHECK(eso::global_norm(eso::ParameterList<double>{parameter}) ==
            Approx(expected["norms"][parameter.name].get<double>()).epsilon(1e-9).margin(1e-9));
    }
  }
}

TEST_CASE("a training pass keeps the laws of a model but those that move a token from response to prompt") {
  for (const std::string& name : dropout_models) {
    INFO(name);
    auto decoder = load_golden<double>(name, 2);
    decoder.dropout = {.embedding = 0.1, .attention = 0.2, .residual = 0.15};
    Dropping model{decoder};
    const auto report = eso::testing::check_log_prob_model(model, limits_of(decoder.architecture()));
    INFO(report.text());
    for (const std::string& law : report.laws) {
      // A response's rows have masks of their own, so the mask of a token that moves is another.
      const bool moves = law == "boundary" || law == "ids" || law == "context";
      INFO(law);
      CHECK(report.violates(law) == moves);
    }
  }
}

TEST_CASE("dropout of rate 0 changes no bit, and nothing but the training pass drops") {
  for (const std::string& name : dropout_models) {
    INFO(name);
    auto model = load_golden<float>(name, 2);
    const eso::Batch batch = eso::testing::random_batch(limits_of(model.architecture()), 3);
    const eso::LogProbs plain = model.log_probs(batch);
    CHECK((model.log_probs(batch, {1, 2}) == plain).all());
    const std::vector<eso::Prompt> prompts{{{3, 4, 5}, 0}};
    const eso::RowMatrix<float> logits = model.decode(prompts).logits();
    model.dropout = eso::DropoutRates::all(model.architecture().family, 0.5);
    CHECK((model.log_probs(batch, {1, 2}) != plain).any());
    CHECK(model.decode(prompts).logits() == logits);
    CHECK((model.log_probs(batch) == plain).all());
    CHECK((model.clone().log_probs(batch, {1, 2}) == model.log_probs(batch, {1, 2})).all());
  }
}

TEST_CASE("each rate drops at its place") {
  auto model = load_golden<double>("gpt_neox/parallel");
  const eso::Batch batch = text_of({3, 4, 5}, {6, 7, 8});
  const eso::LogProbs plain = model.log_probs(batch);
  std::vector<eso::LogProbs> seen{plain};
  for (const eso::DropoutRates& rates :
       {eso::DropoutRates{.embedding = 0.3}, eso::DropoutRates{.attention = 0.3},
        eso::DropoutRates{.residual = 0.3}}) {
    model.dropout = rates;
    seen.push_back(model.log_probs(batch, {1, 1}));
  }
  for (std::size_t i = 0; i < seen.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK((seen[i] != seen[j]).any());
  }
}

TEST_CASE(
    "masks follow from seed, step, example, kind, sample, position, layer, place and head, and nothing "
    "else") {
  const eso::DropoutRates rates{.embedding = 0.5, .attention = 0.5, .residual = 0.5};
  const auto of = [&](
                      eso::StepSeed seed, DropoutPlace place, Index layer, Index row, Index head,
                      const std::function<void(eso::Batch&)>& edit = [](eso::Batch&) {}) {
    return factors(rates, seed, place, layer, row, head, 64, edit);
  };
  const eso::StepSeed seed{1, 1};
  const auto attention = DropoutPlace::attention, out = DropoutPlace::attention_out;
  std::vector<std::vector<double>> all{
      of(seed, out, 0, 0, 0),
      of({2, 1}, out, 0, 0, 0),
      of({1, 2}, out, 0, 0, 0),
      of({1ULL << 40, 1}, out, 0, 0, 0),
      of(seed, out, 1, 0, 0),
      of(seed, out, 0, 1, 0),
      of(seed, attention, 0, 0, 0),
      of(seed, attention, 0, 0, 1),
      of(seed, DropoutPlace::feed_forward, 0, 0, 0),
      of(seed, DropoutPlace::embedding, 0, 0, 0),
      of(seed, out, 0, 0, 0, [](eso::Batch& b) { b.prompts[0].example = 1; }),
      of(seed, out, 0, 3, 0),  // the response's first row
      of(seed, out, 0, 3, 0, [](eso::Batch& b) { b.responses[0].sample = 1; }),
      of(seed, out, 0, 3, 0, [](eso::Batch& b) { b.responses[0].kind = eso::Kind::target; }),
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      INFO(i << " " << j);
      CHECK(all[i] != all[j]);
    }
  }
  // The prompt's rows know nothing of the response, the response's nothing of the prompt's tokens.
  CHECK(all[0] == of(seed, out, 0, 0, 0, [](eso::Batch& b) { b.responses[0].sample = 1; }));
  CHECK(all[11] == of(seed, out, 0, 3, 0, [](eso::Batch& b) { b.prompts[0].tokens = {9, 9, 9}; }));
  // Other texts before it in the batch move its rows and leave its masks.
  CHECK(all[11] == of(seed, out, 0, 8, 0, [](eso::Batch& b) {
          b.prompts.insert(b.prompts.begin(), {{7, 7, 7, 7}, 3});
          b.responses[0].prompt = 1;
          b.responses.push_back(b.responses[0]);
          b.responses[1].prompt = 0, b.responses[1].tokens = {1, 2};
        }));
}

TEST_CASE("a unit is dropped with the rate and what is kept makes up for it") {
  for (const double rate : {0.1, 0.5, 0.9}) {
    INFO(rate);
    double dropped = 0, total = 0, mean = 0;
    for (std::uint32_t step = 0; step < 25; ++step) {
      for (const double factor : factors({.residual = rate}, {7, step}, DropoutPlace::feed_forward)) {
        REQUIRE((factor == 0 || factor == Approx(1 / (1 - rate))));
        dropped += factor == 0;
        mean += factor;
        ++total;
      }
    }
    const double deviation = std::sqrt(rate * (1 - rate) / total);
    CHECK(std::abs(dropped / total - rate) < 4 * deviation);
    CHECK(std::abs(mean / total - 1) < 4 * deviation / (1 - rate));
  }
}

TEST_CASE("the mean over many masks is what is there without dropout, where the model is linear in them") {
  // One layer, both parts from one input, no final normalisation: logits are linear in what the masks of
  // attention and residual multiply (attention's own output meets another mask, which is independent), and
  // differences of log-probabilities of one row are differences of logits.
  eso::Architecture a;
  a.vocabulary = 5, a.context = 8, a.width = a.embedding_width = 8, a.layers = 1, a.heads = 2, a.inner = 6;
  a.final_norm = false, a.parallel_residual = true;
  auto model = eso::random_model<double>(a, 1, std::make_shared<eso::Threads>(1));
  for (const auto& p : model.parameters()) {
    for (Index i = 0; i < p.size; ++i) p.value[i] *= p.shape.size() > 1 ? 20 : 1;
  }
  eso::Batch batch = text_of({1, 2, 3}, {4});
  batch.responses.push_back(batch.responses[0]);
  batch.responses[1].tokens = {2};
  const auto difference = [&](const eso::LogProbs& logp) { return logp(0, 0) - logp(1, 0); };
  const double expected = difference(model.log_probs(batch));
  model.dropout = {.attention = 0.3, .residual = 0.2};
  const int count = 20'000;
  double sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    const double found = difference(model.log_probs(batch, {1, static_cast<std::uint32_t>(i)}));
    sum += found, squares += found * found;
  }
  const double mean = sum / count, error = std::sqrt((squares / count - mean * mean) / count);
  CHECK(error < 0.05 * std::abs(expected));
  CHECK(std::abs(mean - expected) < 4 * error);
}

TEST_CASE("a rate below 0, of 1 or that is no number is refused") {
  auto model = load_golden<float>("gpt2/plain");
  for (const double rate : {-0.1, 1.0, 2.0}) {
    model.dropout = {.attention = 0.5, .residual = rate};
    CHECK_THROWS_AS(model.log_probs(text_of({1}, {2}), {1, 1}), eso::Error);
  }
  model.dropout = {.attention = 0.5, .residual = std::nan("")};
  CHECK_THROWS_AS(model.log_probs(text_of({1}, {2}), {1, 1}), eso::Error);
}
