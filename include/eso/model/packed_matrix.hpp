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
    const Index slivers = (out + FloatProduct::width - 1) / FloatProduct::width;
    const auto bytes = static_cast<std::size_t>(slivers * FloatProduct::width * in) * sizeof(float);
    const std::size_t whole = (bytes + page - 1) / page * page;
    memory_.reset(static_cast<float*>(std::aligned_alloc(page, whole)));
    if (!memory_) throw std::bad_alloc();
    ::madvise(memory_.get(), whole, MADV_HUGEPAGE);  // fewer pages to look up; a system without is as right
  }

  /// Takes what `b`, (in, out), holds now.
  void copy(const FloatMatrix& b, Threads& threads) {
    threads.for_ranges(out_, FloatProduct::width, [&](Index begin, Index end) {
      FloatProduct::pack_columns({b.at(0, begin), b.row, b.column}, in_, end - begin,
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
template <class A, class C>
void packed_product(const A& a, const float* b, C&& c, bool add = false, float factor = 1) {
  static_assert(A::IsRowMajor && std::remove_cvref_t<C>::IsRowMajor);
  FloatProduct().packed(a.rows(), c.cols(), a.cols(), {a.data(), a.outerStride(), 1}, b, c.data(),
                        c.outerStride(), add, factor);
}

}  // namespace eso
