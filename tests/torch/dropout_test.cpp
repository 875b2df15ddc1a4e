// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/testing/texts.hpp"

namespace {

using eso::Index;
using eso::torch::Precision;

/// Prompts with no, one and several responses, so that all ways through attention are taken; some are alike
/// enough to be padded and computed together.
eso::Batch mixed_batch(Index vocabulary) {
  eso::Batch batch;
  eso::Index token = 0;
  const auto tokens = [&](Index count) {
    eso::Tokens list;
    for (Index i = 0; i < count; ++i) list.push_back(static_cast<eso::TokenId>(token++ * 7 % vocabulary));
    return list;
  };
  const std::vector<std::vector<Index>> lengths{{3},    {2, 3, 1, 4}, {5, 4},    {1, 2, 2, 3},
                                                {4, 6}, {7, 4, 5},    {8, 5, 5}, {8, 4, 4}};
  for (const std::vector<Index>& text : lengths) {
    batch.prompts.push_back({tokens(text[0]), 10 + batch.prompt_count()});
    for (std::size_t n = 1; n < text.size(); ++n) {
      eso::Response response;
      response.prompt = batch.prompt_count() - 1;
      response.kind = n == 1 ? eso::Kind::target : eso::Kind::sample;
      response.sample = static_cast<Index>(n);
      response.tokens = tokens(text[n]);
      batch.responses.push_back(std::move(response));
    }
  }
  return batch;
}

}  // namespace

TEST_CASE("torch: dropout takes the units that the core takes, wherever it is on") {
  for (const std::string& name : dropout_models) {
    for (const bool again : {false, true}) {
      for (const eso::DropoutRates& rates :
           {eso::DropoutRates{.embedding = 0.3}, eso::DropoutRates{.attention = 0.3},
            eso::DropoutRates{.residual = 0.3}, eso::DropoutRates{},
            eso::DropoutRates{.embedding = 0.1, .attention = 0.2, .residual = 0.3}}) {
        INFO(name << ", again " << again << ", rates " << rates.embedding << " " << rates.attention << " "
                  << rates.residual);
        eso::torch::DecoderOptions options = test_options(Precision::float64);
        options.checkpoint_activations = again;
        auto model = load_torch(name, options);
        auto core = load_golden<double>(name);
        model.dropout = core.dropout = rates;
        const eso::Batch batch = mixed_batch(core.vocabulary_size());
        const eso::StepSeed seed{.seed = 8, .step = 2};
        const eso::LogProbs expected = core.log_probs(batch, seed);
        CHECK((model.log_probs(batch, seed) - expected).abs().maxCoeff() < 1e-9);
        CHECK(((model.log_probs(batch) - expected).abs().maxCoeff() > 1e-3) == rates.any());
        eso::testing::Dice dice(4);
        const eso::LogProbs weights = eso::testing::random_weights(batch, dice);
        zero_gradients(core.parameters());
        core.backward(weights);
        model.log_probs(batch, seed);
        model.backward(weights);
        const auto list = core.parameters();
        const auto found = eso::testing::read_gradients(model.parameters()),
                   wanted = eso::testing::read_gradients(list);
        REQUIRE(found.size() == wanted.size());
        double largest = 0;
        for (const auto& array : wanted) {
          for (const double value : array) largest = std::max(largest, std::abs(value));
        }
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          INFO(list[i].name);
          CHECK(eso::testing::largest_difference(found[i], wanted[i]) < 1e-9 * largest);
        }
      }
    }
  }
}

TEST_CASE("torch: dropout is that of transformers with the same masks, within the precision") {
  const GoldenDropout golden;
  for (const std::string& name : dropout_models) {
    for (const Precision precision : {Precision::float64, Precision::float32, Precision::bfloat16}) {
      INFO(name << " " << int(precision));
      const nlohmann::json& expected = golden.of(name);
      auto model = load_torch(name, test_options(precision));
      model.dropout = golden.rates(name);
      const eso::LogProbs logp = model.log_probs(golden.batch, golden.seed);
      const double tolerance = precision == Precision::float64   ? 1e-12
                               : precision == Precision::float32 ? 1e-4
                                                                 : 0.3;
      for (Index t = 0; t < logp.cols(); ++t) {
        CHECK(logp(0, t) ==
              Approx(expected["logp"][static_cast<std::size_t>(t)].get<double>()).margin(tolerance));
      }
    }
  }
}
