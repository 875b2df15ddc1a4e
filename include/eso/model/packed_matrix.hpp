// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#include "eso/model/product.hpp"
#include "eso/threads.hpp"

namespace eso {

/// A matrix (in, out) copied into the order in which a product with few rows reads it, from one end to the
/// other: for weights that meet a few rows many times, as in generation.
///
/// Takes as much memory as the matrix. A product gives the same bits as with the matrix itself.
class PackedMatrix {
 public:
  /// Room for a matrix (in, out). \throws std::bad_alloc.
  PackedMatrix(Index in, Index out) : in_(in), out_(out) {
    constexpr std::size_t page = std::size_t{2} << 20;
    const Index slivers = (out + kernels<float>().width - 1) / kernels<float>().width;
    const auto bytes = static_cast<std::size_t>(slivers * kernels<float>().width * in) * sizeof(float);
    const std::size_t whole = (bytes + page - 1) / page * page;
    memory_.reset(static_cast<float*>(std::aligned_alloc(page, whole)));
    if (!memory_) throw std::bad_alloc();
    ::madvise(memory_.get(), whole, MADV_HUGEPAGE);  // fewer pages to look up; a system without is as right
  }

  /// Takes what `b`, (in, out), holds now.
  void copy(const FloatMatrix& b, Threads& threads) {
    threads.for_ranges(out_, kernels<float>().width, [&](Index begin, Index end) {
      kernels<float>().pack_columns({b.at(0, begin), b.row, b.column}, in_, end - begin,
                                    memory_.get() + begin * in_);
    });
  }

  /// The columns from `column` on, a multiple of a sliver's.
  const float* columns(Index column) const { return memory_.get() + column * in_; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  Index in_, out_;
};

/// c = factor a b or, with `add`, c += factor a b, with columns of a packed b; c is row-major. One thread.
inline void packed_product(const MatrixView<const float>& a, const float* b, const MatrixView<float>& c,
                           bool add = false, float factor = 1) {
  kernels<float>().multiply_packed(a.rows, c.cols, a.cols, a.steps(), b, c.data, c.outer, add, factor);
}

}  // namespace eso
