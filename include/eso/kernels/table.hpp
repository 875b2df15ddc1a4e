// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "eso/batch.hpp"

namespace eso {

/// A matrix of floats somewhere in memory, rows and columns at any distance.
struct FloatMatrix {
  const float* data;
  Index row, column;  ///< from one row, one column to the next

  const float* at(Index i, Index j) const { return data + i * row + j * column; }
};

/// Floats of a workspace, at an address that suits every vector.
class FloatMemory {
 public:
  /// Room for `size` floats; what was there is lost when it grows. \throws std::bad_alloc.
  float* room(Index size) {
    if (size > size_) {
      constexpr std::size_t line = 64;
      // Not std::aligned_alloc: small pieces come faster from malloc.
      memory_.reset(std::malloc(static_cast<std::size_t>(size) * sizeof(float) + line));
      if (!memory_) throw std::bad_alloc();
      const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
      data_ = static_cast<float*>(memory_.get()) + (line - address % line) % line / sizeof(float);
      size_ = size;
    }
    return data_;
  }
  float* data() const { return data_; }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  float* data_ = nullptr;
  Index size_ = 0;
};

/// The numbers of an update of `AdamW`, which has the formula.
template <class Scalar>
struct AdamWFactors {
  Scalar keep, scale, rest1, beta2, rest2, step_size, correction, epsilon;
};

/// The inner loops of the library for one instruction set and one kind of number. They compute on one thread.
///
/// They are compiled for each of the sets whatever the flags of the compiler, each in a namespace of its own,
/// so that a program runs the best that the processor has, and files compiled with different flags agree.
/// What one set packed only its own functions can read.
template <class Scalar>
struct Kernels;

/// Those of floats: products, passes over rows and updates.
template <>
struct Kernels<float> {
  const char* name;  ///< of the instruction set
  Index width;       ///< columns of a sliver, in which `pack_columns` copies a matrix
  Index few;         ///< rows up to which a product reads the right matrix where it lies

  /// C (m, n, rows `c_row` apart) = or, with `add`, += factor A (m, k) B (k, n).
  void (*multiply)(Index m, Index n, Index k, const FloatMatrix& a, const FloatMatrix& b, float* c,
                   Index c_row, bool add, float factor);
  /// Copies B (k, n) for `multiply_packed`: ceil(n / width) width k floats.
  void (*pack_columns)(const FloatMatrix& b, Index k, Index n, float* to);
  /// As `multiply`, with B as `pack_columns` copied it. The same bits.
  void (*multiply_packed)(Index m, Index n, Index k, const FloatMatrix& a, const float* b, float* c,
                          Index c_row, bool add, float factor);

  /// Largest of x, of which there is at least one.
  float (*largest)(const float* x, Index count);
  /// Sum of x.
  float (*sum)(const float* x, Index count);
  /// Sum of exp(x - shift).
  float (*sum_of_exp)(const float* x, Index count, float shift);
  /// x = exp(x - shift) factor.
  void (*exp)(float* x, Index count, float shift, float factor);
  /// to = x - shift; gives its sum.
  float (*subtract)(const float* x, Index count, float shift, float* to);
  /// to = exp(factor x), and 0 where that has no normal number; gives its sum.
  float (*weights)(const float* x, Index count, float factor, float* to);
  /// Sum of weight times x, with 0 times minus infinity = 0.
  float (*weighted_sum)(const float* weight, const float* x, Index count);
  /// y = GELU(x) in its tanh form.
  void (*gelu)(const float* x, Index count, float* y);
  /// d = d times the derivative of that at x.
  void (*gelu_backward)(const float* x, Index count, float* d);

  /// One update of `count` parameters.
  void (*adamw)(Index count, const AdamWFactors<float>& f, const float* gradient, float* value, float* m,
                float* v);
};

/// Of doubles there is no more: the rest is Eigen's.
template <>
struct Kernels<double> {
  const char* name;
  void (*adamw)(Index count, const AdamWFactors<double>& f, const double* gradient, double* value, double* m,
                double* v);
};

}  // namespace eso
