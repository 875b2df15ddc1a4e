// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "eso/text/byte_level_bpe.hpp"

// Folders of tokenizer files for the tests.

namespace tokenizer_test {

using eso::ByteLevelBpe;
using eso::TokenId;
using nlohmann::json;

/// A new empty folder that goes away with it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "eso-tokenizer-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }

  Folder& write(const std::string& name, const std::string& content) {
    std::ofstream(path / name, std::ios::binary) << content;
    return *this;
  }

  std::filesystem::path path;
};

inline std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(ESO_TEST_DIR) / "golden" / ("tokenizer_" + name);
}

/// a 0, b 1, c 2, space 3, bc 4, ab 5, " a" 6; b c before a b before space a.
inline const char* const vocabulary =
    R"({"a": 0, "b": 1, "c": 2, "Ġ": 3, "bc": 4, "ab": 5, "Ġa": 6, "<|endoftext|>": 7})";
inline const char* const merges = "#version: 0.2\nb c\na b\nĠ a\n";

/// A tokenizer.json of the same vocabulary. `change` is a JSON merge patch (RFC 7396).
inline std::string tokenizer_json(const json& change = json::object()) {
  json value = {{"normalizer", nullptr},
                {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                {"decoder", {{"type", "ByteLevel"}}},
                {"added_tokens", json::array({{{"id", 7}, {"content", "<|endoftext|>"}, {"special", true}}})},
                {"model",
                 {{"type", "BPE"},
                  {"vocab", json::parse(vocabulary)},
                  {"merges", json::array({"b c", json::array({"a", "b"}), "Ġ a"})}}}};
  value.merge_patch(change);
  return value.dump();
}

inline ByteLevelBpe from_json(const json& change) {
  Folder folder;
  folder.write("tokenizer.json", tokenizer_json(change));
  return ByteLevelBpe::load(folder.path);
}

inline json added(TokenId id, const std::string& content, const json& flags = json::object()) {
  json token = {{"id", id}, {"content", content}, {"normalized", false}};
  token.update(flags);
  return token;
}

}  // namespace tokenizer_test
