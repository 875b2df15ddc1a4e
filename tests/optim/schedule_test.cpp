// SPDX-License-Identifier: MIT
#include "eso/optim/schedule.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

using eso::Schedule;
using eso::ScheduleKind;

TEST_CASE("rates by hand", "[schedule]") {
  // cos(pi / 2) = 0, cos(pi / 4) = 1 / sqrt 2.
  const Schedule cosine{.kind = ScheduleKind::cosine, .peak = 5e-5, .total_steps = 100};
  CHECK(cosine(0) == 5e-5);
  CHECK(std::abs(cosine(25) - 5e-5 * (1 + std::sqrt(0.5)) / 2) < 1e-19);
  CHECK(std::abs(cosine(25) - 4.267767e-5) < 1e-11);
  CHECK(std::abs(cosine(50) - 2.5e-5) < 1e-19);
  CHECK(std::abs(cosine(75) - 7.32233e-6) < 1e-11);
  CHECK(cosine(100) == 0);
  CHECK(cosine(1'000'000) == 0);
  const Schedule linear{
      .kind = ScheduleKind::linear, .peak = 1, .minimum = 0.5, .warmup_steps = 2, .total_steps = 6};
  CHECK(linear(0) == 0);
  CHECK(linear(1) == 0.5);
  CHECK(linear(2) == 1);
  CHECK(linear(4) == 0.75);
  CHECK(linear(6) == 0.5);
  const Schedule constant{.kind = ScheduleKind::constant, .peak = 3, .warmup_steps = 3};
  CHECK(constant(1) == 1);
  CHECK(constant(3) == 3);
  CHECK(constant(std::int64_t{1} << 62) == 3);
}

TEST_CASE("the paper's rates at the starts of its five epochs", "[schedule]") {
  const Schedule schedule{.kind = ScheduleKind::cosine, .peak = 1e-4, .minimum = 1e-7, .total_steps = 5};
  const double expected[] = {1e-4, 9.04604e-5, 6.54854e-5, 3.46146e-5, 9.63960e-6};
  for (int epoch = 0; epoch < 5; ++epoch) CHECK(std::abs(schedule(epoch) - expected[epoch]) < 1e-10);
}

TEST_CASE("rates are those of transformers and torch, step for step", "[schedule]") {
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/optim.json"))["schedules"];
  REQUIRE(golden.size() == 16);
  for (const auto& one : golden) {
    const std::string kind = one["kind"];
    INFO(kind << " warmup " << one["warmup"] << " total " << one["total"]);
    const Schedule schedule{.kind = kind == "cosine"   ? ScheduleKind::cosine
                                    : kind == "linear" ? ScheduleKind::linear
                                                       : ScheduleKind::constant,
                            .peak = one["peak"],
                            .minimum = one["minimum"],
                            .warmup_steps = one["warmup"],
                            .total_steps = one["total"]};
    for (std::size_t step = 0; step < one["rates"].size(); ++step) {
      const double expected = one["rates"][step];
      // CosineAnnealingLR computes each rate from the one before, which adds rounding.
      CHECK(std::abs(schedule(static_cast<std::int64_t>(step)) - expected) <= 1e-12 * expected + 1e-18);
    }
  }
}

TEST_CASE("rates rise in the warm-up, fall after it, and stay between minimum and peak", "[schedule]") {
  for (const ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine}) {
    for (const std::int64_t warmup : {0, 1, 7, 30}) {
      const Schedule schedule{
          .kind = kind, .peak = 2, .minimum = 0.25, .warmup_steps = warmup, .total_steps = 30};
      for (std::int64_t step = 0; step < 40; ++step) {
        if (step + 1 <= warmup && warmup < 30) CHECK(schedule(step) < schedule(step + 1));
        if (step >= warmup) CHECK(schedule(step + 1) <= schedule(step));
        if (step >= warmup) CHECK(schedule(step) >= 0.25);
        CHECK(schedule(step) <= 2);
      }
    }
  }
}

TEST_CASE("settings that mean nothing are refused", "[schedule]") {
  CHECK_THROWS_AS(Schedule{}(-1), eso::Error);
  CHECK_THROWS_AS((Schedule{.warmup_steps = -1}(0)), eso::Error);
  CHECK_THROWS_AS((Schedule{.total_steps = -1}(0)), eso::Error);
  CHECK_THROWS_AS((Schedule{.peak = -1}(0)), eso::Error);
  CHECK_THROWS_AS((Schedule{.peak = std::nan("")}(0)), eso::Error);
  CHECK_THROWS_AS((Schedule{.minimum = -1}(0)), eso::Error);
}
