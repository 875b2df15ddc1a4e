// SPDX-License-Identifier: MIT
#include "eso/model/safetensors_writer.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/model/safetensors.hpp"

namespace {

template <class Scalar>
eso::TensorView view(std::string name, std::vector<eso::Index> shape, const std::vector<Scalar>& values) {
  return {std::move(name), eso::data_type_of<Scalar>, std::move(shape), std::as_bytes(std::span(values)),
          nullptr};
}

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

}  // namespace

TEST_CASE("a file has the bytes that follow from the format", "[safetensors_writer]") {
  const TemporaryFolder folder;
  const std::vector<float> values{1.5F};  // 3FC00000
  eso::write_safetensors(folder / "x", std::vector{view("a", {1}, values)});
  // 54 bytes of JSON and two spaces are 56, a multiple of 8.
  const std::string expected = std::string("\x38\0\0\0\0\0\0\0", 8) +
                               R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  )" +
                               std::string("\x00\x00\xC0\x3F", 4);
  CHECK(read_file(folder / "x") == expected);
  eso::write_safetensors(folder / "empty", {});
  CHECK(read_file(folder / "empty") == std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
}

TEST_CASE("what the safetensors library wrote is written again byte for byte", "[safetensors_writer]") {
  const TemporaryFolder folder;
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/safetensors.json"));
  int compared = 0;
  for (const auto& written : golden["written"]) {
    if (!written["ignored"].empty()) continue;
    INFO(written["name"].get<std::string>());
    const std::string text = written["bytes"];
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); i += 2)
      bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    write_file(folder / "theirs", bytes);
    const auto theirs = eso::Safetensors::open(folder / "theirs");
    const auto digest = eso::write_safetensors(folder / "ours", theirs.tensors(), theirs.metadata());
    CHECK(hex(read_file(folder / "ours")) == text);
    CHECK(digest.size == bytes.size());
    ++compared;
  }
  CHECK(compared == 3);
}

TEST_CASE("what is written is read back: names, shapes, types and values", "[safetensors_writer]") {
  const TemporaryFolder folder;
  std::mt19937_64 random(5);
  std::vector<float> floats(70'000);
  for (float& value : floats) value = static_cast<float>(random()) * 1e-10F;
  const std::vector<double> doubles{0.1, -0.0, std::numeric_limits<double>::infinity()};
  const std::vector<float> none;
  const std::string odd = "quote\" back\\slash\nline \xC3\xA9";
  const std::vector<float> single{3};
  const std::vector tensors{view("z", {700, 100}, floats), view(odd, {3}, doubles),
                            view("none", {0, 4}, none), view("scalar", {}, single)};
  eso::write_safetensors(folder / "x", tensors, {{"format", "pt"}, {"note", "a\"b"}});
  const auto file = eso::Safetensors::open(folder / "x");
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "a\"b"}});
  REQUIRE(file.tensors().size() == 4);
  CHECK(file.tensors()[0].name == "z");
  for (const eso::TensorView& tensor : tensors) {
    const auto found = file.find(tensor.name);
    REQUIRE(found);
    CHECK(found->shape == tensor.shape);
    CHECK(found->type == tensor.type);
    CHECK(std::equal(found->bytes.begin(), found->bytes.end(), tensor.bytes.begin(), tensor.bytes.end()));
  }
  CHECK(eso::is_aligned_float32(*file.find("z")));
}

TEST_CASE("values are stored in another type on request", "[safetensors_writer]") {
  const TemporaryFolder folder;
  std::vector<float> floats(40'001);
  for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = 1 + static_cast<float>(i) * 0x1p-16F;
  const std::vector tensors{view("a", {40'001}, floats)};
  eso::write_safetensors(folder / "b", tensors, {}, eso::DataType::bfloat16);
  const auto tensor = eso::Safetensors::open(folder / "b").find("a");
  REQUIRE(tensor);
  CHECK(tensor->type == eso::DataType::bfloat16);
  std::vector<float> read(floats.size());
  eso::read_values(*tensor, read.data());
  for (std::size_t i = 0; i < floats.size(); i += 13) {
    // bfloat16 has 8 significant bits: in [1, 2) steps of 2^-7, so the nearest is at most 2^-8 away.
    CHECK(std::abs(read[i] - floats[i]) <= 0x1p-8F);
    CHECK(std::fmod(read[i], 0x1p-7F) == 0);
  }
  eso::write_safetensors(folder / "d", tensors, {}, eso::DataType::float64);
  std::vector<double> doubles(floats.size());
  eso::read_values(*eso::Safetensors::open(folder / "d").find("a"), doubles.data());
  CHECK(std::equal(doubles.begin(), doubles.end(), floats.begin()));
  const std::vector<double> tenth{0.1};
  eso::write_safetensors(folder / "f", std::vector{view("a", {1}, tenth)}, {}, eso::DataType::float32);
  float value = 0;
  eso::read_values(*eso::Safetensors::open(folder / "f").find("a"), &value);
  CHECK(value == 0.1F);
}

TEST_CASE("tensors that make no file are refused and change nothing", "[safetensors_writer]") {
  const TemporaryFolder folder;
  write_file(folder / "x", "before");
  const std::vector<float> values{1, 2};
  const std::vector<double> doubles{1, 2};
  const auto error = [&](const std::vector<eso::TensorView>& tensors, std::optional<eso::DataType> type = {},
                         const std::map<std::string, std::string>& metadata = {}) {
    const std::string text = error_of([&] { eso::write_safetensors(folder / "x", tensors, metadata, type); });
    CHECK(read_file(folder / "x") == "before");
    CHECK(folder.names() == std::set<std::string>{"x"});
    return text;
  };
  CHECK_THAT(error({view("a", {3}, values)}),
             Catch::Contains("a: bytes do not fit the shape, found 8 bytes"));
  CHECK_THAT(error({view("a", {-2}, values)}), Catch::Contains("impossible shape"));
  CHECK_THAT(error({view("a", {eso::Index{1} << 62, 8}, values)}), Catch::Contains("impossible shape"));
  CHECK_THAT(error({view("a", {2}, values), view("a", {2}, values)}),
             Catch::Contains("two tensors of this name"));
  CHECK_THAT(error({view("__metadata__", {2}, values)}), Catch::Contains("cannot be called"));
  CHECK_THAT(error({view("\xFF", {2}, values)}), Catch::Contains("UTF-8"));
  CHECK_THAT(error({view("a", {2}, values)}, {}, {{"k", "\xFF"}}), Catch::Contains("UTF-8"));
  CHECK_THAT(error({view("a", {2}, values)}, eso::DataType::float16),
             Catch::Contains("found F32, expected F16"));
  CHECK_THAT(error({view("a", {2}, doubles)}, eso::DataType::bfloat16),
             Catch::Contains("found F64, expected BF16"));
}
