// SPDX-License-Identifier: MIT
#include "eso/optim/sgd.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "eso/concepts.hpp"

static_assert(eso::Checkpointable<eso::Sgd>);

TEST_CASE("a step of descent is the one by hand", "[sgd]") {
  // 2 - 0.1 (0.5 * 3 + 0.05 * 2) = 2 - 0.16, whether AdamW would decay it or not.
  std::vector<double> value{2, 2}, gradient{3, 3};
  const eso::ParameterList<double> parameters{{"w", {1}, &value[0], &gradient[0], 1, true},
                                              {"b", {1}, &value[1], &gradient[1], 1, false}};
  eso::Sgd{.weight_decay = 0.05}.update(parameters, 0.1, 0.5);
  CHECK(std::abs(value[0] - 1.84) < 1e-15);
  CHECK(std::abs(value[1] - 1.84) < 1e-15);
  CHECK(gradient == std::vector<double>{3, 3});
}

TEST_CASE("three steps of descent are those of torch.optim.SGD", "[sgd]") {
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/optim.json"))["sgd"];
  auto value = golden["value"].get<std::vector<double>>();
  eso::Sgd optimizer{.weight_decay = golden["weight_decay"]};
  REQUIRE(golden["steps"].size() == 3);
  for (const auto& step : golden["steps"]) {
    auto gradient = step["gradient"].get<std::vector<double>>();
    optimizer.update(eso::ParameterList<double>{{"w", {6}, value.data(), gradient.data(), 6, true}},
                     golden["rate"], golden["scale"]);
    for (std::size_t i = 0; i < value.size(); ++i)
      CHECK(std::abs(value[i] - step["value"][i].get<double>()) < 1e-15);
  }
}

TEMPLATE_TEST_CASE("descent keeps the laws of an optimizer", "[sgd]", float, double) {
  constexpr eso::Index size = 40'000;
  std::vector<TestType> value(size, TestType(1.25)), gradient(size, TestType(0));
  const eso::ParameterList<TestType> parameters{{"w", {size}, value.data(), gradient.data(), size, true}};
  eso::Sgd{}.update(parameters, 0.1, 1);
  CHECK(value == std::vector<TestType>(size, TestType(1.25)));
  for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<TestType>(i);
  eso::Sgd{.weight_decay = 1}.update(parameters, 0, 1);
  CHECK(value == std::vector<TestType>(size, TestType(1.25)));
  auto twin = value;
  eso::Threads threads(3);
  eso::Sgd{.weight_decay = 1, .threads = &threads}.update(parameters, 0.1, 0.5);
  eso::Sgd{.weight_decay = 1}.update(
      eso::ParameterList<TestType>{{"w", {size}, twin.data(), gradient.data(), size, true}}, 0.1, 0.5);
  CHECK(value == twin);
  CHECK(value[7] != TestType(1.25));
  CHECK(eso::Sgd{}.state().empty());
}

TEST_CASE("descent refuses what means nothing before it changes anything", "[sgd]") {
  double value = 1, gradient = 1;
  const eso::ParameterList<double> parameters{{"w", {1}, &value, &gradient, 1, true}};
  CHECK_THROWS_AS(eso::Sgd{}.update(parameters, std::nan(""), 1), eso::Error);
  CHECK_THROWS_AS(eso::Sgd{}.update(parameters, -1, 1), eso::Error);
  CHECK_THROWS_AS(eso::Sgd{}.update(parameters, 1, std::nan("")), eso::Error);
  CHECK_THROWS_AS(eso::Sgd{.weight_decay = -1}.update(parameters, 1, 1), eso::Error);
  CHECK(value == 1);
}
