// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eso/data/example.hpp"
#include "eso/text/strip.hpp"

namespace {

using eso::Tokens;

/// A byte is a token; 0 is special and decodes to "<end>" unless special tokens are left out.
struct Bytes {
  Tokens encode(std::string_view text) const {
    Tokens tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  std::string decode(std::span<const eso::TokenId> tokens, bool skip_special) const {
    std::string text;
    for (const eso::TokenId id : tokens) {
      if (id != 0) text.push_back(static_cast<char>(id));
      if (id == 0 && !skip_special) text += "<end>";
    }
    return text;
  }
};

/// The result for one example with room for 4 prompt tokens and 3 of the response, in a context of 6.
eso::Tokenised one(const std::string& prompt, const std::string& response,
                   std::optional<eso::TokenId> eos = 0) {
  const std::vector<eso::TextExample> texts{{.prompt = prompt, .response = response, .number = 7}};
  return eso::tokenise(std::span<const eso::TextExample>(texts), Bytes{}, eos, 4, 3, 6);
}

}  // namespace

TEST_CASE("strip takes off what Python's str.strip takes off, of all code points", "[data]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/data.json");
  const auto list = nlohmann::json::parse(file)["white_space"].get<std::vector<std::uint32_t>>();
  const std::set<std::uint32_t> white_space(list.begin(), list.end());
  std::size_t wrong = 0;
  for (std::uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string c;
    eso::append_utf8(c, code);
    const std::string inside = white_space.contains(code) ? "x" : c + "x" + c;
    wrong += eso::strip(c + "x" + c) == inside ? 0U : 1U;
  }
  CHECK(wrong == 0);
  CHECK(white_space.size() == 29);
}

TEST_CASE("strip keeps what is inside and bytes that are not UTF-8", "[data]") {
  CHECK(eso::strip("").empty());
  CHECK(eso::strip(" \t\xC2\xA0\xE3\x80\x80 \n").empty());
  CHECK(eso::strip("  a b\t c \r\n") == "a b\t c");
  CHECK(eso::strip("\xE2\x80\xA8 a\xC2\x85") == "a");
  // U+3042 ends in the bytes 81 82, U+0285 in 85: parts of characters are no white space.
  CHECK(eso::strip("\xE3\x81\x82") == "\xE3\x81\x82");
  CHECK(eso::strip("\xCA\x85") == "\xCA\x85");
  // A byte that is not UTF-8 stays, white space beside it goes.
  CHECK(eso::strip("\x85") == "\x85");
  CHECK(eso::strip(" \x80 ") == "\x80");
  CHECK(eso::strip("a \x80") == "a \x80");
  CHECK(eso::strip("\xC2 ") == "\xC2");
  CHECK(eso::strip("\xE2\x80") == "\xE2\x80");
  CHECK(eso::strip("\xE3\x80\x80\x80") == "\x80");
  CHECK(eso::strip("a\xE3\x80\x80\x80") == "a\xE3\x80\x80\x80");
}

TEST_CASE("tokenise appends the end of the sequence only where it fits", "[data]") {
  const auto short_one = one("ab", "x");
  REQUIRE(short_one.examples.size() == 1);
  CHECK(short_one.examples[0].prompt == Tokens{'a', 'b'});
  CHECK(short_one.examples[0].target == Tokens{'x', 0});
  CHECK(short_one.examples[0].number == 7);
  CHECK(short_one.examples[0].prompt_text == "ab");
  CHECK(short_one.cut_targets == 0);
  CHECK(one("ab", "xy").examples[0].target == Tokens{'x', 'y', 0});     // fits exactly with it
  CHECK(one("ab", "xyz").examples[0].target == Tokens{'x', 'y', 'z'});  // fits exactly without it
  CHECK(one("ab", "xyz").cut_targets == 0);
  CHECK(one("ab", "xyzw").examples[0].target == Tokens{'x', 'y', 'z'});
  CHECK(one("ab", "xyzw").cut_targets == 1);
  CHECK(one("ab", "x", std::nullopt).examples[0].target == Tokens{'x'});
}

TEST_CASE("tokenise appends no second end to a response that ends with one", "[data]") {
  const std::string end(1, '\0');
  CHECK(one("ab", "x" + end).examples[0].target == Tokens{'x', 0});
  CHECK(one("ab", end).examples.empty());  // only ends are nothing to learn from
  CHECK(one("ab", end).dropped[eso::RowFault::empty_response] == 1);
  CHECK(one("ab", end + "x").examples[0].target == Tokens{0, 'x', 0});
  CHECK(one("ab", "xy" + end + "z").examples[0].target == Tokens{'x', 'y', 0});  // cut
  CHECK(one("ab", "x" + end, std::nullopt).examples[0].target == Tokens{'x', 0});
  const std::vector<eso::TextExample> texts{
      {.prompt = "ab", .response = "x" + end, .pair = true, .rejected = "y" + end}};
  const auto pair = eso::tokenise(texts, Bytes{}, 0, 4, 3, 6);
  CHECK(pair.examples.at(0).target == Tokens{'x', 0});
  CHECK(pair.examples.at(0).rejected == Tokens{'y', 0});
}

TEST_CASE("the reference is the decoded cut target, without special tokens, stripped", "[data]") {
  CHECK(one("ab", " x").examples[0].reference == "x");
  CHECK(one("ab", " x yz").examples[0].reference == "x");  // cut to " x "
}

TEST_CASE("tokenise drops and counts what is too long", "[data]") {
  CHECK(one("abcd", "x").examples.size() == 1);  // 4 + 2 tokens fill the context
  const auto long_prompt = one("abcde", "x");
  CHECK(long_prompt.examples.empty());
  CHECK(long_prompt.too_long_prompts == 1);
  CHECK(long_prompt.beyond_context == 0);
  const auto beyond = one("abcd", "xy");  // 4 + 3
  CHECK(beyond.examples.empty());
  CHECK(beyond.too_long_prompts == 0);
  CHECK(beyond.beyond_context == 1);
  CHECK(beyond.cut_targets == 0);

  const std::vector<eso::TextExample> texts{{.prompt = "abcde", .response = "x", .number = 0},
                                            {.prompt = "a", .response = "x", .number = 1},
                                            {.prompt = "abcd", .response = "xyz", .number = 2},
                                            {.prompt = "b", .response = "wxyz", .number = 4}};
  const auto kept = eso::tokenise(std::span<const eso::TextExample>(texts), Bytes{}, 0, 4, 3, 6);
  REQUIRE(kept.examples.size() == 2);
  CHECK(kept.examples[0].number == 1);
  CHECK(kept.examples[1].number == 4);
  CHECK(kept.too_long_prompts == 1);
  CHECK(kept.beyond_context == 1);
  CHECK(kept.cut_targets == 1);
}

TEST_CASE("both responses of a pair are cut, ended and held against the context", "[data]") {
  const auto pair = [](const std::string& prompt, const std::string& chosen, const std::string& rejected) {
    const std::vector<eso::TextExample> texts{
        {.prompt = prompt, .response = chosen, .number = 7, .pair = true, .rejected = rejected}};
    return eso::tokenise(texts, Bytes{}, 0, 4, 3, 6);
  };
  const auto kept = pair("ab", "x", "wxyz");
  REQUIRE(kept.examples.size() == 1);
  CHECK(kept.examples[0].target == Tokens{'x', 0});
  CHECK(kept.examples[0].rejected == Tokens{'w', 'x', 'y'});
  CHECK(kept.examples[0].reference == "x");
  CHECK(kept.cut_targets == 1);
  CHECK(pair("abcd", "x", "y").examples.size() == 1);
  CHECK(pair("abcd", "x", "yz").beyond_context == 1);
  CHECK(pair("abcd", "xy", "z").beyond_context == 1);
  CHECK(one("ab", "x").examples[0].rejected.empty());
}

TEST_CASE("what is empty or equal once it is tokens and cut is dropped and counted, or refused", "[data]") {
  using eso::RowFault;
  const auto rows = [](const std::string& prompt, const std::string& chosen, const std::string& rejected,
                       bool pair, eso::BadRows bad = eso::BadRows::drop) {
    eso::TextExample bad_row{.prompt = prompt, .response = chosen, .pair = pair, .rejected = rejected};
    bad_row.file = std::make_shared<const std::string>("f");
    bad_row.line = 8;
    const std::vector<eso::TextExample> texts{
        {.prompt = "ab", .response = "x", .pair = pair, .rejected = pair ? "y" : ""}, bad_row};
    return eso::tokenise(texts, Bytes{}, 0, 4, 3, 7, eso::PromptOverflow::skip, {.bad = bad});
  };
  struct Case {
    std::string prompt, chosen, rejected;
    bool pair;
    RowFault fault;
  };
  for (const auto& [prompt, chosen, rejected, pair, fault] :
       {Case{"", "x", "", false, RowFault::empty_prompt}, Case{"ab", "", "", false, RowFault::empty_response},
        Case{"ab", " \n x", "", false, RowFault::empty_response},               // the cut leaves white space
        Case{"ab", std::string(1, '\0'), "", false, RowFault::empty_response},  // the end alone
        Case{"ab", "x", "", true, RowFault::empty_response},
        Case{"ab", "", "x", true, RowFault::empty_response},
        Case{"ab", "x", "   y", true, RowFault::empty_response},
        Case{"ab", "xyzv", "xyzw", true, RowFault::equal_pair},  // alike in the first three
        Case{"ab", "xyzv", "xyz", true, RowFault::equal_pair}}) {
    INFO(chosen << " and " << rejected);
    const auto kept = rows(prompt, chosen, rejected, pair);
    CHECK(kept.examples.size() == 1);
    CHECK(kept.dropped.total() == 1);
    CHECK(kept.dropped[fault] == 1);
    CHECK(kept.cut_targets == 0);
    CHECK_THROWS_WITH(rows(prompt, chosen, rejected, pair, eso::BadRows::refuse),
                      "f:8: a row with " +
                          std::string(eso::row_fault_words[static_cast<std::size_t>(fault)]) +
                          ", in tokens and cut to 3");
  }
  CHECK(rows("ab", "xyz", "xy", true).examples.size() == 2);  // the second ends
  int calls = 0;
  const std::vector<eso::TextExample> many(9, {.prompt = "a", .response = "x"});
  CHECK_THROWS_WITH(eso::tokenise(many, Bytes{}, 0, 4, 3, 6, eso::PromptOverflow::skip,
                                  {.between =
                                       [&] {
                                         if (++calls == 5) throw std::runtime_error("stop");
                                       }}),
                    "stop");
  CHECK(calls == 5);
  CHECK_THROWS_AS(eso::tokenise(many, Bytes{}, 0, 4, 0, 6), eso::Error);
  CHECK_THROWS_AS(eso::tokenise(many, Bytes{}, 0, 0, 3, 6), eso::Error);
}

namespace {

/// A template of two tokens around the input, which lies between its brackets, cut to 6 of the prompt in a
/// context of 8, with 3 for the response.
eso::Tokenised cut(const std::string& input, const std::string& response = "x", eso::Index most = 6) {
  const std::vector<eso::TextExample> texts{
      {.prompt = "[" + input + "]", .response = response, .input_at = 1, .input_size = input.size()}};
  return eso::tokenise(texts, Bytes{}, 0, most, 3, 8, eso::PromptOverflow::truncate);
}

}  // namespace

TEST_CASE("a prompt that is too long is cut inside its input, never in the template", "[data]") {
  const auto whole = cut("abcd");
  CHECK(whole.examples.at(0).prompt_text == "[abcd]");
  CHECK(whole.cut_prompts == 0);
  for (const std::string input : {"abcde", "abcdefghijklmnop"}) {
    const auto shorter = cut(input);
    REQUIRE(shorter.examples.size() == 1);
    CHECK(shorter.examples[0].prompt_text == "[abcd]");
    CHECK(shorter.examples[0].prompt == Bytes{}.encode("[abcd]"));
    CHECK(shorter.cut_prompts == 1);
    CHECK(shorter.too_long_prompts + shorter.beyond_context == 0);
  }
  CHECK(cut("abcd", "xy").examples.at(0).prompt_text == "[abc]");  // 5 + 3 fill the context
  CHECK(cut("abc\u00e9f").examples.at(0).prompt_text == "[abc]");  // characters stay whole
  CHECK(cut("ab\u00e9ef").examples.at(0).prompt_text == "[ab\u00e9]");
  CHECK(cut("abc", "x", 3).examples.at(0).prompt_text == "[a]");
  const auto dropped = cut("abc", "x", 2);  // nothing of the input is left
  CHECK(dropped.examples.empty());
  CHECK(dropped.too_long_prompts == 1);
  CHECK(dropped.cut_prompts == 0);
}

TEST_CASE("a prompt without an input is dropped even where inputs are cut", "[data]") {
  const std::vector<eso::TextExample> texts{{.prompt = "abcde", .response = "x"},
                                            {.prompt = "abcd", .response = "xyz"}};
  const auto result = eso::tokenise(texts, Bytes{}, 0, 4, 3, 6, eso::PromptOverflow::truncate);
  CHECK(result.examples.empty());
  CHECK(result.too_long_prompts == 1);
  CHECK(result.beyond_context == 1);
}

TEST_CASE("of a transcript the end is kept", "[data]") {
  const std::vector<eso::TextExample> texts{
      {.prompt = "abcdefg", .response = "x", .pair = true, .rejected = "yz", .keep_end = true}};
  const auto result = eso::tokenise(texts, Bytes{}, 0, 5, 3, 7, eso::PromptOverflow::truncate);
  REQUIRE(result.examples.size() == 1);
  CHECK(result.examples[0].prompt_text == "defg");  // 4 + 3 of the longer response fill the context
  CHECK(result.examples[0].prompt == Bytes{}.encode("defg"));
  CHECK(result.cut_prompts == 1);
  CHECK(eso::tokenise(texts, Bytes{}, 0, 5, 3, 7).examples.empty());
}
