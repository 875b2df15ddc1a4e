// SPDX-License-Identifier: MIT
#include "eso/model/product.hpp"

#include <Eigen/Core>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "eso/model/packed_matrix.hpp"
#include "eso/random.hpp"

namespace {

using eso::Index;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

RowMajor random(Index rows, Index columns, std::uint64_t seed) {
  RowMajor m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) {
    m.data()[i] = static_cast<float>(
        eso::normal({.seed = seed, .purpose = eso::Purpose::perturbing}, static_cast<std::uint64_t>(i)));
  }
  return m;
}

using Table = eso::Kernels<float>;
const std::vector<const Table*> tables = eso::supported_kernels<float>();

/// A product by one instruction set.
void multiply(const Table& set, const eso::MatrixView<const float>& a, const eso::MatrixView<const float>& b,
              const eso::MatrixView<float>& c, bool add = false, float factor = 1) {
  set.multiply(a.rows, b.cols, a.cols, a.steps(), b.steps(), c.data, c.outer, add, factor);
}

/// The largest distance of `c` from before + factor * a b in double, in units of sqrt(k).
template <class A, class B>
double distance(const RowMajor& c, const RowMajor& before, const A& a, const B& b, double factor) {
  const Eigen::MatrixXd exact =
      before.cast<double>() + factor * (a.template cast<double>() * b.template cast<double>());
  if (c.size() == 0) return 0;
  return (c.cast<double>() - exact).cwiseAbs().maxCoeff() / std::sqrt(std::max<double>(1, double(a.cols())));
}

struct Size {
  Index m, n, k;
};

// Around every border: of registers (4, 6, 8, 12 rows; 32, 48, 96, 128 columns), of few rows (24 or 48), of
// blocks (192 rows; 384, 1024 columns; depth 16, 384).
const Size sizes[] = {{1, 1, 1},       {1, 300, 5},  {2, 129, 64},   {3, 128, 385},  {4, 31, 7},
                      {6, 65, 384},    {7, 64, 33},  {12, 32, 1},    {13, 33, 100},  {48, 96, 50},
                      {49, 70, 51},    {191, 5, 9},  {193, 33, 385}, {5, 1030, 769}, {60, 1056, 3},
                      {25, 1023, 400}, {8, 384, 17}, {16, 400, 390}, {20, 47, 31},   {28, 385, 16}};

}  // namespace

TEST_CASE(
    "a product of floats is that of doubles up to rounding, whatever the processor, sizes and layouts") {
  const Table& set = *GENERATE(from_range(tables));
  INFO(set.name);
  for (const auto& [m, n, k] : sizes) {
    INFO(m << " x " << n << " x " << k);
    const RowMajor a = random(m, k, 1), b = random(k, n, 2), at = a.transpose(), bt = b.transpose();
    const RowMajor before = random(m, n, 3);
    for (const bool add : {false, true}) {
      const RowMajor start = add ? before : RowMajor(RowMajor::Zero(m, n));
      for (const float factor : {1.0F, -0.37F}) {
        const auto check = [&](const auto& left, const auto& right) {
          RowMajor c = before;
          multiply(set, left, right, c, add, factor);
          CHECK(distance(c, start, a, b, factor) < 4e-6);
        };
        check(a, b);
        check(at.transpose(), b);
        check(a, bt.transpose());
        check(at.transpose(), bt.transpose());
      }
    }
  }
}

TEST_CASE("a product writes into its block of a larger matrix and nowhere else") {
  const Table& set = *GENERATE(from_range(tables));
  INFO(set.name);
  const RowMajor a = random(20, 30, 1), b = random(40, 50, 2), before = random(17, 60, 3);
  RowMajor c = before;
  multiply(set, a.block(3, 4, 9, 21), b.block(5, 6, 21, 37), c.block(2, 10, 9, 37));
  RowMajor expected = before;
  expected.block(2, 10, 9, 37) = a.block(3, 4, 9, 21) * b.block(5, 6, 21, 37);
  CHECK((c - expected).cwiseAbs().maxCoeff() < 2e-5);
  c.block(2, 10, 9, 37) = before.block(2, 10, 9, 37);
  CHECK(c == before);
}

TEST_CASE("a row or column of a product does not depend on those computed with it, bit for bit") {
  const Table& set = *GENERATE(from_range(tables));
  INFO(set.name);
  const Index m = 70, n = 200, k = 500;
  const RowMajor a = random(m, k, 1), b = random(k, n, 2), bt = b.transpose(), before = random(m, n, 3);
  const auto [add, factor] = GENERATE(table<bool, float>({{false, 1.0F}, {true, 1.0F}, {true, -0.37F}}));
  RowMajor whole = before, whole_t = before;
  multiply(set, a, b, whole, add, factor);
  multiply(set, a, bt.transpose(), whole_t, add, factor);
  CHECK(whole == whole_t);
  for (const auto& [row, rows] : {std::pair<Index, Index>{0, 1}, {5, 2}, {11, 4}, {30, 13}, {20, 50}}) {
    for (const auto& [column, columns] : {std::pair<Index, Index>{0, 200}, {7, 1}, {64, 33}, {3, 130}}) {
      const RowMajor start = before.block(row, column, rows, columns);
      RowMajor part = start;
      multiply(set, a.middleRows(row, rows), b.middleCols(column, columns), part, add, factor);
      CHECK(part == whole.block(row, column, rows, columns));
      part = start;
      multiply(set, a.middleRows(row, rows), bt.middleRows(column, columns).transpose(), part, add, factor);
      CHECK(part == whole.block(row, column, rows, columns));
    }
  }
}

TEST_CASE("a product with a packed matrix is that with the matrix itself, bit for bit, on every processor") {
  const Table& set = *GENERATE(from_range(tables));
  INFO(set.name);
  for (const auto& [n, k] : {std::pair<Index, Index>{1, 1}, {31, 7}, {64, 384}, {97, 385}}) {
    const RowMajor b = random(k, n, 2), bt = b.transpose();
    std::vector<float> packed(static_cast<std::size_t>((n / set.width + 1) * set.width * k)),
        packed_t = packed;
    set.pack_columns({b.data(), n, 1}, k, n, packed.data());
    set.pack_columns({bt.data(), 1, k}, k, n, packed_t.data());
    for (const Index m : {Index{1}, Index{2}, Index{5}, Index{13}, set.few - 1, set.few}) {
      INFO(m << " x " << n << " x " << k);
      const RowMajor a = random(m, k, 1), before = random(m, n, 3);
      RowMajor expected = before, found = before, found_t = before;
      multiply(set, a, b, expected, true, -0.37F);
      set.multiply_packed(m, n, k, {a.data(), k, 1}, packed.data(), found.data(), n, true, -0.37F);
      set.multiply_packed(m, n, k, {a.data(), k, 1}, packed_t.data(), found_t.data(), n, true, -0.37F);
      CHECK(found == expected);
      CHECK(found_t == expected);
    }
  }
}

TEST_CASE("a product with a packed matrix is that with the matrix itself, bit for bit") {
  eso::Threads threads(2);
  for (const auto& [n, k] : {std::pair<Index, Index>{1, 1}, {31, 7}, {64, 384}, {97, 385}, {1030, 769}}) {
    const RowMajor b = random(k, n, 2), bt = b.transpose();
    eso::PackedMatrix packed(k, n), packed_t(k, n);
    packed.copy({b.data(), n, 1}, threads);
    packed_t.copy({bt.data(), 1, k}, threads);
    for (Index m = 1; m <= eso::kernels<float>().few; ++m) {
      INFO(m << " x " << n << " x " << k);
      const RowMajor a = random(m, k, 1), before = random(m, n, 3);
      for (const float factor : {1.0F, -0.37F}) {
        for (const bool add : {false, true}) {
          RowMajor expected = before, found = before, found_t = before;
          eso::product(a, b, expected, add, factor);
          eso::packed_product(a, packed.columns(0), found, add, factor);
          eso::packed_product(a, packed_t.columns(0), found_t, add, factor);
          CHECK(found == expected);
          CHECK(found_t == expected);
        }
      }
      const Index width = eso::kernels<float>().width, column = n / 2 / width * width;
      RowMajor expected = before, found = before;
      eso::product(a, b.rightCols(n - column), expected.rightCols(n - column));
      eso::packed_product(a, packed.columns(column), found.rightCols(n - column));
      CHECK(found == expected);
    }
  }
}

TEST_CASE("a product of doubles takes the layouts and strides of views") {
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  for (const auto& [m, n, k] : {Size{1, 1, 1}, {3, 4, 5}, {17, 1, 9}, {1, 30, 40}, {40, 50, 60}}) {
    const Rows a = random(m + 2, k + 3, 1).cast<double>(), b = random(k + 2, n + 1, 2).cast<double>();
    const Rows at = a.transpose(), bt = b.transpose(), before = random(m + 4, n + 5, 3).cast<double>();
    for (const bool add : {false, true}) {
      Rows expected = before;
      auto sum = expected.block(1, 2, m, n);
      if (!add) sum.setZero();
      for (Index p = 0; p < k; ++p) sum += -0.5 * a.block(0, p, m, 1) * b.block(p, 0, 1, n);
      const auto check = [&, rows = m, columns = n](const auto& left, const auto& right) {
        Rows c = before;
        eso::product(left, right, c.block(1, 2, rows, columns), add, -0.5);
        CHECK((c - expected).cwiseAbs().maxCoeff() < 1e-12);
      };
      check(a.block(0, 0, m, k), b.block(0, 0, k, n));
      check(at.block(0, 0, k, m).transpose(), b.block(0, 0, k, n));
      check(a.block(0, 0, m, k), bt.block(0, 0, n, k).transpose());
      check(at.block(0, 0, k, m).transpose(), bt.block(0, 0, n, k).transpose());
    }
  }
}

TEST_CASE("a product without an inner dimension is zero, and one without rows or columns is nothing") {
  RowMajor c = random(3, 4, 1);
  eso::product(RowMajor(3, 0), RowMajor(0, 4), c);
  CHECK(c == RowMajor::Zero(3, 4));
  RowMajor none(0, 4);
  eso::product(RowMajor(0, 5), random(5, 4, 1), none);
  none.resize(3, 0);
  eso::product(random(3, 5, 1), RowMajor(5, 0), none);
}

TEST_CASE("a product carries what is not finite") {
  RowMajor a = random(20, 30, 1), b = random(30, 40, 2), c(20, 40);
  a(7, 3) = std::numeric_limits<float>::infinity();
  eso::product(a, b, c);
  CHECK(!c.row(7).array().isFinite().any());
  CHECK(c.row(6).allFinite());
}
