// SPDX-License-Identifier: MIT
#include "eso/model/weight_files.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/model/safetensors_writer.hpp"

namespace {

const std::vector<float> numbers{1, 2, 3, 4};

/// A safetensors file with these tensors, each with one number: 1, 2, ...
void write_shard(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<eso::TensorView> tensors;
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors.push_back(
        {names[i], eso::DataType::float32, {1}, std::as_bytes(std::span(numbers).subspan(i, 1)), nullptr});
  }
  eso::write_safetensors(path, tensors);
}

const std::string index_name = "model.safetensors.index.json";

std::string open_error(const std::filesystem::path& folder) {
  return error_of([&] { eso::WeightFiles::open(folder); });
}

float value_of(const eso::WeightFiles& files, std::string_view name) {
  const auto tensor = files.find(name);
  REQUIRE(tensor);
  float value = 0;
  eso::read_values(*tensor, &value);
  return value;
}

}  // namespace

TEST_CASE("a folder with one file", "[weight_files]") {
  const TemporaryFolder folder;
  write_shard(folder / "model.safetensors", {"b", "a"});
  write_file(folder / "pytorch_model.bin", "");
  const auto files = eso::WeightFiles::open(folder.path());
  CHECK(files.names() == std::vector<std::string>{"a", "b"});
  CHECK(value_of(files, "b") == 1);
  CHECK(value_of(files, "a") == 2);
  CHECK_FALSE(files.find("c"));
  CHECK_FALSE(files.lookup()("c"));
  CHECK(files.lookup()("a"));
  CHECK(files.place_of("a") == (folder / "model.safetensors").string() + ": tensor a");
  CHECK(files.place_of("c") == (folder / "model.safetensors").string() + ": tensor c");
  const float changed = 7;
  std::memcpy(files.writable(*files.find("a")).data(), &changed, 4);
  CHECK(value_of(files, "a") == 7);
  CHECK(value_of(eso::WeightFiles::open(folder.path()), "a") == 2);
}

TEST_CASE("a folder with shards gives what the shards hold, whatever the index says of it",
          "[weight_files]") {
  const TemporaryFolder folder;
  write_shard(folder / "model-1.safetensors", {"a", "b"});
  write_shard(folder / "model-2.safetensors", {"b", "c", "extra"});
  for (const std::string map :
       {R"("a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors")",
        R"("a":"model-2.safetensors","c":"model-1.safetensors","nobody":"model-1.safetensors")",
        R"("a":"./model-1.safetensors","b":"./model-1.safetensors","c":"./model-2.safetensors")"}) {
    INFO(map);
    write_file(folder / index_name, R"({"metadata":{"total_size":12},"weight_map":{)" + map + "}}");
    const auto files = eso::WeightFiles::open(folder.path());
    CHECK(files.names() == std::vector<std::string>{"a", "b", "c", "extra"});
    CHECK(files.files().size() == 2);
    CHECK(value_of(files, "a") == 1);
    CHECK(value_of(files, "b") == 1);  // in both: of the last shard, as transformers has it
    CHECK(value_of(files, "c") == 2);
    CHECK_FALSE(files.find("nobody"));
    CHECK(files.place_of("c") == (folder / "model-2.safetensors").string() + ": tensor c");
  }
}

TEST_CASE("shards may lie in a folder below", "[weight_files]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  write_shard(folder / "sub" / "1.safetensors", {"a"});
  write_file(folder / index_name, R"({"weight_map":{"a":"sub/1.safetensors"}})");
  CHECK(eso::WeightFiles::open(folder.path()).names() == std::vector<std::string>{"a"});
}

TEST_CASE("one file is preferred to an index", "[weight_files]") {
  const TemporaryFolder folder;
  write_shard(folder / "model.safetensors", {"a"});
  write_file(folder / index_name, "not JSON");
  CHECK(eso::WeightFiles::open(folder.path()).names() == std::vector<std::string>{"a"});
}

TEST_CASE("shards that are not there or lie about their content are named", "[weight_files]") {
  const TemporaryFolder folder;
  write_shard(folder / "1.safetensors", {"a"});
  const auto error = [&](std::string_view index) {
    write_file(folder / index_name, index);
    return open_error(folder.path());
  };
  CHECK_THAT(error(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})"),
             Catch::Equals((folder / "2.safetensors").string() +
                           ": is missing, named by model.safetensors.index.json"));
  for (const char* name : {"../1.safetensors", "/etc/passwd", "sub/../../1.safetensors", "..", ".", "./",
                           "sub/", "", "a\\\\b", "x\\u0000y"}) {
    INFO(name);
    CHECK_THAT(error(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name)),
               Catch::Contains("the shard of a is not a file of this folder"));
  }
  CHECK_THAT(error(R"({"weight_map":{"a":1}})"), Catch::Contains("the shard of a is not a string"));
  CHECK_THAT(error(R"({"weight_map":[]})"), Catch::Contains("has no weight_map"));
  CHECK_THAT(error(R"({"weight_map":{}})"), Catch::Contains("empty weight_map"));
  CHECK_THAT(error("{}"), Catch::Contains("has no weight_map"));
  CHECK_THAT(error("[]"), Catch::Contains("has no weight_map"));
  CHECK_THAT(error(""), Catch::Contains(":1: is not JSON"));
  CHECK_THAT(error("{"), Catch::Contains(":1: is not JSON"));
  CHECK_THAT(error(std::string_view("{\"weight_map\":{\"a\":\"1.safetensors\"}}\0x", 39)),
             Catch::EndsWith("a NUL at byte 37"));
  CHECK_THAT(error(std::string(1'000'000, '[')), Catch::Contains("nested too deep"));
  write_file(folder / "1.safetensors", "junk");
  CHECK_THAT(error(R"({"weight_map":{"a":"1.safetensors"}})"), Catch::Contains("1.safetensors: too short"));
}

TEST_CASE("a folder without safetensors says what it needs", "[weight_files]") {
  const TemporaryFolder folder;
  CHECK_THAT(open_error(folder / "none"), Catch::EndsWith("none: no such folder"));
  CHECK_THAT(open_error(folder.path()), Catch::Contains("has no weights, expected model.safetensors"));
  write_file(folder / "pytorch_model.bin", "");
  CHECK_THAT(open_error(folder.path()),
             Catch::Contains("weights must be safetensors, found pytorch_model.bin"));
  write_file(folder / "file", "");
  CHECK_THAT(open_error(folder / "file"), Catch::Contains("no such folder"));
}

TEST_CASE("tensors of other types are known and not among the weights", "[weight_files]") {
  const TemporaryFolder folder;
  std::string header = R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})";
  const auto length = static_cast<char>(header.size());
  write_file(folder / "model.safetensors", std::string(1, length) + std::string(7, '\0') + header + "\1");
  CHECK(eso::WeightFiles::open(folder.path()).names().empty());
  write_shard(folder / "2.safetensors", {"b"});
  std::filesystem::rename(folder / "model.safetensors", folder / "1.safetensors");
  write_file(folder / index_name, R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})");
  const auto files = eso::WeightFiles::open(folder.path());
  CHECK(files.names() == std::vector<std::string>{"b"});
  CHECK_THAT(error_of([&] { files.find("a"); }), Catch::Contains("holds no weights, found dtype BOOL"));
}
