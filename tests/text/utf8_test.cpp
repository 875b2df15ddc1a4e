// SPDX-License-Identifier: MIT
#include "eso/text/utf8.hpp"

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

using namespace std::string_literals;

TEST_CASE("malformed bytes become one U+FFFD for each maximal subpart", "[utf8]") {
  // Unicode 15, table 3-8 and the text around it; Python's bytes.decode("utf-8", "replace") gives the same.
  const std::string r = "\uFFFD";
  const auto expected = GENERATE_COPY(values<std::pair<std::string, std::string>>({
      {"", ""},
      {"abc", "abc"},
      {"\x80", r},
      {"\xC0\xAF", r + r},                                          // overlong '/'
      {"\xC1\x80", r + r},                                          //
      {"\xE0\x80\xAF", r + r + r},                                  // overlong: E0 must not be followed by 80
      {"\xF0\x80\x80\xAF", r + r + r + r},                          //
      {"\xED\xA0\x80", r + r + r},                                  // a surrogate
      {"\xF4\x90\x80\x80", r + r + r + r},                          // above U+10FFFF
      {"\xF5\x80", r + r},                                          //
      {"\xE1\x80", r},                                              // cut at the end: one subpart
      {"\xF1\x80\x80", r},                                          //
      {"\xF0\x90", r},                                              //
      {"\xC2", r},                                                  //
      {"a\xF1\x80\x80\xE1\x80\xC2"s + "b", "a" + r + r + r + "b"},  // table 3-8
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"s + "A", r + r + r + r + "A"},
      {"\xC3\xA9\xC3", "\xC3\xA9" + r},
      {"\xE2\x28\xA1", r + "(" + r},
  }));
  CAPTURE(expected.first);
  CHECK(eso::to_valid_utf8(expected.first) == expected.second);
  CHECK(eso::first_invalid_utf8(expected.first).has_value() == (expected.first != expected.second));
  CHECK_FALSE(eso::first_invalid_utf8(eso::to_valid_utf8(expected.first)).has_value());
}

TEST_CASE("the first malformed byte is found", "[utf8]") {
  CHECK(eso::first_invalid_utf8("ab\xFF") == std::size_t{2});
  CHECK(eso::first_invalid_utf8("\xC3\xA9\xE2\x82") == std::size_t{2});
  CHECK(eso::first_invalid_utf8("\xC3\xA9\xF0\x9F\x99\x82 \xED\xB0\x80") == std::size_t{7});
  CHECK(eso::first_invalid_utf8("nul \0 is fine"s) == std::nullopt);
}

TEST_CASE("every code point is written and read back, forwards and backwards", "[utf8]") {
  int wrong = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "\xC3\xA9";
    eso::append_utf8(text, c);
    const eso::CodePoint read = eso::decode_utf8(text, 2);
    const eso::CodePoint before = eso::decode_utf8_before(text, text.size());
    const std::size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    wrong += !read.valid || read.value != c || read.length != length || text.size() != 2 + length;
    wrong += before.value != c;
  }
  CHECK(wrong == 0);
}
