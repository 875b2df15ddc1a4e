// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "eso/data/json_lines.hpp"

namespace {

using Catch::Matchers::StartsWith;

/// What the first bad line of `text` throws, nothing if all are taken.
std::optional<eso::Error> failure(const std::string& text) {
  std::istringstream stream(text);
  eso::JsonLines lines(stream);
  try {
    while (lines.next()) {}
  } catch (const eso::Error& error) {
    return error;
  }
  return std::nullopt;
}

std::string message(const std::string& text) {
  const auto error = failure(text);
  REQUIRE(error);
  CHECK(error->fault() == eso::Fault::input);
  const std::string words = error->what();
  CHECK(words.find_first_of("\r\n") == std::string::npos);
  CHECK(words.size() < 300);
  return words;
}

/// A reader that stands on the one line `text`.
struct OneLine {
  std::istringstream stream;
  eso::JsonLines lines;
  explicit OneLine(const std::string& text) : stream(text), lines(stream) { REQUIRE(lines.next()); }
};

}  // namespace

TEST_CASE("JsonLines reads objects and counts the blank lines that it skips", "[data]") {
  std::istringstream stream(
      "\n{\"a\": \"x\"}\r\n  \t\n\r\n{\"a\": \"\\u00fc\\ud83d\\ude00\", \"b\": null}\n\n");
  eso::JsonLines lines(stream, "name");
  REQUIRE(lines.next());
  CHECK(lines.where() == "name:2");
  CHECK(lines.string("a") == "x");
  REQUIRE(lines.next());
  CHECK(lines.where() == "name:5");
  CHECK(lines.number() == 5);
  CHECK(lines.string("a") == "\xC3\xBC\xF0\x9F\x98\x80");
  CHECK(lines.has("b"));
  CHECK(!lines.has("c"));
  CHECK(!lines.next());
  CHECK(lines.number() == 6);
}

TEST_CASE("JsonLines takes of two equal keys the last", "[data]") {
  CHECK(OneLine("{\"a\": 1, \"a\": \"second\"}").lines.string("a") == "second");
}

TEST_CASE("JsonLines takes the lines that Python's json takes and no others", "[data]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/data.json");
  const auto golden = nlohmann::json::parse(file)["json"];
  REQUIRE(golden.size() > 40);
  for (const auto& entry : golden) {
    const auto line = entry["line"].get<std::string>();
    CAPTURE(line);
    CHECK(!failure(line).has_value() == entry["accepted"].get<bool>());
  }
}

TEST_CASE("JsonLines names place and reason of a bad line in one line", "[data]") {
  CHECK_THAT(message("{}\n\n{\"a\": nope}\n"),
             StartsWith("<stdin>:3: malformed JSON at byte 8: invalid literal"));
  CHECK_THAT(message("{\"a\": NaN}"), StartsWith("<stdin>:1: malformed JSON at byte 7: "));
  CHECK_THAT(message("{\"a\": 1} x"), StartsWith("<stdin>:1: malformed JSON at byte 10: "));
  CHECK_THAT(message("{\"a\": \"cut sh"), StartsWith("<stdin>:1: malformed JSON at byte "));
  CHECK_THAT(message("{\"a\": \"" + std::string(1000000, 'x')),
             StartsWith("<stdin>:1: malformed JSON at byte "));
  CHECK(message("{\"a\": \"x\",\n\"b\": 1}") ==
        "<stdin>:1: malformed JSON at byte 11: it ends too early, expected one JSON object per line");
  CHECK(message("{}\n{\"a\": \"\xFF\"}") == "<stdin>:2: malformed UTF-8 at byte 8");
}

TEST_CASE("JsonLines says what a line is that is no object", "[data]") {
  const auto found = [](const std::string& line) {
    const std::string words = message(line), start = "<stdin>:1: is not a JSON object, found ",
                      end = ", expected one JSON object per line";
    CHECK_THAT(words, StartsWith(start) && Catch::Matchers::EndsWith(end));
    return words.substr(start.size(), words.size() - start.size() - end.size());
  };
  CHECK(found("[1, 2]") == "an array");
  CHECK(found("[\n") == "an array");  // one array over the whole file
  CHECK(found(" [{\"a\": 1},") == "an array");
  CHECK(found("null") == "null");
  CHECK(found("\"text\"") == "a string");
  CHECK(found("-1.5") == "a number");
  CHECK(found("true") == "a boolean");
  CHECK(found("document,summary") == "text as in a table with commas (CSV)");
  CHECK(found("\"document\",\"summary\"") == "text as in a table with commas (CSV)");
  CHECK(found("document\tsummary") == "text as in a table with tabs (TSV)");
  CHECK(found("<!DOCTYPE html>") == "a web page or XML");
  CHECK(found("version https://git-lfs.github.com/spec/v1\noid sha256:0") == "a Git LFS pointer");
  CHECK(found("Once upon a time") == "text that is not JSON");
}

TEST_CASE("JsonLines takes fields that nobody asks for whatever they hold", "[data]") {
  for (const std::string& value :
       {std::string("1e400"), std::string(400, '9'), std::string(R"("\ud800")"),
        std::string(R"({"\udc00": 1})"), std::string(1000000, '[') + std::string(1000000, ']')}) {
    const OneLine line("{\"x\": " + value + ", \"a\": \"b\"}");
    CHECK(line.lines.string("a") == "b");
    CHECK(line.lines.has("x"));
    CHECK_THROWS_AS(line.lines.value("x"), eso::Error);
  }
  const OneLine line(R"({"n": 1e400, "s": "\ud800", "d": )" + std::string(65, '[') + std::string(65, ']') +
                     "}");
  CHECK_THROWS_WITH(line.lines.value("n"), "<stdin>:1: field \"n\" holds a number that is out of range");
  CHECK_THROWS_WITH(line.lines.string("s"), "<stdin>:1: field \"s\" holds a surrogate without its partner");
  CHECK_THROWS_WITH(line.lines.value("d"), "<stdin>:1: field \"d\" is nested too deep, expected at most 64");
  CHECK(OneLine("{\"d\": " + std::string(64, '[') + std::string(64, ']') + "}").lines.value("d").is_array());
}

TEST_CASE("JsonLines names a field that is missing or of the wrong type", "[data]") {
  const OneLine line(R"({"n": 1, "t": "x", "l": [], "o": {}, "z": null, "b": true})");
  CHECK_THROWS_WITH(line.lines.string("document"), "<stdin>:1: field \"document\" is missing");
  CHECK_THROWS_WITH(line.lines.string("n"),
                    "<stdin>:1: field \"n\" has the wrong type, found a number, expected a string");
  CHECK_THROWS_WITH(line.lines.string("l"),
                    "<stdin>:1: field \"l\" has the wrong type, found an array, expected a string");
  CHECK_THROWS_WITH(line.lines.string("o"),
                    "<stdin>:1: field \"o\" has the wrong type, found an object, expected a string");
  CHECK_THROWS_WITH(line.lines.string("z"),
                    "<stdin>:1: field \"z\" has the wrong type, found null, expected a string");
  CHECK_THROWS_WITH(line.lines.string("b"),
                    "<stdin>:1: field \"b\" has the wrong type, found a boolean, expected a string");
  CHECK(line.lines.optional_string("t") == "x");
  CHECK(line.lines.optional_string("z") == std::nullopt);
  CHECK(line.lines.optional_string("missing") == std::nullopt);
  CHECK_THROWS_WITH(line.lines.optional_string("n"),
                    "<stdin>:1: field \"n\" has the wrong type, found a number, expected a string");
}

TEST_CASE("JsonLines reads token ids and nothing that only looks like one", "[data]") {
  const OneLine good(R"({"ids": [0, 7, 2147483647], "none": []})");
  CHECK(good.lines.ids("ids") == std::vector<std::int32_t>{0, 7, 2147483647});
  CHECK(good.lines.ids("none").empty());
  CHECK(OneLine("{\"ids\": [ 1\t, 2 ,\r3 ] }").lines.ids("ids") == std::vector<std::int32_t>{1, 2, 3});
  CHECK_THROWS_WITH(good.lines.ids("other"), "<stdin>:1: field \"other\" is missing");

  const auto refused = [](const std::string& value, const std::string& found) {
    const OneLine line("{\"ids\": [3, " + value + "]}");
    CHECK_THROWS_WITH(line.lines.ids("ids"), "<stdin>:1: field \"ids\" holds no token id at 1, found " +
                                                 found + ", expected an integer from 0 to 2147483647");
  };
  refused("1.5", "1.5");
  refused("1.0", "1.0");
  refused("-1", "-1");
  refused("-0", "0");
  refused("1e0", "1.0");
  refused("2147483648", "2147483648");
  refused("18446744073709551615", "18446744073709551615");
  refused("-9223372036854775808", "-9223372036854775808");
  refused("123456789012345678901234567890", "1.2345678901234568e+29");
  refused("true", "a boolean");
  refused("null", "null");
  refused("\"5\"", "a string");
  refused("[5]", "an array");
  const OneLine text(R"({"ids": "1 2"})");
  CHECK_THROWS_WITH(
      text.lines.ids("ids"),
      "<stdin>:1: field \"ids\" has the wrong type, found a string, expected an array of token ids");
}
