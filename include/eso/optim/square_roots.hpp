// SPDX-License-Identifier: MIT
#pragma once

#ifdef __AVX__
#include <immintrin.h>
#endif

#include <cmath>

#include "eso/tensor.hpp"

namespace eso {

// Vector instructions by name: compilers keep std::sqrt scalar where it might have to set errno, and Eigen's
// approximates, so that a result would depend on the processor and on where in memory a number lies.

/// out[k] = sqrt(x[k]), correctly rounded, the same on every machine.
inline void square_roots(const float* x, Index count, float* out) {
  Index k = 0;
#ifdef __AVX__
  for (; k + 8 <= count; k += 8) _mm256_storeu_ps(out + k, _mm256_sqrt_ps(_mm256_loadu_ps(x + k)));
#endif
  for (; k < count; ++k) out[k] = std::sqrt(x[k]);
}

/// The same for double.
inline void square_roots(const double* x, Index count, double* out) {
  Index k = 0;
#ifdef __AVX__
  for (; k + 4 <= count; k += 4) _mm256_storeu_pd(out + k, _mm256_sqrt_pd(_mm256_loadu_pd(x + k)));
#endif
  for (; k < count; ++k) out[k] = std::sqrt(x[k]);
}

}  // namespace eso
