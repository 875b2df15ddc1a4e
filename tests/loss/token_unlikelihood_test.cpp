// SPDX-License-Identifier: MIT
#include "eso/loss/token_unlikelihood.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "small_batches.hpp"

using namespace eso;

namespace {

Eigen::ArrayXXd some_logits() {
  Eigen::ArrayXXd logits(4, 5);
  for (Index i = 0; i < logits.size(); ++i)
    logits.data()[i] = 2 * std::sin(1.7 * static_cast<double>(i) + .3);
  return logits;
}

}  // namespace

TEST_CASE("token_unlikelihood by hand: candidates are the targets before, each once, without the target",
          "[loss][token_unlikelihood]") {
  // Equal logits over two ids: every probability is 1/2, so that each term is log 2.
  const Eigen::ArrayXXd logits = Eigen::ArrayXXd::Zero(4, 2);
  // targets 0 0 1 1: candidates {}, {}, {0}, {0}
  CHECK(token_unlikelihood(logits, {0, 0, 1, 1}).value == Approx((4 + 2) * std::log(2.0) / 4).epsilon(1e-14));
  CHECK(token_unlikelihood(logits, {0, 0, 1, 1}, 0).value == Approx(std::log(2.0)).epsilon(1e-14));
  CHECK(token_unlikelihood(logits, {0, 0, 1, 1}, .5).value ==
        Approx((4 + 1) * std::log(2.0) / 4).epsilon(1e-14));
  CHECK(token_unlikelihood(Eigen::ArrayXXd(0, 2), {}).value == 0);
}

TEST_CASE("token_unlikelihood has the gradient of its value", "[loss][token_unlikelihood]") {
  const double floor = GENERATE(1e-5, .7);  // with the second some candidates lie beneath it
  const Eigen::ArrayXXd logits = some_logits();
  const Tokens targets{3, 1, 3, 0};
  const LogitsLoss loss = token_unlikelihood(logits, targets, .8, floor);
  for (Index i = 0; i < logits.size(); ++i) {
    Eigen::ArrayXXd ahead = logits, behind = logits;
    ahead.data()[i] += 1e-6, behind.data()[i] -= 1e-6;
    const double difference = (token_unlikelihood(ahead, targets, .8, floor).value -
                               token_unlikelihood(behind, targets, .8, floor).value) /
                              2e-6;
    CHECK(loss.d_logits.data()[i] == Approx(difference).margin(1e-8));
  }
}

TEST_CASE("token_unlikelihood equals its golden values from PyTorch", "[loss][token_unlikelihood]") {
  for (const auto& entry : golden_methods().at("token_unlikelihood")) {
    const LogitsLoss loss =
        token_unlikelihood(some_logits(), entry.at("targets").get<Tokens>(), entry.at("alpha").get<double>(),
                           entry.at("floor").get<double>());
    CHECK(loss.value == Approx(entry.at("value").get<double>()).epsilon(1e-12));
    for (Index t = 0; t < 4; ++t) {
      for (Index v = 0; v < 5; ++v) {
        const double expected = entry.at("d_logits")
                                    .at(static_cast<std::size_t>(t))
                                    .at(static_cast<std::size_t>(v))
                                    .get<double>();
        CHECK(loss.d_logits(t, v) == Approx(expected).epsilon(1e-11).margin(1e-13));
      }
    }
  }
}

TEST_CASE("token_unlikelihood refuses what has no meaning", "[loss][token_unlikelihood]") {
  CHECK(message_of([] { token_unlikelihood(some_logits(), {1, 2}); }) ==
        "token_unlikelihood: needs a target for each row of logits");
  CHECK(message_of([] { token_unlikelihood(some_logits(), {1, 2, 3, 5}); }) ==
        "token_unlikelihood: a target is outside the vocabulary");
  CHECK(message_of([] { token_unlikelihood(some_logits(), {1, 2, 3, 4}, -1); }) ==
        "token_unlikelihood: alpha must be finite and at least 0, floor in (0, 1)");
}
