// SPDX-License-Identifier: MIT
#include "eso/kernels/elementwise.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "eso/random.hpp"

namespace {

using eso::Index;
using Table = eso::Kernels<float>;
using Floats = std::vector<float>;

const std::vector<const Table*> tables = eso::supported_kernels<float>();
const Index counts[] = {1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 1025};

/// Normal numbers times `scale`.
Floats random(Index count, std::uint64_t seed, double scale) {
  Floats x;
  for (Index i = 0; i < count; ++i) {
    x.push_back(static_cast<float>(scale * eso::normal({.seed = seed, .purpose = eso::Purpose::perturbing},
                                                       static_cast<std::uint64_t>(i))));
  }
  return x;
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * x * (1 + 0.044715 * x * x))); }

}  // namespace

TEST_CASE(
    "exponentials and their sums are those of doubles up to rounding, on every processor and at every "
    "address") {
  const Table& table = *GENERATE(from_range(tables));
  INFO(table.name);
  for (const Index count : counts) {
    for (const Index offset : {0, 1, 5, 16}) {
      INFO(count << " from " << offset);
      Floats x = random(count + offset, 1, 8);
      float* const at = x.data() + offset;
      const float top = table.largest(at, count);
      CHECK(top == *std::max_element(at, at + count));
      double expected = 0, plain = 0;
      Floats exact;
      for (Index i = 0; i < count; ++i) {
        const double e = std::exp(static_cast<double>(at[i] - top));
        expected += e, plain += static_cast<double>(at[i]);
        exact.push_back(static_cast<float>(-0.3 * e));
      }
      CHECK(static_cast<double>(table.sum_of_exp(at, count, top)) == Approx(expected).epsilon(1e-5));
      CHECK(static_cast<double>(table.sum(at, count)) == Approx(plain).margin(1e-2).epsilon(1e-4));
      table.exp(at, count, top, -0.3F);
      for (Index i = 0; i < count; ++i)
        CHECK(at[i] == Approx(exact[static_cast<std::size_t>(i)]).epsilon(1e-5));
    }
  }
}

TEST_CASE(
    "a weight is nothing where its exponential vanishes, and not-a-number is kept, on every processor") {
  const Table& table = *GENERATE(from_range(tables));
  INFO(table.name);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const Index count : counts) {
    if (count < 3) continue;
    Floats x = random(count, 1, 3), shifted(x.size()), weight(x.size());
    x[0] = -infinity, x.back() = -90;
    const double sum = static_cast<double>(table.subtract(x.data(), count, 0.5F, shifted.data()));
    CHECK(sum == -static_cast<double>(infinity));
    double total = 0, expected = 0;
    const double found = static_cast<double>(table.weights(shifted.data(), count, 0.7F, weight.data()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(shifted[i] == x[i] - 0.5F);
      const double e = shifted[i] * 0.7F < -87.336 ? 0 : std::exp(0.7 * static_cast<double>(shifted[i]));
      CHECK(static_cast<double>(weight[i]) == Approx(e).epsilon(1e-5));
      total += e;
      if (e > 0) expected += e * static_cast<double>(shifted[i]);
    }
    CHECK(found == Approx(total).epsilon(1e-5));
    CHECK(static_cast<double>(table.weighted_sum(weight.data(), shifted.data(), count)) ==
          Approx(expected).margin(1e-3).epsilon(1e-4));
    for (const std::size_t i : {std::size_t{0}, x.size() / 2, x.size() - 1}) {
      Floats broken = random(count, 2, 3);
      broken[i] = std::numeric_limits<float>::quiet_NaN();
      CHECK(std::isnan(table.sum(broken.data(), count)));
      CHECK(std::isnan(table.sum_of_exp(broken.data(), count, 0)));
      table.exp(broken.data(), count, 0, 1);
      CHECK(std::isnan(broken[i]));
    }
  }
}

TEST_CASE("GELU and its derivative are those of doubles up to rounding, on every processor") {
  const Table& table = *GENERATE(from_range(tables));
  INFO(table.name);
  for (const Index count : counts) {
    const Floats x = random(count, 3, 2);
    Floats y(x.size()), d = random(count, 4, 1);
    const Floats before = d;
    table.gelu(x.data(), count, y.data());
    table.gelu_backward(x.data(), count, d.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto at = static_cast<double>(x[i]);
      CHECK(static_cast<double>(y[i]) == Approx(gelu(at)).margin(2e-6));
      const double slope = (gelu(at + 1e-5) - gelu(at - 1e-5)) / 2e-5;
      CHECK(static_cast<double>(d[i]) == Approx(static_cast<double>(before[i]) * slope).margin(1e-4));
    }
  }
}

TEMPLATE_TEST_CASE("an update of AdamW is that of its formula, on every processor", "", float, double) {
  const auto& table = *GENERATE(from_range(eso::supported_kernels<TestType>()));
  INFO(table.name);
  const eso::AdamWFactors<TestType> f{.keep = TestType(0.9),
                                      .scale = TestType(0.5),
                                      .rest1 = TestType(0.1),
                                      .beta2 = TestType(0.99),
                                      .rest2 = TestType(0.01),
                                      .step_size = TestType(0.3),
                                      .correction = TestType(0.2),
                                      .epsilon = TestType(1e-8)};
  const double near = sizeof(TestType) == 4 ? 1e-5 : 1e-13;
  for (const Index count : counts) {
    const auto numbers = [&](std::uint64_t seed) {
      const Floats x = random(count, seed, 1);
      return std::vector<TestType>(x.begin(), x.end());
    };
    std::vector<TestType> value = numbers(1), m = numbers(2), v = numbers(3);
    const std::vector<TestType> gradient = numbers(4);
    for (TestType& x : v) x *= x;
    const std::vector<TestType> value0 = value, m0 = m, v0 = v;
    table.adamw(count, f, gradient.data(), value.data(), m.data(), v.data());
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double g = 0.5 * gradient[i], m1 = m0[i] + 0.1 * (g - m0[i]), v1 = 0.99 * v0[i] + 0.01 * g * g;
      CHECK(static_cast<double>(m[i]) == Approx(m1).epsilon(near).margin(near));
      CHECK(static_cast<double>(v[i]) == Approx(v1).epsilon(near));
      CHECK(static_cast<double>(value[i]) ==
            Approx(0.9 * value0[i] - 0.3 * m1 / (std::sqrt(v1) / 0.2 + 1e-8)).epsilon(near).margin(near));
    }
  }
}
