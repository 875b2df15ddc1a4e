// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "eso/batch.hpp"

namespace eso {

/// Copies of float matrices in the order in which `FloatProduct` reads them: slivers of a few lines each,
/// which are rows of one matrix or columns of the other, number by number of all lines of a sliver.
class Slivers {
 public:
  /// Floats of the widest vector that the compiler may use.
#if defined(__AVX512F__)
  static constexpr Index lanes = 16;
#elif defined(__AVX__)
  static constexpr Index lanes = 8;
#else
  static constexpr Index lanes = 4;
#endif
  static constexpr Index together = 16;  ///< numbers of each line that are read side by side
  typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));

  /// A vector from any address.
  template <class Vector>
  static Vector load(const float* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }

  /// So many lines and those that are missing of the last sliver.
  template <Index lines>
  static constexpr Index padded(Index count) {
    return (count + lines - 1) / lines * lines;
  }

  /// Copies `count` lines of `length` numbers into slivers of `lines` lines each, number by number of all its
  /// lines; lines that are missing are zero. A line is `line` from the next, a number `step`.
  template <Index lines>
  static void pack(const float* from, Index line, Index step, Index count, Index length, float* to) {
    const Index whole = count / lines;
    if (line == 1) {
      for (Index first = 0; first < length; first += together) {
        const Index end = std::min(length, first + together);
        for (Index s = 0; s < whole; ++s) {
          for (Index p = first; p < end; ++p) {
            std::memcpy(to + (s * length + p) * lines, from + s * lines + p * step, lines * sizeof(float));
          }
        }
      }
    } else {
      for (Index s = 0; s < whole; ++s) {
        const float* sliver = from + s * lines * line;
        transpose<lines>(sliver, line, step, length, s + 1 < whole ? sliver + lines * line : sliver,
                         to + s * lines * length);
      }
    }
    if (whole * lines == count) return;
    float* const last = to + whole * lines * length;
    std::fill_n(last, lines * length, 0.0F);
    for (Index i = 0; i < count - whole * lines; ++i) {
      for (Index p = 0; p < length; ++p) {
        last[p * lines + i] = from[(whole * lines + i) * line + p * step];
      }
    }
  }

 private:
  typedef float Four __attribute__((vector_size(4 * sizeof(float))));

  /// One sliver of whole lines. Asks the memory for `next`: it does not foresee such short pieces of lines.
  template <Index lines>
  static void transpose(const float* source, Index line, Index step, Index length, const float* next,
                        float* to) {
    using Vector = std::conditional_t<lines % lanes == 0, Lanes, Four>;
    constexpr Index side = sizeof(Vector) / sizeof(float);
    static_assert(lines % side == 0 || lines % side == 2);
    Index p = 0;
    for (; step == 1 && p + side <= length; p += side) {
      for (Index i = 0; i + side <= lines; i += side) {
        for (Index q = 0; q < side; ++q) __builtin_prefetch(next + (i + q) * line + p, 0, 2);
        transpose_square<Vector>(source + i * line + p, line, to + p * lines + i, lines);
      }
      for (Index i = lines / side * side; i < lines; ++i) {
        for (Index q = 0; q < side; ++q) to[(p + q) * lines + i] = source[i * line + p + q];
      }
    }
    for (; p < length; ++p) {
      for (Index i = 0; i < lines; ++i) to[p * lines + i] = source[i * line + p * step];
    }
  }

  /// As many rows as the vector has numbers.
  template <class Vector>
  static void transpose_square(const float* from, Index from_row, float* to, Index to_row) {
    constexpr Index side = sizeof(Vector) / sizeof(float);
    [&]<Index... i>(std::integer_sequence<Index, i...> all) {
      Vector rows[side] = {load<Vector>(from + i * from_row)...};
      exchange_squares<side / 2>(rows, all);
      (std::memcpy(to + i * to_row, &rows[i], sizeof(Vector)), ...);
    }(std::make_integer_sequence<Index, side>());
  }

  /// Of every square of 2 x `half` the two quarters beside the diagonal change places; then within the
  /// quarters.
  template <Index half, class Vector, Index... i>
  static void exchange_squares(Vector* rows, std::integer_sequence<Index, i...> all) {
    constexpr Index side = sizeof...(i);
    const auto exchange = [&](Vector& upper, Vector& lower) {
      const Vector a = upper, b = lower;
      upper = __builtin_shufflevector(a, b, (i & half ? side + i - half : i)...);
      lower = __builtin_shufflevector(a, b, (i & half ? side + i : i + half)...);
    };
    ((i & half ? void() : exchange(rows[i], rows[i + half])), ...);
    if constexpr (half > 1) exchange_squares<half / 2>(rows, all);
  }
};

}  // namespace eso
