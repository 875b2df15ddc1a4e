// SPDX-License-Identifier: MIT
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/kernels/table.hpp"

namespace eso {

// Functions of the standard library stay out of the included files, but for those that are not templates: one
// that is first instantiated there could be compiled for an instruction set that the processor lacks.

/// What every processor of its kind has: SSE2 or NEON.
namespace baseline {
inline constexpr Index lanes = 4;  ///< floats of a vector
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
#if defined(__x86_64__)
inline constexpr bool fused = false;  ///< a product and a sum are one instruction
inline Lanes root_of(Lanes x) { return _mm_sqrt_ps(x); }
inline Doubles root_of(Doubles x) { return _mm_sqrt_pd(x); }
#elif defined(__aarch64__)
inline constexpr bool fused = true;
inline Lanes root_of(Lanes x) { return vsqrtq_f32(x); }
inline Doubles root_of(Doubles x) { return vsqrtq_f64(x); }
#else
inline constexpr bool fused = false;
inline Lanes root_of(Lanes x) {
  return Lanes{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])};
}
inline Doubles root_of(Doubles x) { return Doubles{std::sqrt(x[0]), std::sqrt(x[1])}; }
#endif
#include "eso/kernels/slivers.inc"
//
#include "eso/kernels/product.inc"
//
#include "eso/kernels/elementwise.inc"
}  // namespace baseline

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
inline constexpr Index lanes = 8;
inline constexpr bool fused = true;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
inline Lanes root_of(Lanes x) { return _mm256_sqrt_ps(x); }
inline Doubles root_of(Doubles x) { return _mm256_sqrt_pd(x); }
#include "eso/kernels/slivers.inc"
//
#include "eso/kernels/product.inc"
//
#include "eso/kernels/elementwise.inc"
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
namespace avx512 {
inline constexpr Index lanes = 16;
inline constexpr bool fused = true;
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
inline Lanes root_of(Lanes x) { return _mm512_maskz_sqrt_ps(0xFFFF, x); }
inline Doubles root_of(Doubles x) { return _mm512_maskz_sqrt_pd(0xFF, x); }
#include "eso/kernels/slivers.inc"
//
#include "eso/kernels/product.inc"
//
#include "eso/kernels/elementwise.inc"
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

/// The tables that this processor can run, the best first.
template <class Scalar>
std::vector<const Kernels<Scalar>*> supported_kernels() {
  std::vector<const Kernels<Scalar>*> supported;
#if defined(__x86_64__)
  static constexpr Kernels<Scalar> wide = avx512::table<Scalar>("AVX-512"),
                                   middle = avx2::table<Scalar>("AVX2");
  const bool has_middle = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_middle && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    supported.push_back(&wide);
  if (has_middle) supported.push_back(&middle);
#endif
  static constexpr Kernels<Scalar> narrow = baseline::table<Scalar>("baseline");
  supported.push_back(&narrow);
  return supported;
}

/// The table that everything runs, chosen at the first call.
template <class Scalar>
const Kernels<Scalar>& kernels() {
  static const Kernels<Scalar>& best = *supported_kernels<Scalar>().front();
  return best;
}

}  // namespace eso
