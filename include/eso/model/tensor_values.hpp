// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

#include "eso/error.hpp"
#include "eso/tensor.hpp"

namespace eso {

static_assert(std::endian::native == std::endian::little,
              "stored numbers are little-endian and read as they are");

/// The name of the type in a safetensors header: F64, F32, F16, BF16.
constexpr std::string_view name_of(DataType type) {
  switch (type) {
    case DataType::float64:
      return "F64";
    case DataType::float32:
      return "F32";
    case DataType::float16:
      return "F16";
    case DataType::bfloat16:
      return "BF16";
  }
  return "?";
}

/// The value of IEEE 754 binary16 bits. Exact; infinities and not-a-numbers stay what they are.
constexpr float float16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t magnitude = (bits & 0x7FFFU)
                                  << 13;  // exponent and fraction at their places in binary32
  const std::uint32_t exponent = magnitude & 0x0F800000U;
  // The exponents are biased by 15 and 127. A subnormal m * 2^-24 is what 2^-14 (1 + m / 2^10) exceeds 2^-14
  // by.
  const std::uint32_t normal = magnitude + (112U << 23);
  const std::uint32_t special = magnitude + (224U << 23);
  const float subnormal = std::bit_cast<float>(magnitude + (113U << 23)) - 0x1p-14F;
  const std::uint32_t finite = exponent == 0 ? std::bit_cast<std::uint32_t>(subnormal) : normal;
  return std::bit_cast<float>(sign | (exponent == 0x0F800000U ? special : finite));
}

/// The value of bfloat16 bits: the upper half of binary32. Exact.
constexpr float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// The bfloat16 bits nearest to `value`, ties to even; every not-a-number becomes 0x7FC0.
constexpr std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  return static_cast<std::uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? 0x7FC0U : rounded);
}

/// Numbers in a tensor: what its bytes hold.
inline Index value_count(const TensorView& tensor) {
  return static_cast<Index>(tensor.bytes.size() / size_of(tensor.type));
}

/// Whether the bytes can be used as an array of float in place: float32, at an address that a float may have.
inline bool is_aligned_float32(const TensorView& tensor) {
  return tensor.type == DataType::float32 &&
         reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(float) == 0;
}

/// Converts values `first ... first + count - 1` of the tensor to `out`. float64 to float rounds to nearest,
/// everything else is exact. The bytes may lie anywhere. O(count), one pass.
template <std::floating_point Scalar>
void read_values(const TensorView& tensor, Index first, Index count, Scalar* out) {
  require(first >= 0 && count >= 0 && first <= value_count(tensor) - count, tensor.name,
          "read_values beyond the end of the tensor");
  const std::byte* from = tensor.bytes.data() + static_cast<std::size_t>(first) * size_of(tensor.type);
  const auto convert = [&]<class Stored>(Stored, auto&& value_of) {
    if constexpr (std::is_same_v<Stored, Scalar>) {
      if (count > 0) std::memcpy(out, from, static_cast<std::size_t>(count) * sizeof(Scalar));
    } else {
      for (Index i = 0; i < count; ++i) {
        Stored stored;  // memcpy, not a cast: a header of any length may stand before the values
        std::memcpy(&stored, from + static_cast<std::size_t>(i) * sizeof(Stored), sizeof(Stored));
        out[i] = static_cast<Scalar>(value_of(stored));
      }
    }
  };
  const auto same = [](auto value) { return value; };
  switch (tensor.type) {
    case DataType::float64:
      return convert(double{}, same);
    case DataType::float32:
      return convert(float{}, same);
    case DataType::float16:
      return convert(std::uint16_t{}, [](std::uint16_t bits) { return float16_to_float(bits); });
    case DataType::bfloat16:
      return convert(std::uint16_t{}, [](std::uint16_t bits) { return bfloat16_to_float(bits); });
  }
}

/// All values of the tensor to `out`, which has room for `value_count(tensor)` numbers.
template <std::floating_point Scalar>
void read_values(const TensorView& tensor, Scalar* out) {
  read_values(tensor, 0, value_count(tensor), out);
}

/// Whether both hold the same numbers, whatever their types: in tensors of one shape. What is not a number
/// equals nothing. O(count), one pass up to the first difference.
inline bool equal_values(const TensorView& a, const TensorView& b) {
  if (value_count(a) != value_count(b)) return false;
  constexpr Index block = 16384;
  std::vector<double> left(static_cast<std::size_t>(std::min(block, value_count(a)))), right(left.size());
  for (Index first = 0; first < value_count(a); first += block) {
    const Index count = std::min(block, value_count(a) - first);
    read_values(a, first, count, left.data());
    read_values(b, first, count, right.data());
    if (!std::equal(left.begin(), left.begin() + count, right.begin())) return false;
  }
  return true;
}

}  // namespace eso
