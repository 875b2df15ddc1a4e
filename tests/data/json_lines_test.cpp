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
  CHECK(message("[1, 2]") == "<stdin>:1: is no JSON object, found an array, expected an object");
  CHECK(message("{}\nnull") == "<stdin>:2: is no JSON object, found null, expected an object");
  CHECK(message("{\"a\": 1e999}") == "<stdin>:1: a JSON number is out of range");
  CHECK(message("{}\n{\"a\": \"\xFF\"}") == "<stdin>:2: malformed UTF-8 at byte 8");
}

TEST_CASE("JsonLines refuses surrogates that have no partner", "[data]") {
  for (const char* lone : {R"({"a": "\ud800"})", R"({"a": "\udc00"})", R"({"a": "\ud800\ud800"})",
                           R"({"a": "\ud83dx"})", R"({"\ude00": 1})", R"({"a": "\ude00\ud83d"})"}) {
    CAPTURE(lone);
    CHECK_THAT(message(lone), StartsWith("<stdin>:1: malformed JSON at byte "));
  }
}

TEST_CASE("JsonLines refuses deep nesting before it builds anything", "[data]") {
  const auto nested = [](std::size_t depth, char open, char close) {
    return "{\"a\": " + std::string(depth - 1, open) + std::string(depth - 1, close) + "}";
  };
  CHECK(!failure(nested(64, '[', ']')));
  CHECK(message(nested(65, '[', ']')) ==
        "<stdin>:1: JSON is nested too deep at byte 70, expected at most 64");  // 6 bytes before the first [
  CHECK_THAT(message(nested(1000000, '[', ']')), StartsWith("<stdin>:1: JSON is nested too deep"));
  CHECK_THAT(message(std::string(1000000, '[')), StartsWith("<stdin>:1: JSON is nested too deep"));
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK_THAT(message(objects), StartsWith("<stdin>:1: JSON is nested too deep"));
  std::string siblings = "{\"a\": [{}";  // any number side by side
  for (int i = 0; i < 1000; ++i) siblings += ", [], {\"b\": [1]}";
  CHECK(!failure(siblings + "]}"));
  // Brackets in strings are text, whatever is escaped before them.
  CHECK(!failure("{\"a\": \"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"}"));
  CHECK(!failure("{\"a\": \"\\\\\", \"b\": [" + std::string(1, '1') + "]}"));
  CHECK_THAT(message("{\"a\": \"\\\\\", \"b\": " + std::string(64, '[')),
             StartsWith("<stdin>:1: JSON is nested"));
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
  CHECK_THROWS_WITH(good.lines.ids("other"), "<stdin>:1: field \"other\" is missing");

  const auto refused = [](const std::string& value, const std::string& found) {
    const OneLine line("{\"ids\": [3, " + value + "]}");
    CHECK_THROWS_WITH(line.lines.ids("ids"), "<stdin>:1: field \"ids\" holds no token id at 1, found " +
                                                 found + ", expected an integer from 0 to 2147483647");
  };
  refused("1.5", "1.5");
  refused("1.0", "1.0");
  refused("-1", "-1");
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
