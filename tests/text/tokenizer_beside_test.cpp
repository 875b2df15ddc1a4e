// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "eso/error.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "tokenizer_folder.hpp"

// tokenizer.json and the files beside it.

namespace {

using eso::Tokens;
using namespace tokenizer_test;

/// The folder of `files`, whose tokenizer.json is the usual one unless it is among them.
ByteLevelBpe load(const json& files) {
  Folder folder;
  folder.write("tokenizer.json", tokenizer_json());
  for (const auto& [name, content] : files.items()) folder.write(name, content.dump());
  return ByteLevelBpe::load(folder.path);
}

std::string error_of(const json& files) {
  try {
    load(files);
  } catch (const eso::Error& error) {
    CHECK(error.fault() == eso::Fault::input);
    const std::string message = error.what();
    return message.substr(message.find_last_of('/', message.find(".json")));
  }
  return "no error";
}

Tokens ids(const json& files, const std::string& text) { return load(files).encode(text); }

}  // namespace

TEST_CASE("the files beside tokenizer.json count as in transformers 5", "[tokenizer][golden]") {
  const json golden = json::parse(std::ifstream(std::string(ESO_TEST_DIR) + "/golden/tokenizer_beside.json"));
  const json& texts = golden.at("texts");
  std::size_t compared = 0;
  for (const json& setting : golden.at("settings")) {
    INFO(setting.at("files").dump());
    json files = setting.at("files");
    files["tokenizer.json"]["model"]["vocab"] = golden.at("vocab");
    files["tokenizer.json"]["model"]["merges"] = golden.at("merges");
    try {
      const ByteLevelBpe tokenizer = load(files);
      CHECK(tokenizer.vocabulary_size() == setting.at("size"));
      for (std::size_t i = 0; i < texts.size(); ++i) {
        const Tokens encoded = tokenizer.encode(texts[i].get<std::string>());
        INFO(texts[i].dump());
        CHECK(encoded == setting.at("ids")[i].get<Tokens>());
        CHECK(tokenizer.decode(encoded, true) == setting.at("without_special")[i]);
      }
      ++compared;
    } catch (const eso::Error& error) {
      INFO(error.what());
      CHECK(setting.at("may_be_refused").get<bool>());  // such a file is refused, see ByteLevelBpe
    }
  }
  CHECK(compared > 100);
}

TEST_CASE("the class that tokenizer_config.json names settles what tokenizer.json says", "[tokenizer]") {
  const auto config = [](const json& value) { return json{{"tokenizer_config.json", value}}; };
  const json prefix = {{"add_prefix_space", true}};
  CHECK(ids(config(prefix), "a") == Tokens{0});  // without a class tokenizer.json has its way
  for (const char* name : {"GPT2Tokenizer", "GPT2TokenizerFast", "GPTNeoXTokenizerFast"}) {
    CHECK(ids(config({{"tokenizer_class", name}, {"add_prefix_space", true}}), "a") == Tokens{6});
    CHECK(ids(config({{"tokenizer_class", name}}), "a") == Tokens{0});
  }
  CHECK(ids({{"config.json", {{"model_type", "gpt2"}}}, {"tokenizer_config.json", prefix}}, "a") ==
        Tokens{6});
}

TEST_CASE("tokens that the files beside tokenizer.json declare are found", "[tokenizer][added]") {
  const std::string text = "a<p><q>";
  CHECK(ids(json::object(), text) == Tokens{0});
  CHECK(ids({{"tokenizer_config.json", {{"pad_token", "<p>"}}}}, text) == Tokens{0, 8});
  CHECK(ids({{"special_tokens_map.json", {{"additional_special_tokens", {"<q>", "<p>"}}}}}, text) ==
        Tokens{0, 9, 8});
  CHECK(ids({{"added_tokens.json", {{"<p>", 8}, {"<q>", 9}}}}, text) == Tokens{0, 8, 9});
}

TEST_CASE("what the files beside tokenizer.json ask for and is not implemented is refused by key",
          "[tokenizer][hostile]") {
  const auto error = [](const json& config) { return error_of({{"tokenizer_config.json", config}}); };
  CHECK(error({{"split_special_tokens", true}}) ==
        "/tokenizer_config.json: wrong value of \"split_special_tokens\", found true, expected false");
  CHECK(error({{"split_special_tokens", false}}) == "no error");
  CHECK(error({{"tokenizer_class", "BertTokenizer"}}) ==
        "/tokenizer_config.json: wrong value of \"tokenizer_class\", found \"BertTokenizer\", expected "
        "GPT2Tokenizer, GPTNeoXTokenizer or PreTrainedTokenizerFast");
  CHECK(error({{"add_prefix_space", "yes"}})
            .starts_with("/tokenizer_config.json: wrong value of \"add_prefix"));
  CHECK(error({{"added_tokens_decoder", {{"9", {{"content", "<p>"}}}}}}) ==
        "/tokenizer_config.json: wrong id of added token \"<p>\", found 9, expected 8");
  CHECK(error({{"added_tokens_decoder", {{"x", {{"content", "<p>"}}}}}}) ==
        "/tokenizer_config.json: a key of \"added_tokens_decoder\" is not a token id, found \"x\"");
  CHECK(
      error({{"image_token", "<p>"}, {"audio_token", "<q>"}}) ==
      "/tokenizer_config.json: no id for the tokens of \"audio_token\" and, found \"image_token\", expected "
      "ids in \"added_tokens_decoder\"");
  CHECK(error({{"eos_token", 3}}) ==
        "/tokenizer_config.json: wrong value of \"eos_token\", found 3, expected a token");
  CHECK(error_of({{"special_tokens_map.json", json::array()}}) ==
        "/special_tokens_map.json: wrong content, found an array, expected an object");
  CHECK(error_of({{"added_tokens.json", {{"<p>", -1}}}})
            .starts_with("/added_tokens.json: wrong value of \"<p>\""));
  CHECK(error_of({{"config.json", {{"tokenizer_class", "T5Tokenizer"}}}}).starts_with("/config.json: wrong"));
}

TEST_CASE("beside vocab.json the class counts too, and what is not implemented is refused", "[tokenizer]") {
  Folder folder;
  folder.write("vocab.json", R"({"e": 0, "Ã": 1, "©": 2, "Ì": 3, "ģ": 4})").write("merges.txt", "");
  const auto load = [&](const char* config) {
    folder.write("tokenizer_config.json", config);
    return ByteLevelBpe::load(folder.path);
  };
  const std::string decomposed = "e\u0301";
  CHECK(load(R"({"tokenizer_class": "GPT2Tokenizer"})").encode(decomposed) == Tokens{0, 3, 4});
  CHECK(load(R"({"tokenizer_class": "GPTNeoXTokenizerFast"})").encode(decomposed) == Tokens{1, 2});
  CHECK_THROWS_AS(load(R"({"split_special_tokens": true})"), eso::Error);
  CHECK_THROWS_AS(load(R"({"tokenizer_class": "T5Tokenizer"})"), eso::Error);
}
