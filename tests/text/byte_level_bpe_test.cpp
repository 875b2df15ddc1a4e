// SPDX-License-Identifier: MIT
#include "eso/text/byte_level_bpe.hpp"

#include <catch2/catch.hpp>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/data/gzip.hpp"
#include "eso/error.hpp"
#include "eso/text/nfc.hpp"
#include "tokenizer_folder.hpp"

namespace {

using eso::ByteLevelBpe;
using eso::TokenId;
using eso::Tokens;
using namespace tokenizer_test;

static_assert(eso::Tokenizer<ByteLevelBpe>);

json golden() {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/tokenizer.json");
  return json::parse(file);
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

TEST_CASE("of an added token listed twice the last counts, but special it stays", "[tokenizer][added]") {
  const auto twice = [](const json& first, const json& second) {
    return from_json({{"added_tokens", json::array({added(8, "<m>", first), added(8, "<m>", second)})}});
  };
  const json none = json::object(), strip = {{"lstrip", true}};
  CHECK(twice(none, strip).encode("a <m>") == Tokens{0, 8});
  CHECK(twice(strip, none).encode("a <m>") == Tokens{0, 3, 8});
  CHECK(twice({{"normalized", true}}, {{"single_word", true}}).encode("a<m>a") == Tokens{0, 0});
  const auto special = twice({{"special", true}}, strip);
  CHECK(special.encode("a <m>") == Tokens{0, 8});
  CHECK(special.decode(Tokens{0, 8}, true) == "a");
}

TEST_CASE("long added tokens and those that share long parts are found", "[tokenizer][added][hostile]") {
  const std::string run(100000, 'a');
  const auto tokenizer = from_json(
      {{"added_tokens", json::array({added(8, run + "b"), added(9, "c" + run), added(10, "aa"),
                                     added(11, run.substr(1) + "c"), added(12, "b" + run + "b")})}});
  CHECK(tokenizer.encode(run + run) == Tokens(100000, 10));
  CHECK(tokenizer.encode(run + run + "b").size() == 50001);
  CHECK(tokenizer.encode(run + "b" + run + "b") == Tokens{8, 8});
  CHECK(tokenizer.encode("b" + run + "ba") == Tokens{12, 0});
  CHECK(tokenizer.encode("ac" + run + "c") == Tokens{0, 9, 2});
  CHECK(tokenizer.encode(run + "c").size() == 50001);  // "aa" begins one letter before the long one
  CHECK(tokenizer.encode(run.substr(1) + "c") == Tokens{11});
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
