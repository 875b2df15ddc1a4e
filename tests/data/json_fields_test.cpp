// SPDX-License-Identifier: MIT
#include "eso/data/json_fields.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace {

/// The text of a field that is a string.
std::string text_of(const eso::JsonFields& fields, std::string_view name) {
  const eso::JsonFields::Field* const field = fields.find(name);
  REQUIRE(field);
  const auto text = eso::unescaped(field->value.substr(1, field->value.size() - 2));
  REQUIRE(text);
  return *text;
}

}  // namespace

TEST_CASE("JsonFields finds the fields of an object, of two equal names the last", "[data]") {
  eso::JsonFields fields;
  REQUIRE(
      !fields.read("{\"a\":\"x\",\t\"b\" : \"y\\n\\\"\\u00e9\\\\\", \"a\":\"z\", \"\\u0063\": [1, {}]} \r"));
  CHECK(text_of(fields, "a") == "z");
  CHECK(text_of(fields, "b") == "y\n\"\xC3\xA9\\");
  CHECK(fields.find("c")->value == "[1, {}]");
  CHECK(fields.find("d") == nullptr);
  REQUIRE(!fields.read("{}"));
  CHECK(fields.find("a") == nullptr);
  REQUIRE(fields.read_array("[ {\"a\": 1} ,\"b\",[] ]"));
  REQUIRE(fields.all().size() == 3);
  CHECK(fields.all()[0].value == "{\"a\": 1}");
  CHECK(fields.all()[2].value == "[]");
  CHECK(fields.read_array("[]"));
  CHECK(!fields.read_array("{}"));
}

TEST_CASE("JsonFields takes whatever is JSON and builds nothing of it", "[data]") {
  eso::JsonFields fields;
  for (const std::string& value :
       {std::string("1e400"), std::string("-1E+99999"), std::string(1000, '9'), std::string("\"\\ud800\""),
        std::string("{\"\\udc00\": 1}"), std::string(1000000, '[') + std::string(1000000, ']'),
        std::string("{\"a\":1,\"a\":2}"), std::string("-0.0e-0")}) {
    const std::string text = "{\"x\": " + value + "}";
    CHECK(!fields.read(text));
    CHECK(fields.find("x")->value == value);
  }
  CHECK(eso::unescaped("\\ud83d\\ude00") == "\xF0\x9F\x98\x80");
  for (const char* lone :
       {"\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud83dx", "\\ude00\\ud83d", "\\ud83d\\n"})
    CHECK(!eso::unescaped(lone));
}

TEST_CASE("JsonFields says at which byte a text is no object", "[data]") {
  eso::JsonFields fields;
  const auto fault = [&](std::string_view text) {
    const auto found = fields.read(text);
    REQUIRE(found);
    return found->at;
  };
  CHECK(fault("") == 0);
  CHECK(fault("[]") == 0);
  CHECK(fault("{\"a\":1,}") == 7);
  CHECK(fault("{\"a\" 1}") == 5);
  CHECK(fault("{\"a\":01}") == 6);
  CHECK(fault("{\"a\":1.}") == 7);
  CHECK(fault("{\"a\":nul}") == 8);
  CHECK(fault("{\"a\":\"\\x\"}") == 7);
  CHECK(fault("{\"a\":\"\\u12g4\"}") == 10);
  CHECK(fault("{\"a\":\"b\nc\"}") == 7);
  CHECK(fault("{\"a\":\"b") == 7);
  CHECK(fault("{\"a\":{\"b\":[1}}") == 12);
  CHECK(fault("{} {}") == 3);
}

TEST_CASE("JsonFields reads what the complete reader reads, and the same", "[data]") {
  std::mt19937 random(7);
  static constexpr std::string_view pieces[] = {
      "{",  "}", "\"",          "\"",        ":",       ",",      "a",    "\\n", "\\u0041",
      "\\", " ", "\"a\":\"b\"", "{\"a\":\"", "\"}",     "\x01",   "[",    "]",   "7",
      "-",  "0", ".5",          "e1",        "{\"a\":", "\"b\":", "null", "[1,", "true"};
  int objects = 0;
  for (int trial = 0; trial < 300000; ++trial) {
    std::string text;
    for (std::size_t n = random() % 9; n > 0; --n) text += pieces[random() % std::size(pieces)];
    eso::JsonFields fields;
    const bool read = !fields.read(text);
    const auto json = nlohmann::json::parse(text, nullptr, false);
    CAPTURE(text);
    REQUIRE(read == json.is_object());
    REQUIRE(fields.is_value(text) == !json.is_discarded());
    if (!read) continue;
    fields.read(text);
    ++objects;
    for (const auto& [name, value] : json.items()) {
      REQUIRE(fields.find(name));
      REQUIRE(nlohmann::json::parse(fields.find(name)->value) == value);
    }
  }
  CHECK(objects > 100);
}
