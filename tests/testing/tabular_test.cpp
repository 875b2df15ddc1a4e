// SPDX-License-Identifier: MIT
#include "eso/testing/tabular.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/testing/texts.hpp"
#include "faulty_model.hpp"

using namespace eso;
using testing::TabularModel;

static_assert(LogProbModel<TabularModel>);
static_assert(Generator<TabularModel>);
static_assert(Checkpointable<TabularModel>);

TEST_CASE("TabularModel by hand", "[testing][tabular]") {
  TabularModel model(2, 4);
  const ParameterList<double> list = model.parameters();
  const std::vector<double> history{1, 2, -1, .5}, position{0, .25, .5, 0, 1, 1, 9, 9};
  std::copy(history.begin(), history.end(), list[0].value);
  std::copy(position.begin(), position.end(), list[1].value);
  const Batch batch = testing::one_text({1, 0}, {1, 0});
  const LogProbs logp = model.log_probs(batch);
  // after 1, 0: state = (1, 2) + (-1, .5) / 2 = (.5, 2.25); logits = state + (.5, 0) = (1, 2.25)
  CHECK(logp(0, 0) == Approx(-std::log1p(std::exp(1 - 2.25))).epsilon(1e-14));
  // after 1 more: state = (-1, .5) + (.25, 1.125) = (-.75, 1.625); logits = (.25, 2.625)
  CHECK(logp(0, 1) == Approx(-std::log1p(std::exp(2.625 - .25))).epsilon(1e-14));
  LogProbs weights(1, 2);
  weights << 1, 0;
  model.backward(weights);
  // with q = p(0) = 1 / (1 + e^1.25): d logits = (-q, q) of token 0's row 1, of token 1's row one half
  const double q = 1 / (1 + std::exp(1.25));
  const std::vector<double> d_history{-q, q, -q / 2, q / 2}, d_position{0, 0, -q, q, 0, 0, 0, 0};
  for (std::size_t i = 0; i < 4; ++i) CHECK(list[0].gradient[i] == Approx(d_history[i]).margin(1e-15));
  for (std::size_t i = 0; i < 8; ++i) CHECK(list[1].gradient[i] == Approx(d_position[i]).margin(1e-15));
}

TEST_CASE("TabularModel equals the direct summation over the history", "[testing][tabular]") {
  TabularModel model(11, 24, 5);
  FaultyModel direct(11, 24, 5, ModelFault::none);
  const testing::ModelLaws limits{
      .vocabulary = 11, .context = 24, .longest_prompt = 12, .longest_response = 12};
  const Batch batch = testing::random_batch(limits, 8);
  CHECK((model.log_probs(batch) - direct.log_probs(batch)).abs().maxCoeff() < 1e-13);
  testing::Dice dice(1);
  const LogProbs weights = testing::random_weights(batch, dice);
  model.backward(weights);
  direct.backward(weights);
  const ParameterList<double> a = model.parameters(), b = direct.parameters();
  for (std::size_t array = 0; array < 2; ++array) {
    for (Index i = 0; i < a[array].size; ++i) {
      CHECK(a[array].gradient[i] == Approx(b[array].gradient[i]).margin(1e-13));
    }
  }
}

TEST_CASE("TabularModel is named by its seed and refuses what cannot be a model", "[testing][tabular]") {
  TabularModel one(5, 6, 1), same(5, 6, 1), other(5, 6, 2);
  CHECK(std::equal(one.parameters()[0].value, one.parameters()[0].value + 25, same.parameters()[0].value));
  CHECK_FALSE(
      std::equal(one.parameters()[0].value, one.parameters()[0].value + 25, other.parameters()[0].value));
  CHECK(one.parameters()[0].value[0] != one.parameters()[1].value[0]);
  CHECK_THROWS_AS(TabularModel(1, 6), Error);
  CHECK_THROWS_AS(TabularModel(5, 1), Error);
  CHECK_THROWS_AS(TabularModel(5, 6, 0, 5), Error);
  CHECK_THROWS_AS(TabularModel(5, 6, 0, -1), Error);
}

TEST_CASE("TabularModel gives its state and takes it back whole or not at all", "[testing][tabular]") {
  TabularModel from(5, 6, 1), to(5, 6, 2);
  const std::vector<TensorView> state = from.state();
  const TensorLookup lookup = [&](std::string_view name) -> std::optional<TensorView> {
    for (const TensorView& view : state) {
      if (view.name == name) return view;
    }
    return {};
  };
  const Batch batch = testing::one_text({1, 2}, {3, 4});
  const LogProbs before = to.log_probs(batch);
  const TensorLookup half = [&](std::string_view name) {
    return name == "history" ? lookup(name) : std::nullopt;
  };
  CHECK_THROWS_WITH(to.load_state(half), "position: the tensor is missing");
  CHECK((to.log_probs(batch) == before).all());
  TabularModel narrow(5, 7, 1);
  CHECK_THROWS_WITH(
      narrow.load_state(lookup),
      "position: the tensor has another shape or type, found 240 bytes, expected (7, 5) of float64");
  to.load_state(lookup);
  CHECK((to.log_probs(batch) == from.log_probs(batch)).all());
}

TEST_CASE("TabularDecoding refuses parents, ids and lengths that do not exist", "[testing][tabular]") {
  TabularModel model(5, 3, 1);
  const std::vector<Prompt> prompts{{.tokens = {1}}};
  auto decoding = model.decode(prompts);
  const auto advance = [&](std::vector<Index> parents, Tokens tokens) { decoding.advance(parents, tokens); };
  CHECK_THROWS_AS(advance({0, 0}, {1}), Error);
  CHECK_THROWS_AS(advance({1}, {1}), Error);
  CHECK_THROWS_AS(advance({-1}, {1}), Error);
  CHECK_THROWS_AS(advance({0}, {5}), Error);
  CHECK(decoding.logits().rows() == 1);
  advance({0, 0}, {1, 2});
  advance({1}, {1});
  CHECK_THROWS_AS(advance({0}, {1}), Error);  // three tokens are the context
  advance({}, {});
  CHECK(decoding.logits().rows() == 0);
}
