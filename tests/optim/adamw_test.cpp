// SPDX-License-Identifier: MIT
#include "eso/optim/adamw.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/concepts.hpp"
#include "eso/model/safetensors.hpp"
#include "eso/model/safetensors_writer.hpp"

static_assert(eso::Checkpointable<eso::AdamW>);

namespace {

/// A model of a matrix that decays and a bias that does not.
template <class Scalar>
struct Pair {
  std::vector<Scalar> weight, bias, d_weight, d_bias;

  Pair(std::size_t matrix, std::size_t vector, unsigned seed) : weight(matrix), bias(vector) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (auto* values : {&weight, &bias}) {
      for (Scalar& value : *values) value = static_cast<Scalar>(normal(random));
    }
    d_weight.resize(matrix), d_bias.resize(vector);
    new_gradients(seed + 1);
  }
  Pair(const nlohmann::json& w, const nlohmann::json& b)
      : weight(w.get<std::vector<Scalar>>()),
        bias(b.get<std::vector<Scalar>>()),
        d_weight(weight.size()),
        d_bias(bias.size()) {}

  void new_gradients(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (auto* values : {&d_weight, &d_bias}) {
      for (Scalar& value : *values) value = static_cast<Scalar>(normal(random));
    }
  }

  eso::ParameterList<Scalar> parameters() {
    const auto columns = static_cast<eso::Index>(weight.size()),
               length = static_cast<eso::Index>(bias.size());
    return {{"weight", {1, columns}, weight.data(), d_weight.data(), columns, true},
            {"bias", {length}, bias.data(), d_bias.data(), length, false}};
  }
};

/// A lookup in a copy of a state, which stays what it is when the optimizer goes on.
eso::TensorLookup copy_of(const std::vector<eso::TensorView>& state) {
  std::vector<eso::TensorView> copies = state;
  for (eso::TensorView& tensor : copies) {
    auto bytes = std::make_shared<std::vector<std::byte>>(tensor.bytes.begin(), tensor.bytes.end());
    tensor.bytes = *bytes, tensor.owner = bytes;
  }
  return [copies](std::string_view name) -> std::optional<eso::TensorView> {
    for (const eso::TensorView& tensor : copies) {
      if (tensor.name == name) return tensor;
    }
    return std::nullopt;
  };
}

template <class Scalar>
void compare_with_torch(const nlohmann::json& golden, double tolerance) {
  Pair<Scalar> model(golden["weight"], golden["bias"]);
  eso::AdamW optimizer{
      .beta1 = golden["beta1"],
      .beta2 = golden["beta2"],
      .epsilon = golden["epsilon"],
      .weight_decay = golden["weight_decay"],
      .weight_decay_mode = golden["l2"] ? eso::WeightDecay::l2 : eso::WeightDecay::decoupled};
  for (const auto& step : golden["steps"]) {
    model.d_weight = step["d_weight"].get<std::vector<Scalar>>();
    model.d_bias = step["d_bias"].get<std::vector<Scalar>>();
    optimizer.update(model.parameters(), step["rate"], step["scale"]);
    for (std::size_t i = 0; i < model.weight.size(); ++i) {
      CHECK(std::abs(static_cast<double>(model.weight[i]) - step["weight"][i].get<double>()) <= tolerance);
    }
    for (std::size_t i = 0; i < model.bias.size(); ++i) {
      CHECK(std::abs(static_cast<double>(model.bias[i]) - step["bias"][i].get<double>()) <= tolerance);
    }
  }
  const auto lookup = copy_of(optimizer.state());
  for (const char* which : {"first", "second"}) {
    const auto tensor = lookup(std::string("adamw.0.") + which);
    REQUIRE(tensor);
    std::vector<double> values(model.weight.size());
    eso::read_values(*tensor, values.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(std::abs(values[i] - golden[which][i].get<double>()) <= tolerance);
    }
  }
}

}  // namespace

TEST_CASE("one step of AdamW is the one by hand", "[adamw]") {
  // w = 1, g = 0.1, rate 0.01, decay 0.05. Decay: 1 - 0.01 * 0.05 = 0.9995. First moment 0.1 * 0.1, corrected
  // 0.1; second 0.001 * 0.01, corrected 0.01, root 0.1: the step is 0.01 * 0.1 / (0.1 + 1e-8) = 0.01 (1 -
  // 1e-7).
  double value = 1, gradient = 0.1;
  eso::AdamW optimizer;
  optimizer.update(eso::ParameterList<double>{{"w", {1}, &value, &gradient, 1, true}}, 0.01, 1);
  CHECK(std::abs(value - (0.9995 - 0.01 / (1 + 1e-7))) < 1e-15);
  CHECK(std::abs(value - 0.989500001) < 1e-11);
  CHECK(gradient == 0.1);

  // The gradient's scale does what a smaller gradient does, and a parameter that does not decay has no decay.
  double scaled = 1, large = 0.2;
  eso::AdamW other;
  other.update(eso::ParameterList<double>{{"w", {1}, &scaled, &large, 1, false}}, 0.01, 0.5);
  CHECK(std::abs(scaled - (1 - 0.01 / (1 + 1e-7))) < 1e-15);
}

TEST_CASE("one step of Adam with L2 is the one by hand", "[adamw]") {
  // w = 1, g = 0.1 + 0.05 * 1 = 0.15: the step is 0.01 * 0.15 / (0.15 + 1e-8), whatever the size of g.
  double value = 1, gradient = 0.1;
  eso::AdamW optimizer{.weight_decay_mode = eso::WeightDecay::l2};
  optimizer.update(eso::ParameterList<double>{{"w", {1}, &value, &gradient, 1, true}}, 0.01, 1);
  CHECK(std::abs(value - (1 - 0.01 * 0.15 / (0.15 + 1e-8))) < 1e-15);
  CHECK(std::abs(value - 0.9900000007) < 1e-10);
  CHECK(gradient == 0.1);
}

TEST_CASE("ten steps of AdamW are those of torch.optim.AdamW, with L2 of torch.optim.Adam", "[adamw]") {
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/optim.json"))["adamw"];
  REQUIRE(golden.size() == 5);
  for (const auto& one : golden) {
    INFO(one["type"].get<std::string>());
    if (one["type"] == "float32") {
      compare_with_torch<float>(one, 5e-7);  // a few units in the last place of values near 1
    } else {
      compare_with_torch<double>(one, 1e-14);
    }
  }
}

TEMPLATE_TEST_CASE("AdamW keeps the laws of an optimizer", "[adamw]", float, double) {
  Pair<TestType> model(33, 5, 1);
  const auto before = model.weight;
  SECTION("a learning rate of 0 leaves the parameters alone") {
    eso::AdamW optimizer;
    optimizer.update(model.parameters(), 0, 1);
    CHECK(model.weight == before);
  }
  SECTION("a zero gradient and no decay leave the parameters alone") {
    eso::AdamW optimizer{.weight_decay = 0};
    eso::zero_gradients(model.parameters());
    optimizer.update(model.parameters(), 0.1, 1);
    CHECK(model.weight == before);
  }
  SECTION("a loaded state goes on bit for bit, through a file as well") {
    eso::AdamW optimizer{.beta1 = 0.8};
    for (unsigned step = 0; step < 3; ++step) {
      model.new_gradients(step);
      optimizer.update(model.parameters(), 0.1, 1);
    }
    const TemporaryFolder folder;
    eso::write_safetensors(folder / "x", optimizer.state());
    Pair<TestType> other = model;
    eso::AdamW fresh{.beta1 = 0.8}, from_file{.beta1 = 0.8};
    fresh.load_state(copy_of(optimizer.state()));
    from_file.load_state(eso::Safetensors::open(folder / "x").lookup());
    Pair<TestType> third = model;
    for (unsigned step = 3; step < 6; ++step) {
      for (auto* each : {&model, &other, &third}) each->new_gradients(step);
      optimizer.update(model.parameters(), 0.1, 1);
      fresh.update(other.parameters(), 0.1, 1);
      from_file.update(third.parameters(), 0.1, 1);
      CHECK(model.weight == other.weight);
      CHECK(model.bias == other.bias);
      CHECK(model.weight == third.weight);
    }
    CHECK(fresh.moments.step() == 6);
  }
  SECTION("the state of a fresh optimizer is that of a fresh optimizer") {
    eso::AdamW optimizer, other;
    other.load_state(copy_of(optimizer.state()));
    Pair<TestType> twin = model;
    optimizer.update(model.parameters(), 0.1, 1);
    other.update(twin.parameters(), 0.1, 1);
    CHECK(model.weight == twin.weight);
  }
}

TEMPLATE_TEST_CASE("AdamW gives the same for every number of threads and place in memory", "[adamw]", float,
                   double) {
  constexpr std::size_t size = 100'003;
  Pair<TestType> alone(size, 17, 4);
  eso::AdamW reference;
  for (int step = 0; step < 3; ++step) reference.update(alone.parameters(), 0.01, 0.5);
  for (const int count : {1, 2, 3, 7}) {
    eso::Threads threads(count);
    Pair<TestType> model(size, 17, 4);
    // The weights lie at another distance from the alignment of vectors each time.
    std::vector<TestType> shifted(size + 16);
    TestType* const place = shifted.data() + count;
    std::copy(model.weight.begin(), model.weight.end(), place);
    auto parameters = model.parameters();
    parameters[0].value = place;
    eso::AdamW optimizer{.threads = &threads};
    for (int step = 0; step < 3; ++step) optimizer.update(parameters, 0.01, 0.5);
    CHECK(std::equal(alone.weight.begin(), alone.weight.end(), place));
    CHECK(alone.bias == model.bias);
  }
}

TEST_CASE("AdamW refuses what means nothing before it changes anything", "[adamw]") {
  Pair<float> model(4, 2, 1);
  const auto before = model.weight;
  const double infinity = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const auto refused = [&](eso::AdamW optimizer, double rate, double scale) {
    CHECK_THROWS_AS(optimizer.update(model.parameters(), rate, scale), eso::Error);
    CHECK(model.weight == before);
    CHECK(optimizer.moments.step() == 0);
  };
  refused({}, nan, 1);
  refused({}, -1, 1);
  refused({}, infinity, 1);
  refused({}, 1, nan);
  refused({}, 1, infinity);
  refused({.beta1 = 1}, 1, 1);
  refused({.beta1 = -0.1}, 1, 1);
  refused({.beta2 = 1}, 1, 1);
  refused({.beta2 = nan}, 1, 1);
  refused({.epsilon = 0}, 1, 1);
  refused({.epsilon = 1e-60}, 1, 1);  // 0 as a float
  refused({.weight_decay = -1}, 1, 1);
}

TEST_CASE("AdamW refuses parameters other than those it has moments of", "[adamw]") {
  Pair<float> model(4, 2, 1);
  eso::AdamW optimizer;
  optimizer.update(model.parameters(), 0.1, 1);
  const auto before = model.weight;
  const auto error = [&](const auto& parameters) {
    return error_of([&] { optimizer.update(parameters, 0.1, 1); });
  };
  auto parameters = model.parameters();
  parameters.pop_back();
  CHECK_THAT(error(parameters), Catch::Contains("found 2 parameters, expected 1"));
  parameters = model.parameters();
  std::swap(parameters[0], parameters[1]);
  CHECK_THAT(error(parameters), Catch::Contains("bias: is not the parameter"));
  parameters = model.parameters();
  parameters[0].shape = {2, 2};
  CHECK_THAT(error(parameters), Catch::Contains("weight: is not the parameter"));
  Pair<double> wide(4, 2, 1);
  CHECK_THAT(error(wide.parameters()), Catch::Contains("weight: is not the parameter"));
  CHECK(model.weight == before);
  CHECK(optimizer.moments.step() == 1);
}

TEST_CASE("AdamW names the first tensor of a state that is missing or wrong, and stays as it was",
          "[adamw]") {
  Pair<float> model(4, 2, 1);
  eso::AdamW optimizer;
  optimizer.update(model.parameters(), 0.1, 1);
  const auto good = copy_of(optimizer.state());
  const auto error = [&](const std::string& changed, const auto& change) {
    return error_of([&] {
      optimizer.load_state([&](std::string_view name) {
        auto tensor = good(name);
        if (tensor && tensor->name == changed) change(tensor);
        return tensor;
      });
    });
  };
  const auto drop = [](auto& tensor) { tensor.reset(); };
  const auto reshape = [](auto& tensor) { tensor->shape.push_back(2); };
  const auto negative = [](auto& tensor) { tensor->shape = {-1, -4}; };
  const auto retype = [](auto& tensor) {
    tensor->type = eso::DataType::bfloat16, tensor->bytes = tensor->bytes.first(tensor->bytes.size() / 2);
  };
  const double half = 0.5;
  const auto broken = [&](auto& tensor) { tensor->bytes = std::as_bytes(std::span(&half, 1)); };
  for (const eso::TensorView& tensor : optimizer.state()) {
    CHECK_THAT(error(tensor.name, drop), Catch::StartsWith(tensor.name + ": is missing"));
    CHECK_THAT(error(tensor.name, reshape), Catch::StartsWith(tensor.name + ": "));
    CHECK_THAT(error(tensor.name, negative), Catch::StartsWith(tensor.name + ": "));
    CHECK_FALSE(error(tensor.name, retype).empty());
  }
  CHECK_THAT(error("adamw.step", broken), Catch::Contains("not a number of updates"));
  CHECK(optimizer.moments.step() == 1);
  CHECK(error("none", drop).empty());
}
