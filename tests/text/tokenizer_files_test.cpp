// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eso/error.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "eso/text/utf8.hpp"
#include "tokenizer_folder.hpp"

namespace {

using eso::ByteLevelBpe;
using eso::TokenId;
using eso::Tokens;
using namespace tokenizer_test;

/// The message of the error of loading `folder`, which must be one line of valid UTF-8 about bad input.
std::string error_of(const Folder& folder) {
  try {
    ByteLevelBpe::load(folder.path);
  } catch (const eso::Error& error) {
    const std::string message = error.what();
    CHECK(error.fault() == eso::Fault::input);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 400);
    CHECK_FALSE(eso::first_invalid_utf8(message).has_value());
    CHECK(message.starts_with(folder.path.string()));
    return message.substr(folder.path.string().size());
  }
  return "no error";
}

std::string error_of_json(const json& change) {
  Folder folder;
  return error_of(folder.write("tokenizer.json", tokenizer_json(change)));
}

std::string error_of_files(const std::string& vocabulary_file, const std::string& merges_file) {
  Folder folder;
  return error_of(folder.write("vocab.json", vocabulary_file).write("merges.txt", merges_file));
}

}  // namespace

TEST_CASE("tokenizer.json wins over vocab.json and merges.txt", "[tokenizer]") {
  Folder folder;
  folder.write("vocab.json", "broken")
      .write("merges.txt", "broken")
      .write("tokenizer.json", tokenizer_json());
  folder.write("tokenizer_config.json", "{}");
  const auto tokenizer = ByteLevelBpe::load(folder.path);
  CHECK(tokenizer.encode("abc") == Tokens{0, 4});
  CHECK(tokenizer.files() == std::vector<std::filesystem::path>{folder.path / "tokenizer.json",
                                                                folder.path / "tokenizer_config.json"});
}

TEST_CASE("the files of a tokenizer are those it was read from and those that go with them", "[tokenizer]") {
  const auto folder = fixture("opt");
  const auto files = ByteLevelBpe::load(folder).files();
  CHECK(files.size() == 5);
  for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json",
                           "added_tokens.json"}) {
    CHECK(std::count(files.begin(), files.end(), folder / name) == 1);
  }
}

TEST_CASE("beside vocab.json, added tokens are the declared ones", "[tokenizer][added]") {
  Folder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "<|endoftext|>": 2, "</s>": 3, "<s>": 4})")
      .write("merges.txt", "");
  const auto ids = [&](const std::string& text) { return ByteLevelBpe::load(folder.path).encode(text); };
  const std::string text = "a<|endoftext|></s><s><p>b";

  SECTION("<|endoftext|> where none is declared") {
    CHECK(ids(text) == Tokens{0, 2, 1});  // the letters of the others have no token, but one: "</s>" has none
  }
  SECTION("special_tokens_map.json, as string and object") {
    folder.write("special_tokens_map.json",
                 R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": true}})");
    CHECK(ids(text) == Tokens{0, 3, 4, 1});
    CHECK(ids("a  </s>") == Tokens{0, 3});
  }
  SECTION("tokenizer_config.json") {
    folder.write("tokenizer_config.json",
                 R"({"eos_token": "</s>", "pad_token": null, "additional_special_tokens": ["<s>", "<p>"]})");
    CHECK(ids(text) == Tokens{0, 3, 4, 5, 1});  // <p> gets the next id, as transformers gives it
    CHECK(ByteLevelBpe::load(folder.path).vocabulary_size() == 6);
  }
  SECTION("both, and added_tokens.json") {
    folder.write("special_tokens_map.json", R"({"eos_token": "</s>"})");
    folder.write("tokenizer_config.json", R"({"bos_token": "<s>"})");
    folder.write("added_tokens.json", R"({"<q>": 6, "<p>": 5})");
    CHECK(ids(text + "<q>") == Tokens{0, 3, 4, 5, 1, 6});
  }
  SECTION("added_tokens_decoder, special or not") {
    folder.write(
        "tokenizer_config.json",
        R"({"added_tokens_decoder": {"3": {"content": "</s>", "special": true}, "5": {"content": "<p>"}}})");
    const auto tokenizer = ByteLevelBpe::load(folder.path);
    CHECK(tokenizer.encode(text) == Tokens{0, 3, 5, 1});
    CHECK(tokenizer.decode(Tokens{0, 3, 5}, true) == "a<p>");
  }
  SECTION("add_prefix_space of tokenizer_config.json counts") {
    folder.write("vocab.json", R"({"a": 0, "Ġ": 1})")
        .write("tokenizer_config.json", R"({"add_prefix_space": true})");
    CHECK(ids("a") == Tokens{1, 0});
  }
  SECTION("ids that contradict the vocabulary are refused") {
    folder.write("added_tokens.json", R"({"<p>": 9})");
    CHECK(error_of(folder) == "/added_tokens.json: wrong id of added token \"<p>\", found 9, expected 5");
    folder.write("added_tokens.json", R"({"a": 5})");
    CHECK(error_of(folder) == "/added_tokens.json: wrong id of added token \"a\", found 5, expected 0");
    folder.write("added_tokens.json", R"({"<p>": 5, "<q>": 5})");
    CHECK(error_of(folder) == "/added_tokens.json: two tokens have the id 5");
    folder.write("added_tokens.json", "[]");
    CHECK(error_of(folder) == "/added_tokens.json: wrong content, found an array, expected an object");
  }
}

TEST_CASE("faults of merges.txt name the line", "[tokenizer][hostile]") {
  const auto error = [](const std::string& content) { return error_of_files(vocabulary, content); };
  CHECK(error("#version: 0.2\r\nb c\r\n\n\n") == "no error");
  CHECK(error("#version: 0.2\nb c\nab\n") ==
        "/merges.txt:3: is no merge, found \"ab\", expected two tokens with a space between");
  CHECK(error("a b c\n").starts_with("/merges.txt:1: is no merge"));
  CHECK(error("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
            .starts_with("/merges.txt: is a Git LFS pointer"));
  CHECK(error("<!DOCTYPE html>\n").starts_with("/merges.txt: is a web page"));
  CHECK(error("b  c\n").starts_with("/merges.txt:1: is no merge"));
  CHECK(error("b c\n\na b\n").starts_with("/merges.txt:2: is blank"));
  CHECK(error("b c\nb x\n") ==
        "/merges.txt:2: a merge names a token that is not in the vocabulary, found \"x\"");
  CHECK(error("b a\n") == "/merges.txt:1: a merge names a token that is not in the vocabulary, found \"ba\"");
  CHECK(error("b c\n\xFF c\n").starts_with("/merges.txt:2: malformed UTF-8"));
  CHECK(error("b " + std::string(1000000, 'x')).starts_with("/merges.txt:1: a merge names a token"));
}

TEST_CASE("faults of vocab.json name the key", "[tokenizer][hostile]") {
  const auto error = [](const std::string& content) { return error_of_files(content, ""); };
  const std::string range = ", expected an integer from 0 to 2147483647";
  CHECK(error(R"({"a": -1})") == "/vocab.json: wrong value of \"a\", found -1" + range);
  CHECK(error(R"({"a": 1.5})") == "/vocab.json: wrong value of \"a\", found 1.5" + range);
  CHECK(error(R"({"a": 2147483648})") == "/vocab.json: wrong value of \"a\", found 2147483648" + range);
  CHECK(error(R"({"a": 1e400})").starts_with("/vocab.json"));
  CHECK(error(R"({"a": "0"})") == "/vocab.json: wrong value of \"a\", found \"0\"" + range);
  CHECK(error(R"({"a": 3, "b": 3})") == "/vocab.json: two tokens have the id 3, the second is \"b\"");
  CHECK(error("[]") == "/vocab.json: wrong content, found an array, expected an object");
  CHECK(error("") == "/vocab.json:1: is not JSON: it ends too early");
  CHECK(error("{\n\"a\": 0,\n") == "/vocab.json:3: is not JSON: it ends too early");
  CHECK(error("{\n\"a\": 0}}") == "/vocab.json:2: is not JSON at byte 10");
  CHECK(error("{\"a\": 0, \"\xFF\": 1}") == "/vocab.json: malformed UTF-8 at byte 11");
  CHECK(error(R"({"\ud800": 0})").starts_with("/vocab.json:1: is not JSON at byte"));
  CHECK(
      error("{\"" + std::string(100000, 'x') + "\": null}").starts_with("/vocab.json: wrong value of \"xxx"));
  CHECK(error(std::string(1000000, '[')) == "/vocab.json: JSON is nested too deep at byte 65");
  CHECK(error(std::string("{\"a\": 0}\0x", 10)) == "/vocab.json: a NUL at byte 9");
  // an id that is large but not too large costs nothing
  Folder folder;
  const auto tokenizer = ByteLevelBpe::load(
      folder.write("vocab.json", R"({"a": 2147483647, "b": 0})").write("merges.txt", "").path);
  CHECK(tokenizer.encode("ab") == Tokens{2147483647, 0});
  CHECK(tokenizer.decode(Tokens{2147483647, 0, 5}) == "ab");
  CHECK(tokenizer.vocabulary_size() == 2147483648);
}

TEST_CASE("what tokenizer.json asks for and is not implemented is refused by key", "[tokenizer][hostile]") {
  const auto bytes = json{{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const std::map<std::string, json> changes = {
      {"wrong value of \"normalizer.type\", found \"NFKC\", expected null or NFC",
       {{"normalizer", {{"type", "NFKC"}}}}},
      {"wrong value of \"normalizer.normalizers[1].type\", found \"Lowercase\", expected NFC",
       {{"normalizer",
         {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}}}}},
      {"wrong value of \"pre_tokenizer.type\", found \"Whitespace\", expected ByteLevel",
       {{"pre_tokenizer", {{"type", "Whitespace"}}}}},
      {"wrong value of \"pre_tokenizer.pretokenizers\", found an array, expected ByteLevel alone",
       {{"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}}, bytes}}}}}},
      {"has no key \"pre_tokenizer\"", {{"pre_tokenizer", nullptr}}},
      {"wrong value of \"decoder.type\", found \"WordPiece\", expected ByteLevel",
       {{"decoder", {{"type", "WordPiece"}}}}},
      {"wrong value of \"model.type\", found \"Unigram\", expected BPE", {{"model", {{"type", "Unigram"}}}}},
      {"wrong value of \"model.dropout\", found 0.1, expected null or 0", {{"model", {{"dropout", 0.1}}}}},
      {"wrong value of \"model.end_of_word_suffix\", found \"</w>\", expected null or \"\"",
       {{"model", {{"end_of_word_suffix", "</w>"}}}}},
      {"wrong value of \"model.continuing_subword_prefix\", found \"##\", expected null or \"\"",
       {{"model", {{"continuing_subword_prefix", "##"}}}}},
      {"wrong value of \"model.byte_fallback\", found true, expected false, or all 256 bytes in the "
       "vocabulary",
       {{"model", {{"byte_fallback", true}}}}},
      {"the vocabulary lacks bytes and the unknown token, found \"<unk>\"",
       {{"model", {{"unk_token", "<unk>"}}}}},
      {"wrong value of \"model.fuse_unk\", found \"yes\", expected true or false",
       {{"model", {{"fuse_unk", "yes"}}}}},
      {"model.merges[1]: is no merge, found \"ab\", expected two tokens with a space between",
       {{"model", {{"merges", {"a b", "ab"}}}}}},
      {"wrong value of \"model.merges[0]\", found an array, expected two tokens",
       {{"model", {{"merges", json::array({json::array({"a", "b", "c"})})}}}}},
      {"wrong value of \"model.merges[0]\", found 1, expected a string", {{"model", {{"merges", {1}}}}}},
      {"model.merges[0]: a merge names a token that is not in the vocabulary, found \"x\"",
       {{"model", {{"merges", {"x b"}}}}}},
      {"has no key \"model.vocab\"", {{"model", {{"vocab", nullptr}}}}},
      {"wrong value of \"model.vocab.a\", found -3, expected an integer from 0 to 2147483647",
       {{"model", {{"vocab", {{"a", -3}}}}}}},
      {"wrong value of \"added_tokens\", found an object, expected an array", {{"added_tokens", {{"a", 1}}}}},
      {"wrong value of \"added_tokens[0].lstrip\", found 1, expected true or false",
       {{"added_tokens", json::array({added(8, "x", {{"lstrip", 1}})})}}},
      {"wrong id of added token \"x\", found 1000000000, expected 8",
       {{"added_tokens", json::array({added(1000000000, "x")})}}},
      {"wrong id of added token \"ab\", found 8, expected 5",
       {{"added_tokens", json::array({added(8, "ab")})}}},
  };
  for (const auto& [message, change] : changes) CHECK(error_of_json(change) == "/tokenizer.json: " + message);
}

TEST_CASE("a tokenizer.json that is cut anywhere is refused", "[tokenizer][hostile]") {
  const std::string whole = tokenizer_json();
  for (std::size_t length = 0; length < whole.size(); length += 7) {
    Folder folder;
    CHECK(error_of(folder.write("tokenizer.json", whole.substr(0, length)))
              .starts_with("/tokenizer.json:1: is not JSON"));
  }
}

TEST_CASE("missing files and folders in their place are named", "[tokenizer][hostile]") {
  Folder folder;
  CHECK(error_of(folder) == ": has no tokenizer, expected tokenizer.json, or vocab.json and merges.txt");
  folder.write("vocab.json", vocabulary);
  CHECK(error_of(folder).starts_with("/merges.txt: "));
  std::filesystem::create_directory(folder.path / "merges.txt");
  CHECK(error_of(folder) == "/merges.txt: is a directory, expected a file");
  std::filesystem::remove(folder.path / "vocab.json");
  CHECK(error_of(folder) == "/vocab.json: no such file");
  std::filesystem::create_directory(folder.path / "tokenizer.json");
  CHECK(error_of(folder) == "/tokenizer.json: is a directory, expected a file");
  CHECK_THROWS_AS(ByteLevelBpe::load(folder.path / "nowhere"), eso::Error);
  std::filesystem::remove(folder.path / "tokenizer.json");
  std::filesystem::remove(folder.path / "merges.txt");
  folder.write("vocab.json", vocabulary).write("merges.txt", "");
  for (const char* name : {"tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json",
                           "tokenizer_config.json", "added_tokens.json"}) {
    const std::filesystem::path kept = folder.path / "kept", file = folder.path / name;
    const bool had = std::filesystem::exists(file);
    if (had) std::filesystem::rename(file, kept);
    std::filesystem::create_symlink("nowhere", file);  // a download whose blobs are gone
    CHECK(error_of(folder) == fmt::format("/{}: is a link that leads to no file", name));
    std::filesystem::remove(file);
    if (had) std::filesystem::rename(kept, file);
  }
}
