// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "eso/error.hpp"

// Inside namespace eso, `torch` is this adapter; LibTorch's own names are `at::`, `c10::` and `::torch::`.

namespace eso::torch {

/// What a model is stored as and computed in.
enum class Precision {
  float32,   ///< everything
  bfloat16,  ///< weights and products; what is trained, sums and softmax in float32
  float64,   ///< everything: for tests
};

/// \throws Error (input) for a name that is none of `float32`, `bfloat16`.
inline Precision precision_named(const std::string& name) {
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  throw input_error("precision", "unknown value", name, "float32 or bfloat16");
}

/// The type that products are computed in.
inline at::ScalarType compute_type(Precision precision) {
  return precision == Precision::float64    ? at::kDouble
         : precision == Precision::bfloat16 ? at::kBFloat16
                                            : at::kFloat;
}

/// The type of what is trained, of its gradients and of sums.
inline at::ScalarType master_type(Precision precision) {
  return precision == Precision::float64 ? at::kDouble : at::kFloat;
}

/// The device of this name: `cpu`, `cuda` or `cuda:N`. LibTorch's CUDA half is loaded when it is first asked
/// for, so that a program linked to the CPU half alone serves machines with and without.
///
/// \throws Error (input) for another name, and where there is no such device.
inline at::Device device_named(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  int index = 0;
  const bool numbered = name.starts_with("cuda:");
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + (numbered ? 5 : 0), end, index);
  if (name != "cuda" && !(numbered && error == std::errc() && stop == end && index >= 0)) {
    throw input_error("device", "unknown value", name, "cpu, cuda or cuda:N");
  }
  // Before anything asks LibTorch for CUDA: it remembers the first answer.
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* const reason = ::dlerror();
    throw input_error("device", fmt::format("LibTorch's CUDA half cannot be loaded: {}", reason), name,
                      "cpu, or LD_LIBRARY_PATH with that half and the CUDA packages");
  }
  const int count = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (index >= count) {
    throw input_error("device", "there is no such device", name,
                      fmt::format("{} CUDA devices are there", count));
  }
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

/// From here on the C library keeps the memory of the whole process for later use. A program that trains on
/// the CPU calls it first: a step asks for gigabytes and gives them back, and to have the system clear the
/// pages anew each time takes a tenth of the step.
///
/// Up to 2 GiB at the end of the heap are kept, and the peak of memory may be a tenth higher. Does nothing
/// with another C library than glibc, or where the environment sets MALLOC_MMAP_MAX_, MALLOC_MMAP_THRESHOLD_
/// or MALLOC_TRIM_THRESHOLD_.
inline void keep_host_memory() {
#ifdef __GLIBC__
  for (const char* const name : {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}) {
    if (std::getenv(name)) return;
  }
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace eso::torch
