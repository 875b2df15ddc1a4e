// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "eso/batch.hpp"

namespace eso {

/// A matrix of floats somewhere in memory, rows and columns at any distance.
struct FloatMatrix {
  const float* data;
  Index row, column;  ///< from one row, one column to the next

  const float* at(Index i, Index j) const { return data + i * row + j * column; }
};

/// Products of float matrices on one thread: C = factor A B or C += factor A B.
///
/// The loops around a block of registers are those of Goto and van de Geijn 2008
/// (doi:10.1145/1356052.1356053): blocks of A that stay in the second-level cache and panels of B are copied
/// in the order in which the innermost loop reads them. With few rows B is read where it lies, since each of
/// its numbers is used but a few times.
///
/// Each element of C is summed in the order of the inner index, in blocks of `depth`, whatever the sizes, so
/// it does not depend on which other rows and columns are computed with it, bit for bit. An object is a
/// workspace.
class FloatProduct {
 public:
  /// C (m, n, rows `c_row` apart) = or, with `add`, += factor A (m, k) B (k, n).
  void operator()(Index m, Index n, Index k, const FloatMatrix& a, const FloatMatrix& b, float* c,
                  Index c_row, bool add, float factor) {
    factor_ = factor;
    if (k == 0 && !add) {
      for (Index i = 0; i < m; ++i) std::fill_n(c + i * c_row, n, 0.0F);
    }
    const bool b_in_place = m <= few && b.column == 1;
    for (Index p = 0; p < k; p += depth) {
      const Index depth_here = std::min(depth, k - p);
      const bool adds = add || p > 0;
      for (Index j = 0; j < n; j += panel) {
        const Index columns = std::min(panel, n - j);
        const FloatMatrix b_here{b.at(p, j), b.row, b.column};
        if (!b_in_place) pack<width>(b_here.data, b.column, b.row, columns, depth_here, packed_b_);
        for (Index i = 0; i < m; i += block) {
          const Index rows = std::min(block, m - i);
          pack<height>(a.at(i, p), a.row, a.column, rows, depth_here, packed_a_);
          tiles(rows, columns, depth_here, b_in_place ? &b_here : nullptr, c + i * c_row + j, c_row, adds);
        }
      }
    }
  }

 private:
#if defined(__AVX512F__)
  static constexpr Index lanes = 16, height = 12;
#elif defined(__AVX__)
  static constexpr Index lanes = 8, height = 6;
#else
  static constexpr Index lanes = 4, height = 6;
#endif
  static constexpr Index width = 2 * lanes;
  static constexpr Index depth = 384, block = 16 * height, panel = 1024, few = 4 * height;
  typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
  typedef float Four __attribute__((vector_size(16)));

  template <class Vector>
  static Vector load(const float* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }

  /// Copies `count` lines of `length` numbers into slivers of `lines` lines each, number by number of all its
  /// lines; lines that are missing are zero. A line is `line` from the next, a number `step`.
  template <Index lines>
  static void pack(const float* from, Index line, Index step, Index count, Index length,
                   Eigen::ArrayXf& packed) {
    const Index slivers = (count + lines - 1) / lines;
    if (packed.size() < slivers * lines * length) packed.resize(slivers * lines * length);
    for (Index s = 0; s < slivers; ++s) {
      const float* source = from + s * lines * line;
      float* to = packed.data() + s * lines * length;
      const Index here = std::min(lines, count - s * lines);
      if (here < lines) {
        std::fill_n(to, lines * length, 0.0F);
        for (Index i = 0; i < here; ++i) {
          for (Index p = 0; p < length; ++p) to[p * lines + i] = source[i * line + p * step];
        }
      } else if (line == 1) {
        for (Index p = 0; p < length; ++p)
          std::memcpy(to + p * lines, source + p * step, lines * sizeof(float));
      } else {
        transpose<lines>(source, line, step, length, to);
      }
    }
  }

  template <Index lines>
  static void transpose(const float* source, Index line, Index step, Index length, float* to) {
    Index p = 0;
    for (; step == 1 && p + 4 <= length; p += 4) {
      for (Index i = 0; i + 4 <= lines; i += 4) {
        const float* s = source + i * line + p;
        const Four r0 = load<Four>(s), r1 = load<Four>(s + line), r2 = load<Four>(s + 2 * line),
                   r3 = load<Four>(s + 3 * line);
        const Four low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
                   high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7),
                   low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5),
                   high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
        const Four columns[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                                 __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                                 __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                                 __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
        for (Index q = 0; q < 4; ++q) std::memcpy(to + (p + q) * lines + i, &columns[q], sizeof(Four));
      }
      for (Index i = lines / 4 * 4; i < lines; ++i) {
        for (Index q = 0; q < 4; ++q) to[(p + q) * lines + i] = source[i * line + p + q];
      }
    }
    for (; p < length; ++p) {
      for (Index i = 0; i < lines; ++i) to[p * lines + i] = source[i * line + p * step];
    }
  }

  /// All register blocks of (rows, columns) of C.
  void tiles(Index rows, Index columns, Index length, const FloatMatrix* b_in_place, float* c, Index c_row,
             bool add) {
    for (Index i = 0; i < rows; i += height) {
      const Index rows_here = std::min(height, rows - i);
      const float* a = packed_a_.data() + i * length;
      float* to = c + i * c_row;
      if (rows_here <= height / 4) {
        strip<height / 4, 8>(length, a, columns, b_in_place, to, c_row, rows_here, add);
      } else if (rows_here <= height / 2) {
        strip<height / 2, 4>(length, a, columns, b_in_place, to, c_row, rows_here, add);
      } else {
        strip<height, 2>(length, a, columns, b_in_place, to, c_row, rows_here, add);
      }
    }
  }

  /// The register blocks of up to `tall` rows; the fewer rows, the wider where B lies as it is.
  template <Index tall, Index vectors>
  void strip(Index length, const float* a, Index columns, const FloatMatrix* b_in_place, float* c,
             Index c_row, Index rows, bool add) {
    Index j = 0;
    if (b_in_place) {
      for (; j + vectors * lanes <= columns; j += vectors * lanes) {
        tile<tall, vectors>(length, a, b_in_place->data + j, b_in_place->row, c + j, c_row, rows,
                            vectors * lanes, add);
      }
    }
    for (; j < columns; j += width) {
      const Index columns_here = std::min(width, columns - j);
      const float* b = nullptr;
      Index b_row = width;
      if (!b_in_place) {
        b = packed_b_.data() + j * length;
      } else if (columns_here == width) {
        b = b_in_place->data + j, b_row = b_in_place->row;
      } else {
        pack<width>(b_in_place->data + j, 1, b_in_place->row, columns_here, length, packed_b_);
        b = packed_b_.data();
      }
      tile<tall, 2>(length, a, b, b_row, c + j, c_row, rows, columns_here, add);
    }
  }

  /// A block of registers, of which `rows` and `columns` are stored.
  template <Index tall, Index vectors>
  void tile(Index length, const float* a, const float* b, Index b_row, float* c, Index c_row, Index rows,
            Index columns, bool add) const {
    [&]<Index... n>(std::integer_sequence<Index, n...>) {
      Lanes sum[tall * vectors] = {};
      for (Index p = 0; p < length; ++p) {
        const auto row = [&]<Index... v>(std::integer_sequence<Index, v...>) {
          const Lanes line[vectors] = {load<Lanes>(b + v * lanes)...};
          ((sum[n] += a[n / vectors] * line[n % vectors]), ...);
        };
        row(std::make_integer_sequence<Index, vectors>());
        a += height;
        b += b_row;
      }
      if (columns == vectors * lanes) {
        (store(sum[n], c + n / vectors * c_row + n % vectors * lanes, n / vectors < rows, add), ...);
      } else {
        float whole[tall * vectors * lanes];
        (store(sum[n], whole + n * lanes, true, false), ...);
        for (Index i = 0; i < rows; ++i) {
          for (Index j = 0; j < columns; ++j) {
            const float value = whole[i * vectors * lanes + j];
            c[i * c_row + j] = add ? c[i * c_row + j] + value : value;
          }
        }
      }
    }(std::make_integer_sequence<Index, tall * vectors>());
  }

  void store(Lanes sum, float* to, bool wanted, bool add) const {
    if (!wanted) return;
    sum *= factor_;
    if (add) sum += load<Lanes>(to);
    std::memcpy(to, &sum, sizeof sum);
  }

  float factor_ = 1;
  Eigen::ArrayXf packed_a_, packed_b_;
};

/// c = factor a b or, with `add`, c += factor a b, for matrices that lie in memory; c is row-major and apart
/// from a and b. One thread.
template <class A, class B, class C>
void product(const A& a, const B& b, C&& c, bool add = false, typename A::Scalar factor = 1) {
#ifndef EIGEN_USE_BLAS
  if constexpr (std::is_same_v<typename A::Scalar, float>) {
    const auto matrix = [](const auto& m) -> FloatMatrix {
      if (std::remove_cvref_t<decltype(m)>::IsRowMajor) return {m.data(), m.outerStride(), m.innerStride()};
      return {m.data(), m.innerStride(), m.outerStride()};
    };
    static_assert(std::remove_cvref_t<C>::IsRowMajor);
    FloatProduct()(a.rows(), b.cols(), a.cols(), matrix(a), matrix(b), c.data(), c.outerStride(), add,
                   factor);
    return;
  }
#endif
  if (add) {
    c.noalias() += factor * (a * b);
  } else {
    c.noalias() = factor * (a * b);
  }
}

}  // namespace eso
