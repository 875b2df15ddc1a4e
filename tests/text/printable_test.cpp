// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "eso/error.hpp"
#include "eso/text/printable.hpp"

TEST_CASE("what a terminal would obey is shown as an escape, all else as it is") {
  CHECK(eso::printable("abc äö 日本 😀") == "abc äö 日本 😀");
  CHECK(eso::printable("a\x1B[31m\x7F\n") == "a\\u001B[31m\\u007F\\u000A");
  CHECK(eso::printable("a\nb\x1B", true) == "a\nb\\u001B");
  CHECK(eso::printable("\xC2\x80\xC2\x9F\xC2\xA0") == "\\u0080\\u009F\xC2\xA0");
  CHECK(eso::printable("\xE2\x80\xAA\xE2\x80\xAE\xE2\x81\xA6\xE2\x81\xA9") == "\\u202A\\u202E\\u2066\\u2069");
  CHECK(eso::printable("\xE2\x80\x8E\xE2\x80\x8F\xE2\x80\xA8\xE2\x80\xA9") == "\\u200E\\u200F\\u2028\\u2029");
}

TEST_CASE("malformed UTF-8 is shown byte for byte") {
  CHECK(eso::printable("\x9B|\xC2|\xE2\x80") == "\\x9B|\\xC2|\\xE2\\x80");
  CHECK(eso::printable("\xFFz\xC0\x80") == "\\xFFz\\xC0\\x80");
}

TEST_CASE("the middle is cut out of a long text, between characters") {
  CHECK(eso::cut_middle("abcdef", 6) == "abcdef");
  CHECK(eso::cut_middle("abcdefghij", 6) == "abcd...ij");
  for (std::size_t limit = 6; limit < 20; ++limit) {
    const std::string cut = eso::cut_middle("äöüßäöüßäöüßäöüß", limit);
    CHECK(eso::printable(cut) == cut);
  }
}

TEST_CASE("an error is one short line that keeps the beginning and the line number of its place") {
  const std::string path = "/data/" + std::string(5000, 'x') + ".jsonl:17";
  const std::string what = eso::input_error(path, "is bad", std::string(5000, 'y') + "\x9B", "b\nc").what();
  CHECK(what.size() < 1000);
  CHECK(what.starts_with("/data/xxx"));
  CHECK(what.find("x.jsonl:17: is bad, found yyy") != std::string::npos);
  CHECK(what.ends_with("y\\x9B, expected b c"));
  CHECK(eso::input_error(path, "is bad").where() == path);
}
