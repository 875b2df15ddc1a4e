// SPDX-License-Identifier: MIT
#pragma once

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

// Square roots are instructions by name: compilers keep std::sqrt scalar where it might have to set errno. So
// are fused products and sums: whether g++ makes them depends on the loop.

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("no-sse3,no-bmi,no-bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("no-sse3,no-bmi,no-bmi2,no-lzcnt,no-popcnt,no-movbe")
#endif
#endif
/// What every processor of its kind has: SSE2 or NEON.
namespace baseline {
inline constexpr Index lanes = 4;  ///< floats of a vector
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
/// a b + c.
inline Lanes multiply_add(float a, Lanes b, Lanes c) { return a * b + c; }
#if defined(__x86_64__)
inline constexpr bool fused = false;  ///< a product and a sum are one instruction
/// Square roots.
inline Lanes root_of(Lanes x) {
  asm("sqrtps %0, %0" : "+x"(x));
  return x;
}
/// Square roots.
inline Doubles root_of(Doubles x) {
  asm("sqrtpd %0, %0" : "+x"(x));
  return x;
}
#elif defined(__aarch64__)
inline constexpr bool fused = true;  ///< a product and a sum are one instruction
/// Square roots.
inline Lanes root_of(Lanes x) {
  asm("fsqrt %0.4s, %0.4s" : "+w"(x));
  return x;
}
/// Square roots.
inline Doubles root_of(Doubles x) {
  asm("fsqrt %0.2d, %0.2d" : "+w"(x));
  return x;
}
#else
inline constexpr bool fused = false;  ///< a product and a sum are one instruction
/// Square roots.
inline Lanes root_of(Lanes x) {
  return Lanes{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])};
}
/// Square roots.
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
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,no-avx512f"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,no-avx512f")
#endif
namespace avx2 {
inline constexpr Index lanes = 8;
inline constexpr bool fused = true;  ///< a product and a sum are one instruction
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
/// a b + c.
inline Lanes multiply_add(float a, Lanes b, Lanes c) { return __builtin_ia32_vfmaddps256(a - Lanes{}, b, c); }
/// Square roots.
inline Lanes root_of(Lanes x) {
  asm("vsqrtps %0, %0" : "+x"(x));
  return x;
}
/// Square roots.
inline Doubles root_of(Doubles x) {
  asm("vsqrtpd %0, %0" : "+x"(x));
  return x;
}
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
inline constexpr bool fused = true;  ///< a product and a sum are one instruction
typedef float Lanes __attribute__((vector_size(lanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(lanes * sizeof(float))));
/// a b + c.
inline Lanes multiply_add(float a, Lanes b, Lanes c) {
#if defined(__clang__)
  return a * b + c;
#else
  return __builtin_ia32_vfmaddps512_mask(a - Lanes{}, b, c, -1, 4);  // rounded as is set
#endif
}
/// Square roots.
inline Lanes root_of(Lanes x) {
  asm("vsqrtps %0, %0" : "+v"(x));
  return x;
}
/// Square roots.
inline Doubles root_of(Doubles x) {
  asm("vsqrtpd %0, %0" : "+v"(x));
  return x;
}
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
