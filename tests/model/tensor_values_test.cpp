// SPDX-License-Identifier: MIT
#include "eso/model/tensor_values.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

/// The value of binary16 bits by its definition: (-1)^s 2^(e - 15) (1 + f / 1024), or 2^-14 f / 1024 for e =
/// 0.
double half_by_definition(std::uint32_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits >> 10) & 31U);
  const double fraction = static_cast<double>(bits & 1023U) / 1024;
  if (exponent == 31) return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return exponent == 0 ? sign * std::ldexp(fraction, -14) : sign * std::ldexp(1 + fraction, exponent - 15);
}

template <class Stored>
eso::TensorView view_at(std::vector<std::byte>& storage, std::size_t offset,
                        const std::vector<Stored>& values, eso::DataType type) {
  storage.assign(offset + values.size() * sizeof(Stored), std::byte{0});
  std::memcpy(storage.data() + offset, values.data(), values.size() * sizeof(Stored));
  return {"x", type, {static_cast<eso::Index>(values.size())}, std::span(storage).subspan(offset), nullptr};
}

}  // namespace

TEST_CASE("every float16 has the value of its definition", "[tensor_values]") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = eso::float16_to_float(static_cast<std::uint16_t>(bits));
    const double expected = half_by_definition(bits);
    if (std::isnan(expected)) {
      CHECK(std::isnan(value));
    } else if (static_cast<double>(value) != expected || std::signbit(value) != ((bits & 0x8000U) != 0)) {
      FAIL("float16 " << bits << " is " << value << ", not " << expected);
    }
  }
}

TEST_CASE("bfloat16 is the upper half of float32 and comes back from it", "[tensor_values]") {
  CHECK(eso::bfloat16_to_float(0x3FC0) == 1.5F);  // 0 01111111 1000000: 2^0 * 1.5
  CHECK(eso::bfloat16_to_float(0xC000) == -2.0F);
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = eso::bfloat16_to_float(static_cast<std::uint16_t>(bits));
    const std::uint16_t back = eso::float_to_bfloat16(value);
    if (std::isnan(value) ? back != 0x7FC0 : back != bits)
      FAIL("bfloat16 " << bits << " comes back as " << back);
  }
}

TEST_CASE("float32 rounds to bfloat16 as by hand: nearest, ties to even", "[tensor_values]") {
  const auto rounded = [](std::uint32_t bits) { return eso::float_to_bfloat16(std::bit_cast<float>(bits)); };
  CHECK(rounded(0x3F808000) == 0x3F80);  // halfway between 0x3F80 and 0x3F81: the even one
  CHECK(rounded(0x3F818000) == 0x3F82);
  CHECK(rounded(0x3F808001) == 0x3F81);
  CHECK(rounded(0x3F807FFF) == 0x3F80);
  CHECK(rounded(0x7F7FFFFF) == 0x7F80);  // the largest float is nearer to infinity
}

TEST_CASE("float32 rounds to bfloat16 as torch does", "[tensor_values]") {
  const auto golden =
      nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/safetensors.json"))["rounding"];
  REQUIRE(golden["float32"].size() == 524);
  for (std::size_t i = 0; i < golden["float32"].size(); ++i) {
    const auto bits = golden["float32"][i].get<std::uint32_t>();
    INFO("float32 " << bits);
    const auto expected = golden["bfloat16"][i].get<std::uint16_t>();
    const std::uint16_t found = eso::float_to_bfloat16(std::bit_cast<float>(bits));
    // torch has several not-a-numbers; which one comes out depends on its build.
    CHECK((std::isnan(eso::bfloat16_to_float(expected)) ? found == 0x7FC0 : found == expected));
  }
}

TEST_CASE("values are read exactly at every offset in memory", "[tensor_values]") {
  std::vector<std::byte> storage;
  for (std::size_t offset = 0; offset < 9; ++offset) {
    std::vector<float> floats(3);
    std::vector<double> doubles(3);
    const auto single = view_at<float>(storage, offset, {0.1F, -0.0F, 1e-45F}, eso::DataType::float32);
    CHECK(eso::value_count(single) == 3);
    const bool aligned = reinterpret_cast<std::uintptr_t>(single.bytes.data()) % 4 == 0;
    CHECK(eso::is_aligned_float32(single) == aligned);
    eso::read_values(single, floats.data());
    eso::read_values(single, doubles.data());
    CHECK(floats == std::vector<float>{0.1F, -0.0F, 1e-45F});
    CHECK(std::signbit(floats[1]));
    CHECK(doubles == std::vector<double>{static_cast<double>(0.1F), -0.0, static_cast<double>(1e-45F)});

    const auto wide = view_at<double>(storage, offset, {0.1, 1e300, -3}, eso::DataType::float64);
    CHECK_FALSE(eso::is_aligned_float32(wide));
    eso::read_values(wide, doubles.data());
    eso::read_values(wide, floats.data());
    CHECK(doubles == std::vector<double>{0.1, 1e300, -3});
    CHECK(floats == std::vector<float>{0.1F, std::numeric_limits<float>::infinity(), -3});

    const auto half =
        view_at<std::uint16_t>(storage, offset, {0x3C00, 0xC000, 0x0001}, eso::DataType::float16);
    eso::read_values(half, floats.data());
    CHECK(floats == std::vector<float>{1, -2, 0x1p-24F});

    const auto brain =
        view_at<std::uint16_t>(storage, offset, {0x3F80, 0xC000, 0x7F80}, eso::DataType::bfloat16);
    eso::read_values(brain, 1, 2, doubles.data());
    CHECK(doubles == std::vector<double>{-2, std::numeric_limits<double>::infinity(), -3});
  }
}

TEST_CASE("reading beyond the end of a tensor is an error", "[tensor_values]") {
  std::vector<std::byte> storage;
  std::vector<float> out(10);
  const auto view = view_at<float>(storage, 0, {1, 2, 3}, eso::DataType::float32);
  CHECK_THROWS_AS(eso::read_values(view, 0, 4, out.data()), eso::Error);
  CHECK_THROWS_AS(eso::read_values(view, 3, 1, out.data()), eso::Error);
  CHECK_THROWS_AS(eso::read_values(view, -1, 1, out.data()), eso::Error);
  CHECK_THROWS_AS(eso::read_values(view, 0, -1, out.data()), eso::Error);
  CHECK_NOTHROW(eso::read_values(view, 3, 0, out.data()));
}
