// SPDX-License-Identifier: MIT
#include "eso/model/safetensors.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"

namespace {

/// The 8 bytes of length, the header and `size` bytes of values.
std::string file_of(std::string_view header, std::size_t size, std::uint64_t length) {
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (std::size_t i = 0; i < size; ++i) file += static_cast<char>(i);
  return file;
}
std::string file_of(std::string_view header, std::size_t size) {
  return file_of(header, size, header.size());
}

/// A file with one tensor `a`.
std::string one(std::string_view type, std::string_view shape, std::string_view offsets, std::size_t size) {
  return file_of(
      fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":{}}}}})", type, shape, offsets), size);
}

/// A file with tensors `a`, `b`, ... of bytes at these offsets.
std::string bytes_at(const std::vector<std::pair<int, int>>& places, std::size_t size) {
  std::string header = "{";
  char name = 'a';
  for (const auto& place : places) {
    header +=
        fmt::format(R"({}"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name == 'a' ? "" : ",",
                    name, place.second - place.first, place.first, place.second);
    ++name;
  }
  return file_of(header + "}", size);
}

std::string repeated(std::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

struct Crafted {
  std::string name;
  std::string file;
  std::string says;  ///< part of the error; empty: the file is good
};

const std::string good = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

std::vector<Crafted> files_of_wrong_length() {
  return {
      {"nothing", "", "too short"},
      {"seven bytes", std::string(7, '\0'), "too short"},
      {"length 0", file_of("", 0), "does not begin with {"},
      {"length 0 with values", file_of("", 4), "does not begin with {"},
      {"length 1", file_of("{", 0), "not valid JSON"},
      {"length 100,000,001", file_of(good, 4, 100'000'001), "too long"},
      {"length 2^63", file_of(good, 4, std::uint64_t{1} << 63), "too long"},
      {"length 2^64 - 1", file_of(good, 4, ~std::uint64_t{0}), "too long"},
      {"length 2^64 - 8", file_of(good, 4, ~std::uint64_t{0} - 7), "too long"},
      {"length beyond the file", file_of(good, 4, good.size() + 5), "ends inside its header"},
      {"length 100,000,000", file_of(good, 4, 100'000'000), "ends inside its header"},
      {"length that takes in the values", file_of(good, 4, good.size() + 4), "zero byte"},
      {"length one short", file_of(good, 4, good.size() - 1), "not valid JSON"},
  };
}

std::vector<Crafted> files_of_wrong_text() {
  return {
      {"an array", file_of("[]", 0), "does not begin with {"},
      {"a byte order mark", file_of("\xEF\xBB\xBF" + good, 4), "does not begin with {"},
      {"a leading space", file_of(" " + good, 4), "does not begin with {"},
      {"a leading line break", file_of("\n" + good, 4), "does not begin with {"},
      {"spaces at the end", file_of(good + "     ", 4), ""},
      {"a zero byte at the end", file_of(good + std::string(1, '\0'), 4), "zero byte"},
      {"text after a zero byte", file_of(good + std::string("\0}{", 3), 4), "zero byte"},
      {"text at the end", file_of(good + "x", 4), "not valid JSON"},
      {"a second object", file_of(good + "{}", 4), "not valid JSON"},
      {"a name that is not UTF-8", file_of("{\"\xFF\":1}", 0), "not valid JSON"},
      {"an overlong UTF-8 name", file_of("{\"\xC0\xAF\":1}", 0), "not valid JSON"},
      {"a lone surrogate", file_of(R"({"\ud800":1})", 0), "not valid JSON"},
      {"a comma at the end", file_of(good.substr(0, good.size() - 1) + ",}", 4), "not valid JSON"},
      {"a comment", file_of("{/**/}", 0), "not valid JSON"},
      {"single quotes", file_of("{'a':1}", 0), "not valid JSON"},
      {"a depth bomb", file_of(R"({"a":)" + std::string(1'000'000, '['), 0), "wrong form"},
      {"a depth bomb in an unknown field", file_of(R"({"a":{"x":)" + std::string(1'000'000, '['), 0),
       "too deeply"},
      {"a depth bomb of objects", file_of(R"({"a":{"x":)" + repeated(R"({"y":)", 100'000), 0), "too deeply"},
      {"an unknown field",
       file_of(R"({"a":{"dtype":"F32","x":{"dtype":[1,{}]},"shape":[0],"data_offsets":[0,0]}})", 0), ""},
      {"an empty object", file_of("{}", 0), ""},
      {"an empty object with values", file_of("{}", 1), "do not cover"},
  };
}

std::vector<Crafted> files_of_wrong_form() {
  return {
      {"the same name twice",
       file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
               R"("a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
               0),
       "tensor a: stands twice"},
      {"the same name twice, spelled otherwise",
       file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
               R"("\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
               0),
       "stands twice"},
      {"dtype twice", file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
       "dtype of tensor a stands twice"},
      {"shape twice", file_of(R"({"a":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}})", 0),
       "stands twice"},
      {"offsets twice",
       file_of(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"data_offsets":[0,0]}})", 0),
       "stands twice"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "stands twice"},
      {"a metadata key twice", file_of(R"({"__metadata__":{"k":"a","k":"b"}})", 0),
       "metadata key k stands twice"},
      {"metadata", file_of(R"({"__metadata__":{"k":"v"}})", 0), ""},
      {"metadata with a number", file_of(R"({"__metadata__":{"k":1}})", 0), "strings as metadata"},
      {"metadata with null", file_of(R"({"__metadata__":{"k":null}})", 0), "strings as metadata"},
      {"metadata with an object", file_of(R"({"__metadata__":{"k":{}}})", 0), "strings as metadata"},
      {"metadata that is an array", file_of(R"({"__metadata__":[]})", 0), "wrong form"},
      {"metadata that is a string", file_of(R"({"__metadata__":"x"})", 0), "wrong form"},
      {"a tensor that is a number", file_of(R"({"a":1})", 0), "tensor a: the header has the wrong form"},
      {"a tensor that is null", file_of(R"({"a":null})", 0), "wrong form"},
      {"a tensor that is an array", file_of(R"({"a":[]})", 0), "wrong form"},
      {"no dtype", file_of(R"({"a":{"shape":[0],"data_offsets":[0,0]}})", 0),
       "tensor a: the header gives no dtype"},
      {"no shape", file_of(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0), "no shape"},
      {"no offsets", file_of(R"({"a":{"dtype":"U8","shape":[0]}})", 0), "no data_offsets"},
      {"dtype that is a number", file_of(R"({"a":{"dtype":1,"shape":[0],"data_offsets":[0,0]}})", 0),
       "wrong form"},
      {"an unknown dtype", one("F31", "[1]", "[0,4]", 4), "unknown dtype, found F31"},
      {"a dtype in small letters", one("f32", "[1]", "[0,4]", 4), "unknown dtype"},
      {"an empty dtype", one("", "[1]", "[0,4]", 4), "unknown dtype"},
  };
}

std::vector<Crafted> files_of_wrong_shape() {
  return {
      {"no dimension", one("F32", "[]", "[0,4]", 4), ""},
      {"a dimension of 0", one("F32", "[3,0,5]", "[0,0]", 0), ""},
      {"a negative dimension", one("F32", "[-1]", "[0,4]", 4), "found a negative number"},
      {"minus zero", one("F32", "[-0]", "[0,0]", 0), "found a negative number"},
      {"1.0", one("F32", "[1.0]", "[0,4]", 4), "not a plain integer"},
      {"1e3", one("F32", "[1e3]", "[0,4000]", 4000), "not a plain integer"},
      {"a string", one("F32", R"(["1"])", "[0,4]", 4), "wrong form"},
      {"true", one("F32", "[true]", "[0,4]", 4), "found a boolean"},
      {"null", one("F32", "null", "[0,4]", 4), "found null"},
      {"a nested array", one("F32", "[[1]]", "[0,4]", 4), "found an array"},
      {"an object", one("F32", "[{}]", "[0,4]", 4), "found an object"},
      {"2^63", one("F32", "[9223372036854775808]", "[0,4]", 4), "too large"},
      {"2^64", one("F32", "[18446744073709551616]", "[0,4]", 4), "not a plain integer"},
      {"a product of 2^64", one("F32", "[4294967296,4294967296]", "[0,0]", 0), "too large"},
      {"bytes of 2^64", one("F64", "[2305843009213693952]", "[0,0]", 0), "too large"},
      {"bits of 2^64", one("F32", "[576460752303423488]", "[0,0]", 0), "too large"},
      {"0 after an overflow", one("F32", "[4294967296,4294967296,0]", "[0,0]", 0), "too large"},
      {"a petabyte", one("F32", "[250000000000000]", "[0,1000000000000000]", 4), "outside the file"},
      {"half a byte", one("F4", "[1]", "[0,1]", 1), "whole bytes"},
      {"two halves of a byte", one("F4", "[2]", "[0,1]", 1), ""},
      {"four numbers of six bits", one("F6_E2M3", "[4]", "[0,3]", 3), ""},
  };
}

std::vector<Crafted> files_of_wrong_places() {
  return {
      {"no values", one("F32", "[1]", "[0,4]", 0), "outside the file"},
      {"a byte short", one("F32", "[1]", "[0,4]", 3), "outside the file"},
      {"a byte more", one("F32", "[1]", "[0,4]", 5), "do not cover the file"},
      {"end before begin", one("F32", "[1]", "[4,0]", 4), "end before they begin"},
      {"begin past the end", one("F32", "[0]", "[5,5]", 4), "outside the file"},
      {"end of 2^64 - 1", one("F32", "[1]", "[0,18446744073709551615]", 4), "outside the file"},
      {"a negative offset", one("F32", "[1]", "[-4,0]", 4), "negative number"},
      {"no offset", one("F32", "[1]", "[]", 4), "begin and end"},
      {"one offset", one("F32", "[1]", "[0]", 4), "begin and end"},
      {"three offsets", one("F32", "[1]", "[0,4,4]", 4), "begin and end"},
      {"fewer bytes than the shape", one("F32", "[2]", "[0,4]", 4),
       "tensor a: shape and data_offsets disagree, found 4 bytes, expected 8 bytes"},
      {"more bytes than the shape", one("F16", "[1]", "[0,4]", 4), "disagree"},
      {"a hole at the start", bytes_at({{1, 2}}, 2), "tensor a: leaves a hole"},
      {"a hole between", bytes_at({{0, 1}, {2, 3}}, 3), "tensor b: leaves a hole"},
      {"a hole at the end", bytes_at({{0, 1}}, 2), "do not cover"},
      {"an overlap", bytes_at({{0, 2}, {1, 3}}, 3), "tensor b: overlaps"},
      {"the same place twice", bytes_at({{0, 2}, {0, 2}}, 2), "tensor b: overlaps"},
      {"one inside the other", bytes_at({{0, 4}, {1, 2}}, 4), "tensor b: overlaps"},
      {"an order other than the bytes'", bytes_at({{2, 3}, {0, 2}}, 3), ""},
      {"empty ones between", bytes_at({{0, 0}, {0, 2}, {2, 2}, {2, 3}, {3, 3}}, 3), ""},
      {"an empty one inside another", bytes_at({{0, 4}, {2, 2}}, 4), "overlaps"},
  };
}

std::vector<Crafted> crafted_files() {
  std::vector<Crafted> all;
  for (const auto& files : {files_of_wrong_length(), files_of_wrong_text(), files_of_wrong_form(),
                            files_of_wrong_shape(), files_of_wrong_places()}) {
    all.insert(all.end(), files.begin(), files.end());
  }
  return all;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2)
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  return bytes;
}

nlohmann::json golden() {
  return nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/safetensors.json"));
}

eso::SafetensorsContent parse(const std::string& file) {
  return eso::read_safetensors_header(std::as_bytes(std::span(file)), "PATH");
}

}  // namespace

TEST_CASE("crafted files are refused with the path and the reason, good ones accepted", "[safetensors]") {
  const TemporaryFolder folder;
  const auto files = crafted_files();
  REQUIRE(files.size() >= 60);
  for (const Crafted& crafted : files) {
    INFO(crafted.name);
    const auto path = folder / "model.safetensors";
    write_file(path, crafted.file);
    const std::string error = error_of([&] { eso::Safetensors::open(path); });
    CHECK(error.empty() == crafted.says.empty());
    if (!crafted.says.empty()) {
      CHECK_THAT(error, Catch::StartsWith(path.string() + ": ") && Catch::Contains(crafted.says));
      CHECK(error.size() < 600);
    }
  }
}

TEST_CASE("the verdict is that of the safetensors library but where it takes the last of two names",
          "[safetensors]") {
  const auto cases = golden()["crafted"];
  REQUIRE(cases.size() >= 50);
  for (const auto& crafted : cases) {
    INFO(crafted["name"].get<std::string>());
    const std::string file = from_hex(crafted["bytes"]);
    CHECK(error_of([&] { parse(file); }).empty() == crafted["accepted"].get<bool>());
  }
}

TEST_CASE("files of the safetensors library are read back", "[safetensors]") {
  const TemporaryFolder folder;
  const nlohmann::json all = golden();
  for (const auto& written : all["written"]) {
    INFO(written["name"].get<std::string>());
    write_file(folder / "x", from_hex(written["bytes"]));
    const auto file = eso::Safetensors::open(folder / "x");
    CHECK(file.metadata() == written["metadata"].get<std::map<std::string, std::string>>());
    CHECK(file.tensors().size() == written["tensors"].size());
    CHECK(file.ignored().size() == written["ignored"].size());
    for (const auto& entry : written["tensors"].items()) {
      const auto tensor = file.find(entry.key());
      REQUIRE(tensor);
      CHECK(tensor->shape == entry.value()["shape"].get<std::vector<eso::Index>>());
      std::vector<double> values(static_cast<std::size_t>(eso::value_count(*tensor)));
      eso::read_values(*tensor, values.data());
      REQUIRE(values.size() == entry.value()["values"].size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double expected = std::stod(entry.value()["values"][i].get<std::string>());
        CHECK((values[i] == expected || (std::isnan(values[i]) && std::isnan(expected))));
      }
    }
  }
}

TEST_CASE("a tensor that holds no weights is listed, and asking for it says what it is", "[safetensors]") {
  const TemporaryFolder folder;
  write_file(folder / "x", one("I64", "[1]", "[0,8]", 8));
  const auto file = eso::Safetensors::open(folder / "x");
  CHECK(file.tensors().empty());
  REQUIRE(file.ignored().size() == 1);
  CHECK(file.ignored()[0].name == "a");
  CHECK(file.ignored()[0].type == "I64");
  CHECK(file.ignored()[0].shape == std::vector<eso::Index>{1});
  CHECK_THAT(error_of([&] { file.find("a"); }),
             Catch::Contains("tensor a: holds no weights, found dtype I64"));
  CHECK_FALSE(file.find("b"));
}

TEST_CASE("values at an odd address are read", "[safetensors]") {
  const TemporaryFolder folder;
  // The header of 54 bytes and its length put the values at 62 + n: every remainder of 4 occurs.
  for (int spaces = 0; spaces < 4; ++spaces) {
    std::string content = file_of(good + std::string(static_cast<std::size_t>(spaces), ' '), 0);
    content += std::string("\x00\x00\xC0\x3F", 4);  // 1.5
    write_file(folder / "x", content);
    const auto tensor = eso::Safetensors::open(folder / "x").find("a");
    REQUIRE(tensor);
    float value = 0;
    eso::read_values(*tensor, &value);
    CHECK(value == 1.5F);
    CHECK(eso::is_aligned_float32(*tensor) == ((good.size() + static_cast<std::size_t>(spaces)) % 4 == 0));
  }
}

TEST_CASE("writing to the mapping changes the values, never the file", "[safetensors]") {
  const TemporaryFolder folder;
  write_file(folder / "x", file_of(good + "  ", 4));
  const std::string before = read_file(folder / "x");
  const auto file = eso::Safetensors::open(folder / "x");
  const auto tensor = file.find("a");
  REQUIRE(tensor);
  const float changed = 42;
  std::memcpy(file.writable(*tensor).data(), &changed, 4);
  float value = 0;
  eso::read_values(*file.find("a"), &value);
  CHECK(value == 42);
  CHECK(read_file(folder / "x") == before);
  float again = 0;
  eso::read_values(*eso::Safetensors::open(folder / "x").find("a"), &again);
  CHECK(again != 42);
  eso::TensorView foreign = *tensor;
  foreign.bytes = std::as_bytes(std::span(&changed, 1));
  CHECK_THROWS_AS(file.writable(foreign), eso::Error);
}

TEST_CASE("a view of find outlives the file object and the file", "[safetensors]") {
  const TemporaryFolder folder;
  write_file(folder / "x", file_of(good, 4));
  const auto tensor = eso::Safetensors::open(folder / "x").find("a");
  std::filesystem::remove(folder / "x");
  REQUIRE(tensor);
  CHECK(tensor->bytes[3] == std::byte{3});
}

TEST_CASE("what is no regular file is refused", "[safetensors]") {
  const TemporaryFolder folder;
  CHECK_THAT(error_of([&] { eso::Safetensors::open(folder / "none"); }),
             Catch::Contains("none: no such file"));
  CHECK_THAT(error_of([&] { eso::Safetensors::open(folder.path()); }), Catch::Contains("not a regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(error_of([&] { eso::Safetensors::open(folder / "pipe"); }),
             Catch::Contains("not a regular file"));
  CHECK_THAT(error_of([&] { eso::Safetensors::open("/dev/zero"); }), Catch::Contains("not a regular file"));
}

TEST_CASE("every truncation and every flipped bit of a small file gives a file or an error",
          "[safetensors]") {
  const std::string file = from_hex(golden()["written"][0]["bytes"]);
  for (std::size_t length = 0; length < file.size(); ++length) {
    CHECK_FALSE(error_of([&] { parse(file.substr(0, length)); }).empty());
  }
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    error_of([&] {
      for (const auto& tensor : parse(flipped).tensors) {  // what is accepted can be read
        std::vector<float> values(static_cast<std::size_t>(eso::value_count(tensor)));
        eso::read_values(tensor, values.data());
      }
    });
  }
}

TEST_CASE("ten thousand tensors are found by name", "[safetensors]") {
  const TemporaryFolder folder;
  std::string header = "{";
  for (int i = 0; i < 10'000; ++i) {
    header += fmt::format(R"({}"t{}":{{"dtype":"F16","shape":[1],"data_offsets":[{},{}]}})",
                          i == 0 ? "" : ",", i, 2 * i, 2 * i + 2);
  }
  write_file(folder / "x", file_of(header + "}", 20'000));
  const auto file = eso::Safetensors::open(folder / "x");
  CHECK(file.tensors().size() == 10'000);
  for (int i = 0; i < 10'000; i += 7) {
    const auto tensor = file.lookup()(fmt::format("t{}", i));
    REQUIRE(tensor);
    CHECK(tensor->bytes[0] == static_cast<std::byte>(2 * i));
  }
}
