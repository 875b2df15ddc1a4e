// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include "eso/torch/adamw.hpp"

#include "eso/optim/adamw.hpp"
#include "eso/optim/sgd.hpp"

namespace {

using eso::testing::read_gradients;

/// Trains both backends from the same weights on the same batches and compares the numbers after each step.
template <class Core, class Torch>
void check_same_steps(Core core_optimizer, Torch torch_optimizer, double scale) {
  eso::Decoder<double> core = load_golden<double>("opt/after");
  eso::torch::Decoder torch = load_torch("opt/after", test_options(eso::torch::Precision::float64));
  const eso::testing::ModelLaws limits{.vocabulary = core.vocabulary_size(),
                                       .context = core.context_length()};
  eso::testing::Dice dice(2);
  for (std::uint64_t step = 0; step < 4; ++step) {
    const eso::Batch batch = eso::testing::random_batch(limits, step);
    const eso::LogProbs weights = eso::testing::random_weights(batch, dice);
    const auto move = [&](auto& model, auto& optimizer) {
      zero_gradients(model.parameters());
      model.log_probs(batch);
      model.backward(weights);
      optimizer.update(model.parameters(), 0.01, scale);
    };
    move(core, core_optimizer);
    move(torch, torch_optimizer);
    const auto expected = core.parameters();
    const auto found = torch.parameters();
    REQUIRE(expected.size() == found.size());
    using Access = eso::testing::ParameterAccess<eso::torch::ParameterList>;
    double worst = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      REQUIRE(found[i].name == expected[i].name);
      REQUIRE(found[i].decays == expected[i].decays);
      // Adding the same to all keys of a query changes no softmax: that gradient is rounding, and AdamW
      // divides by it.
      if (found[i].name.find("k_proj.bias") != std::string::npos) continue;
      const std::vector<double> values(expected[i].value, expected[i].value + expected[i].size);
      worst = std::max(worst, eso::testing::largest_difference(Access::values(found, i), values));
    }
    CHECK(worst < 1e-7);  // the fused kernel counts updates in float32
  }
}

}  // namespace

TEST_CASE("torch: AdamW moves the parameters as the core's does") {
  for (const double scale : {1.0, 0.3}) {
    for (const auto mode : {eso::WeightDecay::decoupled, eso::WeightDecay::l2}) {
      check_same_steps(eso::AdamW{.weight_decay = 0.1, .weight_decay_mode = mode},
                       eso::torch::AdamW{.weight_decay = 0.1, .weight_decay_mode = mode}, scale);
    }
  }
}

TEST_CASE("torch: Sgd moves the parameters as the core's does") {
  check_same_steps(eso::Sgd{.weight_decay = 0.1}, eso::torch::Sgd{.weight_decay = 0.1}, 0.5);
}

TEST_CASE("torch: AdamW goes on from its state bit for bit, before its first update too") {
  const auto step = [](eso::torch::Decoder& model, eso::torch::AdamW& adamw, std::uint64_t number) {
    const eso::testing::ModelLaws limits{.vocabulary = model.vocabulary_size(),
                                         .context = model.context_length()};
    const eso::Batch batch = eso::testing::random_batch(limits, number);
    zero_gradients(model.parameters());
    model.backward(model.log_probs(batch));
    adamw.update(model.parameters(), 0.01, 0.5);
  };
  auto whole = load_torch("gpt2/plain", test_options(eso::torch::Precision::float32));
  eso::torch::AdamW of_whole;
  for (const std::uint64_t number : {0, 1}) step(whole, of_whole, number);
  const auto lookup_of = [](std::vector<eso::TensorView> views) -> eso::TensorLookup {
    return [views = std::move(views)](std::string_view name) -> std::optional<eso::TensorView> {
      for (const eso::TensorView& view : views) {
        if (view.name == name) return view;
      }
      return std::nullopt;
    };
  };
  auto resumed = load_torch("gpt2/plain", test_options(eso::torch::Precision::float32));
  eso::torch::AdamW of_resumed;
  resumed.load_state(lookup_of(whole.state()));
  of_resumed.load_state(lookup_of(of_whole.state()));
  eso::torch::AdamW again;
  again.load_state(lookup_of(of_resumed.state()));  // nothing is lost by a state that was not used yet
  step(whole, of_whole, 2);
  step(resumed, again, 2);
  const auto a = whole.state(), b = resumed.state();
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(std::equal(a[i].bytes.begin(), a[i].bytes.end(), b[i].bytes.begin(), b[i].bytes.end()));
  }
  // The moments of another list of parameters are refused.
  auto other = load_torch("opt/before", test_options(eso::torch::Precision::float32));
  CHECK_THROWS_AS(again.update(other.parameters(), 0.01, 1), eso::Error);
  auto views = of_whole.state();
  views.pop_back();
  CHECK_THROWS_WITH(again.load_state(lookup_of(views)), Catch::Contains("is missing"));
}
