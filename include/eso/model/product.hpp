// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "eso/batch.hpp"
#include "eso/model/slivers.hpp"

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
/// in the order in which the innermost loop reads them. With few rows B is read where it lies, a few of its
/// rows from one end to the other at a time, since each of its numbers is used but a few times and the
/// memory is what it takes time to read.
///
/// Each element of C is summed in the order of the inner index, in blocks of `depth`, whatever the sizes, so
/// it does not depend on which other rows and columns are computed with it, bit for bit. An object is a
/// workspace.
class FloatProduct {
 public:
  /// Columns of a sliver, in which `pack_columns` copies B.
  static constexpr Index lanes = Slivers::lanes, width = 2 * lanes;
  static constexpr Index height = lanes == 16 ? 12 : 6;  ///< rows of a block of registers
  static constexpr Index few = 4 * height;               ///< rows of A up to which B is read where it lies

  /// C (m, n, rows `c_row` apart) = or, with `add`, += factor A (m, k) B (k, n).
  void operator()(Index m, Index n, Index k, const FloatMatrix& a, const FloatMatrix& b, float* c,
                  Index c_row, bool add, float factor) {
    factor_ = factor;
    if (k == 0 && !add) {
      for (Index i = 0; i < m; ++i) std::fill_n(c + i * c_row, n, 0.0F);
    }
    if (m <= few && b.column != 1) return narrow(m, n, k, a, b, c, c_row, add);
    for (Index p = 0; p < k; p += depth) {
      const Index length = std::min(depth, k - p);
      const FloatMatrix a_here{a.at(0, p), a.row, a.column}, b_here{b.at(p, 0), b.row, b.column};
      if (m <= few) {
        thin(m, n, length, a_here, b_here.data, b.row, c, c_row, add || p > 0);
      } else {
        thick(m, n, length, a_here, b_here, c, c_row, add || p > 0);
      }
    }
  }

  /// Copies B (k, n) for `packed`: slivers of `width` columns one after the other, each number by number of
  /// the inner index; the columns that are missing of the last one are zero.
  static void pack_columns(const FloatMatrix& b, Index k, Index n, float* to) {
    for (Index j = 0; j < n; j += width) {
      Slivers::pack<width>(b.at(0, j), b.column, b.row, std::min(width, n - j), k, to + j * k);
    }
  }

  /// The same product with B as `pack_columns` copied it, for few rows of A.
  void packed(Index m, Index n, Index k, const FloatMatrix& a, const float* b, float* c, Index c_row,
              bool add, float factor) {
    factor_ = factor;
    // Two passes of 8 rows over a sliver take less than one of 12 and one of 4.
    constexpr Index third = height / 3;
    if (m <= third) return packed_rows<third, 1>(m, n, k, a, b, c, c_row, add);
    if (m <= 2 * third) return packed_rows<2 * third, 1>(m, n, k, a, b, c, c_row, add);
    if (m <= height) return packed_rows<height, 1>(m, n, k, a, b, c, c_row, add);
    if (m <= 4 * third) return packed_rows<2 * third, 2>(m, n, k, a, b, c, c_row, add);
    packed_rows<height, 2>(m, n, k, a, b, c, c_row, add);
  }

 private:
  static constexpr Index depth = 384, block = 16 * height, panel = 1024;
  static constexpr Index fetched = 16;  ///< floats that the memory moves at once
  static constexpr Index together = Slivers::together;
  static constexpr Index span =
      24 * lanes;  ///< columns of B for which `together` rows stay in the first cache
  using Lanes = Slivers::Lanes;

  static float* room(Eigen::ArrayXf& memory, Index size) {
    if (memory.size() < size) memory.resize(size);
    return memory.data();
  }

  /// The factor goes into the copy of A: times the sums, a compiler would round it with what they are added
  /// to in one place and apart from it in another.
  void scale(float* a, Index count) const {
    if (factor_ == 1) return;
    for (Index i = 0; i < count; ++i) a[i] *= factor_;
  }

  // --- many rows -----------------------------------------------------------------------------------

  /// One block of the inner index with copies of A and B.
  void thick(Index m, Index n, Index length, const FloatMatrix& a, const FloatMatrix& b, float* c,
             Index c_row, bool add) {
    for (Index j = 0; j < n; j += panel) {
      const Index columns = std::min(panel, n - j);
      Slivers::pack<width>(b.at(0, j), b.column, b.row, columns, length,
                           room(packed_b_, Slivers::padded<width>(columns) * length));
      next_ = packed_b_.data(), next_row_ = 0;  // nothing that is not there already
      for (Index i = 0; i < m; i += block) {
        const Index rows = std::min(block, m - i);
        float* const copy = room(packed_a_, Slivers::padded<height>(rows) * length);
        Slivers::pack<height>(a.at(i, 0), a.row, a.column, rows, length, copy);
        scale(copy, Slivers::padded<height>(rows) * length);
        tiles(rows, columns, length, copy, c + i * c_row + j, c_row, add);
      }
    }
  }

  /// Few rows, and B stands the other way round: its columns are read from one end to the other, a sliver of
  /// them at a time.
  void narrow(Index m, Index n, Index k, const FloatMatrix& a, const FloatMatrix& b, float* c, Index c_row,
              bool add) {
    float* const copy = room(packed_a_, Slivers::padded<height>(m) * k);
    for (Index p = 0; p < k; p += depth) {
      Slivers::pack<height>(a.at(0, p), a.row, a.column, m, std::min(depth, k - p),
                            copy + Slivers::padded<height>(m) * p);
    }
    scale(copy, Slivers::padded<height>(m) * k);
    for (Index j = 0; j < n; j += width) {
      const Index columns = std::min(width, n - j);
      for (Index p = 0; p < k; p += depth) {
        const Index length = std::min(depth, k - p);
        Slivers::pack<width>(b.at(p, j), b.column, b.row, columns, length, room(packed_b_, width * length));
        next_ = p + depth < k ? b.at(p + depth, j) : j + width < n ? b.at(0, j + width) : b.at(p, j);
        next_row_ = b.column, next_column_ = fetched;
        tiles(m, columns, length, copy + Slivers::padded<height>(m) * p, c + j, c_row, add || p > 0);
      }
    }
  }

  /// B is asked for in the first `passes` passes of `tall` rows: the memory is to work while sums are
  /// computed.
  template <Index tall, Index passes>
  void packed_rows(Index m, Index n, Index k, const FloatMatrix& a, const float* b, float* c, Index c_row,
                   bool add) {
    float* const copy = room(packed_a_, Slivers::padded<tall>(m) * k);
    for (Index p = 0; p < k; p += depth) {
      Slivers::pack<tall>(a.at(0, p), a.row, a.column, m, std::min(depth, k - p),
                          copy + Slivers::padded<tall>(m) * p);
    }
    scale(copy, Slivers::padded<tall>(m) * k);
    next_row_ = fetched, next_column_ = fetched * width;
    for (Index j = 0; j < n; j += width) {
      for (Index p = 0; p < k; p += depth) {
        const Index length = std::min(depth, k - p);
        const float* const here = b + j * k + p * width;
        for (Index i = 0; i < m; i += tall) {
          const bool last = p + length == k && j + width >= n;
          next_ = last ? here : here + (length + std::min(i / tall, passes - 1) * length / passes) * width;
          tile<tall, tall, std::max<Index>(1, width / fetched / passes)>(
              length, copy + Slivers::padded<tall>(m) * p + i * length, here, c + i * c_row + j, c_row,
              std::min(tall, m - i), std::min(width, n - j), add || p > 0);
        }
      }
    }
  }

  /// All register blocks of (rows, columns) of C.
  void tiles(Index rows, Index columns, Index length, const float* packed_a, float* c, Index c_row,
             bool add) const {
    for (Index i = 0; i < rows; i += height) {
      const Index rows_here = std::min(height, rows - i);
      const float* a = packed_a + i * length;
      float* to = c + i * c_row;
      if (rows_here <= height / 3) {
        strip<height / 3>(length, a, columns, to, c_row, rows_here, add);
      } else if (rows_here <= height / 2) {
        strip<height / 2>(length, a, columns, to, c_row, rows_here, add);
      } else if (rows_here <= height * 2 / 3) {
        strip<height * 2 / 3>(length, a, columns, to, c_row, rows_here, add);
      } else {
        strip<height>(length, a, columns, to, c_row, rows_here, add);
      }
    }
  }

  template <Index tall>
  void strip(Index length, const float* a, Index columns, float* c, Index c_row, Index rows, bool add) const {
    for (Index j = 0; j < columns; j += width) {
      tile<tall>(length, a, packed_b_.data() + j * length, c + j, c_row, rows, std::min(width, columns - j),
                 add);
    }
  }

  /// A block of registers, of which `rows` and `columns` are stored.
  template <Index tall, Index a_step = height, Index fetches = std::max<Index>(1, width / fetched)>
  void tile(Index length, const float* a, const float* b, float* c, Index c_row, Index rows, Index columns,
            bool add) const {
    [&]<Index... n>(std::integer_sequence<Index, n...>) {
      Lanes sum[tall * 2] = {};
      Index p = 0;
      do {  // at least once: a loop that may not run makes g++ keep the sums twice
        const Lanes line[2] = {Slivers::load<Lanes>(b), Slivers::load<Lanes>(b + lanes)};
        foresee<fetches>(p);
        ((sum[n] += a[n / 2] * line[n % 2]), ...);
        a += a_step;
        b += width;
      } while (++p < length);
      if (columns == width) {
        (store(sum[n], c + n / 2 * c_row + n % 2 * lanes, n / 2 < rows, add), ...);
      } else {
        float whole[tall * width];
        (std::memcpy(whole + n * lanes, &sum[n], sizeof(Lanes)), ...);
        for (Index i = 0; i < rows; ++i) finish(whole + i * width, columns, c + i * c_row, add);
      }
    }(std::make_integer_sequence<Index, tall * 2>());
  }

  /// Asks the memory for a part of the next sliver of B, in the order in which it will be read.
  template <Index fetches>
  void foresee(Index p) const {
    for (Index i = p * fetches; i < (p + 1) * fetches; ++i) {
      __builtin_prefetch(next_ + i % width * next_row_ + i / width * next_column_, 0, 2);
    }
  }

  static void store(Lanes sum, float* to, bool wanted, bool add) {
    if (!wanted) return;
    if (add) sum += Slivers::load<Lanes>(to);
    std::memcpy(to, &sum, sizeof sum);
  }

  /// The same for numbers one by one.
  static void finish(const float* sum, Index count, float* to, bool add) {
    for (Index j = 0; j < count; ++j) {
      to[j] = add ? to[j] + sum[j] : sum[j];
    }
  }

  // --- few rows ------------------------------------------------------------------------------------

  /// One block of the inner index with B where it lies. The sums stand in `sums_`, a block of columns after
  /// the other, between the groups of rows of B.
  void thin(Index m, Index n, Index length, const FloatMatrix& a, const float* b, Index b_row, float* c,
            Index c_row, bool add) {
    const Index spans = (n + span - 1) / span;
    float* const turned = room(packed_a_, m * length);
    for (Index i = 0; i < m; ++i) {
      for (Index p = 0; p < length; ++p) turned[p * m + i] = *a.at(i, p);
    }
    scale(turned, m * length);
    float* const sums = room(sums_, spans * m * span);
    std::fill_n(sums, spans * m * span, 0.0F);
    float* const copy = room(packed_b_, together * span);
    for (Index p = 0; p < length; p += together) {
      const Index rows = std::min(together, length - p);
      for (Index j = 0; j < n; j += span) {
        const Index columns = std::min(span, n - j), padded = (columns + lanes - 1) / lanes * lanes;
        const float* from = b + p * b_row + j;
        const FloatMatrix next{j + span < n ? from + span : b + (p + together) * b_row, b_row, 1};
        if (m < height && padded == columns) {
          thin_rows(m, columns, rows, turned + p * m, from, b_row, sums + j * m, next);
          continue;
        }
        for (Index q = 0; q < rows; ++q) {
          std::copy_n(from + q * b_row, columns, copy + q * span);
          std::fill(copy + q * span + columns, copy + q * span + padded, 0.0F);
        }
        thin_rows(m, padded, rows, turned + p * m, copy, span, sums + j * m, next);
      }
    }
    for (Index j = 0; j < n; j += span) {
      for (Index i = 0; i < m; ++i)
        finish(sums + j * m + i * span, std::min(span, n - j), c + i * c_row + j, add);
    }
  }

  /// Sums (m, columns) += A (m, length) B (length, columns); the columns are whole vectors. Asks the memory
  /// for `next` meanwhile.
  static void thin_rows(Index m, Index columns, Index length, const float* a, const float* b, Index b_row,
                        float* sums, const FloatMatrix& next) {
    const auto rows_of = [&]<Index tall, Index vectors>(Index i) {
      Index j = 0;
      for (; j + vectors * lanes <= columns; j += vectors * lanes) {
        if (i == 0) prefetch(next.at(0, j), next.row, length, vectors);
        thin_tile<tall, vectors>(length, a + i, m, b + j, b_row, sums + i * span + j);
      }
      for (; j < columns; j += lanes) {
        thin_tile<tall, 1>(length, a + i, m, b + j, b_row, sums + i * span + j);
      }
      return tall;
    };
    for (Index i = 0; i < m;) {
      const Index rest = m - i;
      if (rest >= height && rest != height * 4 / 3) {
        i += rows_of.template operator()<height, 2>(i);
      } else if (rest >= height * 2 / 3) {
        i += rows_of.template operator()<height * 2 / 3, 3>(i);
      } else if (rest >= height / 3) {
        i += rows_of.template operator()<height / 3, 6>(i);
      } else {
        i += rows_of.template operator()<1, 8>(i);
      }
    }
  }

  static void prefetch(const float* from, Index row, Index rows, Index vectors) {
    for (Index p = 0; p < rows; ++p) {
      for (Index v = 0; v < vectors; ++v) __builtin_prefetch(from + p * row + v * lanes, 0, 2);
    }
  }

  template <Index tall, Index vectors>
  static void thin_tile(Index length, const float* a, Index a_step, const float* b, Index b_row,
                        float* sums) {
    [&]<Index... n>(std::integer_sequence<Index, n...>) {
      Lanes sum[tall * vectors] = {Slivers::load<Lanes>(sums + n / vectors * span + n % vectors * lanes)...};
      Index p = 0;
      do {
        [&]<Index... v>(std::integer_sequence<Index, v...>) {
          const Lanes row[vectors] = {Slivers::load<Lanes>(b + v * lanes)...};
          ((sum[n] += a[n / vectors] * row[n % vectors]), ...);
        }(std::make_integer_sequence<Index, vectors>());
        a += a_step;
        b += b_row;
      } while (++p < length);
      (std::memcpy(sums + n / vectors * span + n % vectors * lanes, &sum[n], sizeof(Lanes)), ...);
    }(std::make_integer_sequence<Index, tall * vectors>());
  }

  float factor_ = 1;
  const float* next_ = nullptr;  ///< what `tile` asks the memory for meanwhile
  Index next_row_ = 0, next_column_ = fetched;
  Eigen::ArrayXf packed_a_, packed_b_, sums_;
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
