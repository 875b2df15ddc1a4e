// SPDX-License-Identifier: MIT
#include "eso/text/byte_level_bpe.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/data/gzip.hpp"
#include "eso/error.hpp"
#include "eso/text/nfc.hpp"

namespace {

using eso::ByteLevelBpe;
using eso::TokenId;
using eso::Tokens;
using nlohmann::json;

static_assert(eso::Tokenizer<ByteLevelBpe>);

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

json golden() {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/tokenizer.json");
  return json::parse(file);
}

std::filesystem::path fixture(const std::string& name) {
  return std::filesystem::path(ESO_TEST_DIR) / "golden" / ("tokenizer_" + name);
}

void check_against_golden(const ByteLevelBpe& tokenizer, const std::string& name) {
  const json all = golden();
  const json& answers = all[name];
  for (std::size_t i = 0; i < all["texts"].size(); ++i) {
    const auto text = all["texts"][i].get<std::string>();
    const auto ids = answers["ids"][i].get<Tokens>();
    const auto expected = [&](const char* key) {
      return answers[key][i].is_null() ? text : answers[key][i].get<std::string>();
    };
    CAPTURE(name, i, text);
    CHECK(tokenizer.encode(text) == ids);
    CHECK(tokenizer.decode(ids) == expected("texts"));
    CHECK(tokenizer.decode(ids, true) == expected("texts_without_special"));
  }
  for (std::size_t i = 0; i < answers["random_ids"].size(); ++i) {
    const auto ids = answers["random_ids"][i].get<Tokens>();
    CAPTURE(name, ids);
    CHECK(tokenizer.decode(ids) == answers["random_texts"][i].get<std::string>());
    CHECK(tokenizer.decode(ids, true) == answers["random_texts_without_special"][i].get<std::string>());
  }
  CHECK(tokenizer.vocabulary_size() == answers["size"].get<eso::Index>());  // the fixtures have no gaps
}

/// a 0, b 1, c 2, space 3, bc 4, ab 5, " a" 6; b c before a b before space a.
const char* const vocabulary =
    R"({"a": 0, "b": 1, "c": 2, "Ġ": 3, "bc": 4, "ab": 5, "Ġa": 6, "<|endoftext|>": 7})";
const char* const merges = "#version: 0.2\nb c\na b\nĠ a\n";

/// A tokenizer.json of the same vocabulary. `change` is a JSON merge patch (RFC 7396).
std::string tokenizer_json(const json& change = json::object()) {
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

ByteLevelBpe from_json(const json& change) {
  Folder folder;
  folder.write("tokenizer.json", tokenizer_json(change));
  return ByteLevelBpe::load(folder.path);
}

json added(TokenId id, const std::string& content, const json& flags = json::object()) {
  json token = {{"id", id}, {"content", content}, {"normalized", false}};
  token.update(flags);
  return token;
}

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

TEST_CASE("ids by hand", "[tokenizer]") {
  Folder folder;
  const auto tokenizer =
      ByteLevelBpe::load(folder.write("vocab.json", vocabulary).write("merges.txt", merges).path);
  CHECK(tokenizer.encode("") == Tokens{});
  CHECK(tokenizer.encode("abc") == Tokens{0, 4});        // b c has the lower rank
  CHECK(tokenizer.encode("ab abc") == Tokens{5, 6, 4});  // "ab", " abc": b c, then space a
  CHECK(tokenizer.encode("a  b") == Tokens{0, 3, 3, 1});
  CHECK(tokenizer.encode("a<|endoftext|> b") == Tokens{0, 7, 3, 1});
  CHECK(tokenizer.encode("cxx c") == Tokens{2, 3, 2});  // x has no token and no unknown token is declared,
  CHECK(tokenizer.encode("axb") == Tokens{5});          // so it is dropped before the merges
  CHECK(tokenizer.decode(Tokens{6, 4, 7, 99, -1, 5}) == " abc<|endoftext|>ab");
  CHECK(tokenizer.decode(Tokens{6, 4, 7, 5}, true) == " abcab");
  CHECK(tokenizer.vocabulary_size() == 8);
  CHECK(tokenizer.id("Ġa") == TokenId{6});
  CHECK(tokenizer.id("<|endoftext|>") == TokenId{7});
  CHECK_FALSE(tokenizer.id(" a").has_value());
}

TEST_CASE("a byte is spelled in GPT-2's alphabet", "[tokenizer]") {
  // bytes_to_unicode: 0x21 to 0x7E, 0xA1 to 0xAC and 0xAE to 0xFF stay, the other 68 follow from U+0100 on:
  // 0x00 to 0x20 are U+0100 to U+0120, 0x7F to 0xA0 are U+0121 to U+0142, 0xAD is U+0143
  CHECK(eso::spell("! ~\n\x7F\xA0\xAD\xFF") == "!Ġ~ĊġłŃÿ");
  CHECK(eso::spell("é") == "Ã©");
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  CHECK(eso::token_bytes(eso::spell(bytes)) == bytes);
  CHECK(eso::token_bytes("a b") == "a b");  // a space spells no byte, so the token is taken as it is
}

TEST_CASE("ids and texts are those of tokenizers", "[tokenizer][golden]") {
  const std::string name = GENERATE("gpt2", "opt", "neox", "flags");
  check_against_golden(ByteLevelBpe::load(fixture(name)), name);
}

TEST_CASE("decoding undoes encoding, up to the normal form", "[tokenizer]") {
  const json texts = golden()["texts"];
  for (const std::string name : {"gpt2", "opt", "neox"}) {
    const auto tokenizer = ByteLevelBpe::load(fixture(name));
    for (const json& text : texts) {
      const auto expected =
          name == "neox" ? eso::Nfc::normalize(text.get<std::string>()) : text.get<std::string>();
      CHECK(tokenizer.decode(tokenizer.encode(text.get<std::string>())) == expected);
    }
  }
}

TEST_CASE("half a character decodes to U+FFFD", "[tokenizer]") {
  const auto tokenizer = ByteLevelBpe::load(fixture("gpt2"));
  // the emoji F0 9F 99 82 without its last byte is one maximal subpart, a lone 82 another
  const Tokens bytes{*tokenizer.id("ð"), *tokenizer.id("Ł"), *tokenizer.id("Ļ"), *tokenizer.id("Ĥ")};
  CHECK(tokenizer.decode(bytes) == "\U0001F642");
  CHECK(tokenizer.decode(Tokens(bytes.begin(), bytes.begin() + 3)) == "\uFFFD");
  CHECK(tokenizer.decode(Tokens{bytes[3], bytes[3]}) == "\uFFFD\uFFFD");
}

TEST_CASE("text that is not UTF-8 is refused", "[tokenizer]") {
  const auto tokenizer = ByteLevelBpe::load(fixture("gpt2"));
  CHECK_THROWS_WITH(tokenizer.encode("ab\xFF"), "ByteLevelBpe::encode: malformed UTF-8 at byte 3");
  CHECK_THROWS_AS(tokenizer.encode("\xED\xA0\x80"), eso::Error);
}

TEST_CASE("several threads encode at once", "[tokenizer]") {
  const auto tokenizer = ByteLevelBpe::load(fixture("neox"));
  const json all = golden();
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < all["texts"].size(); ++i) {
        const auto ids = tokenizer.encode(all["texts"][i].get_ref<const std::string&>());
        wrong[t] += ids != all["neox"]["ids"][i].get<Tokens>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("a copy of a tokenizer stands on its own", "[tokenizer]") {
  std::optional<ByteLevelBpe> original = ByteLevelBpe::load(fixture("opt"));
  const ByteLevelBpe copy = *original;
  original.reset();
  check_against_golden(copy, "opt");
}

TEST_CASE("flags of added tokens by hand", "[tokenizer][added]") {
  const auto ids = [](const std::string& text, const json& flags) {
    return from_json({{"added_tokens", json::array({added(8, "<m>", flags)})}}).encode(text);
  };
  CHECK(ids("a <m> a", json::object()) == Tokens{0, 3, 8, 6});
  CHECK(ids("a \t<m> a", {{"lstrip", true}}) == Tokens{0, 8, 6});
  CHECK(ids("a <m>\u00a0\n a", {{"rstrip", true}}) == Tokens{0, 3, 8, 0});
  CHECK(ids(" <m> <m> ", {{"lstrip", true}, {"rstrip", true}}) == Tokens{8, 8});
  CHECK(ids("<m>a<m> <m>", {{"single_word", true}}) == Tokens{0, 3, 8});
}

TEST_CASE("the leftmost added token is found, and the longest of those", "[tokenizer][added]") {
  const auto tokenizer =
      from_json({{"added_tokens", json::array({added(5, "ab"), added(8, "abc"), added(9, "bca")})}});
  CHECK(tokenizer.encode("abca") == Tokens{8, 0});
  CHECK(tokenizer.encode("abab") == Tokens{5, 5});
  CHECK(tokenizer.encode("abbca") == Tokens{5, 9});
}

TEST_CASE("normalised added tokens are found after the others, in normal form", "[tokenizer][added]") {
  // U+00E9 is found in "e" U+0301 once that is composed; as a raw token only where it stands as it is
  const auto with = [](bool normalized) {
    return from_json({{"normalizer", {{"type", "NFC"}}},
                      {"added_tokens", json::array({added(8, "\u00e9", {{"normalized", normalized}})})}});
  };
  CHECK(with(true).encode("ae\u0301\u00e9") == Tokens{0, 8, 8});
  CHECK(with(false).encode("ae\u0301\u00e9") == Tokens{0, 8});
}

TEST_CASE("options of tokenizer.json by hand", "[tokenizer]") {
  const auto prefix = from_json({{"pre_tokenizer", {{"add_prefix_space", true}}}});
  CHECK(prefix.encode("a") == Tokens{6});
  CHECK(prefix.encode(" a") == Tokens{6});
  CHECK(prefix.encode("a<|endoftext|>a") == Tokens{6, 7, 6});
  CHECK(prefix.encode("") == Tokens{});
  const auto whole = from_json(
      {{"pre_tokenizer", {{"use_regex", false}}}, {"model", {{"merges", {"a Ġ"}}, {"vocab", {{"aĠ", 8}}}}}});
  CHECK(whole.encode("a b") == Tokens{8, 1});
  const auto unknown = from_json({{"model", {{"unk_token", "c"}}}});
  CHECK(unknown.encode("axxb") == Tokens{0, 2, 2, 1});
  const auto fused = from_json({{"model", {{"unk_token", "c"}, {"fuse_unk", true}}}});
  CHECK(fused.encode("axxb") == Tokens{0, 2, 1});
  const auto direct = from_json({{"model", {{"ignore_merges", true}, {"vocab", {{"abc", 8}}}}}});
  CHECK(direct.encode("abc") == Tokens{8});
  CHECK(from_json({{"model", {{"vocab", {{"abc", 8}}}}}}).encode("abc") == Tokens{0, 4});
}

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
  CHECK(error(std::string(1000000, '[')).starts_with("/vocab.json:1: is not JSON"));
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
}

namespace {

std::string unzipped(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  eso::Gunzip gunzip(path.string());
  std::string text;
  std::vector<char> chunk(1 << 16);
  const auto source = [&](std::span<char> to) {
    file.read(to.data(), static_cast<std::streamsize>(to.size()));
    return static_cast<std::size_t>(file.gcount());
  };
  while (const std::size_t size = gunzip.read(chunk, source)) text.append(chunk.data(), size);
  return text;
}

}  // namespace

TEST_CASE("the files of GPT-2 and Pythia give the ids of transformers", "[tokenizer][golden][shared]") {
  const std::filesystem::path shared = std::filesystem::path(ESO_SHARED_DIR) / "data/tokenizers";
  if (!std::filesystem::exists(shared)) {
    WARN("skipped: " << shared << " is absent");
    return;
  }
  Folder gpt2_folder, pythia_folder;
  gpt2_folder.write("vocab.json", unzipped(shared / "gpt2-vocab.json.gz"));
  gpt2_folder.write("merges.txt", unzipped(shared / "gpt2-merges.txt.gz"));
  pythia_folder.write("tokenizer.json", unzipped(shared / "pythia-tokenizer.json.gz"));
  const auto gpt2 = ByteLevelBpe::load(gpt2_folder.path);
  const auto pythia = ByteLevelBpe::load(pythia_folder.path);
  CHECK(gpt2.vocabulary_size() == 50257);
  CHECK(pythia.vocabulary_size() == 50277);

  struct Row {
    std::string text;
    Tokens gpt2, pythia;
  };
  Tokens spaces(27, 220);  // x, 25 single spaces, " y"
  spaces.front() = 87;
  spaces.back() = 331;
  const std::vector<Row> rows = {
      {"Hello world", {15496, 995}, {12092, 1533}},
      {" Hello world", {18435, 995}, {24387, 1533}},
      {"It's they're I'LL", {1026, 338, 484, 821, 314, 6, 3069}, {1147, 434, 597, 1472, 309, 8, 2293}},
      {"a  b", {64, 220, 275}, {66, 50276, 67}},
      {"a   b\n\n c", {64, 220, 220, 275, 628, 269}, {66, 50275, 67, 535, 260}},
      {"tab\there", {8658, 197, 1456}, {8476, 186, 1568}},
      {"3.14159 12345", {18, 13, 1415, 19707, 17031, 2231}, {20, 15, 1047, 17220, 1249, 16767}},
      {"\n\nHuman: hi\n\nAssistant:",
       {198, 198, 20490, 25, 23105, 198, 198, 48902, 25},
       {187, 187, 22705, 27, 14260, 187, 187, 6717, 5567, 27}},
      {"cafe\u0301", {66, 8635, 136, 223}, {68, 2320, 860}},
      {"caf\u00e9", {66, 1878, 2634}, {68, 2320, 860}},
      {"你好", {19526, 254, 25001, 121}, {24553, 34439}},
      {"\U0001F642", {8582, 25081}, {14931, 18713}},
      {"trailing  ", {9535, 4386, 220, 220}, {7604, 4837, 50276}},
      {"### Response:\n", {21017, 18261, 25, 198}, {4118, 19371, 27, 187}},
      {"don't", {9099, 470}, {9903, 626}},
      {"<|endoftext|>", {50256}, {0}},
      {"x" + std::string(26, ' ') + "y", spaces, {89, 50254, 50276, 90}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CHECK(gpt2.encode(row.text) == row.gpt2);
    CHECK(pythia.encode(row.text) == row.pythia);
  }
  CHECK(pythia.encode("<|im_start|>system\nA chat between") ==
        Tokens{29, 93, 303, 64, 5478, 49651, 10394, 187, 34, 12939, 875});
  check_against_golden(gpt2, "real_gpt2");
  check_against_golden(pythia, "real_pythia");
}
