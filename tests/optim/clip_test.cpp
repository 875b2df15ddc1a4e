// SPDX-License-Identifier: MIT
#include "eso/optim/clip.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

TEST_CASE("the scale by hand", "[clip]") {
  CHECK(eso::clip_scale(0.5, 1) == 1);
  CHECK(eso::clip_scale(0, 1) == 1);
  CHECK(eso::clip_scale(4, 1) == 1 / 4.000001);
  CHECK(eso::clip_scale(1e300, 0) == 1);
  // The norm after clipping is the limit, less the part in a million that the 1e-6 takes.
  CHECK(std::abs(8 * eso::clip_scale(8, 2) - 2) < 1e-6);
}

TEST_CASE("gradients are clipped as by torch.nn.utils.clip_grad_norm_", "[clip]") {
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/optim.json"))["clipping"];
  REQUIRE(golden.size() == 18);
  for (const auto& one : golden) {
    const double norm = one["norm"], scale = eso::clip_scale(norm, one["limit"]);
    INFO("norm " << norm << " limit " << one["limit"]);
    CHECK(std::abs(0.6 * norm * scale - one["clipped"][0].get<double>()) <= 1e-15 * norm);
    CHECK(std::abs(0.8 * norm * scale - one["clipped"][1].get<double>()) <= 1e-15 * norm);
  }
}

TEST_CASE("a norm that is not finite has no scale, a negative limit is refused", "[clip]") {
  CHECK(std::isnan(eso::clip_scale(std::numeric_limits<double>::infinity(), 1)));
  CHECK(std::isnan(eso::clip_scale(std::nan(""), 1)));
  CHECK_THROWS_AS(eso::clip_scale(1, -1), eso::Error);
  CHECK_THROWS_AS(eso::clip_scale(1, std::nan("")), eso::Error);
}
