// SPDX-License-Identifier: MIT
#include "eso/data/flat_json.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

TEST_CASE("FlatJson reads objects of strings, of two equal keys the last", "[data]") {
  eso::FlatJson flat;
  REQUIRE(flat.read("{\"a\":\"x\",\t\"b\" : \"y\\n\\\"\\u00e9\\\\\", \"a\":\"z\"} \r"));
  CHECK(*flat.find("a") == "z");
  CHECK(*flat.find("b") == "y\n\"\xC3\xA9\\");
  CHECK(flat.find("c") == nullptr);
  REQUIRE(flat.read("{}"));
  CHECK(flat.find("a") == nullptr);
}

TEST_CASE("FlatJson leaves everything else to a complete reader", "[data]") {
  eso::FlatJson flat;
  for (const char* text : {"", "{", "[]", "\"a\"", "{\"a\":1}", "{\"a\":null}", "{\"a\":\"b\"",
                           "{\"a\":\"b\",}", "{\"a\" \"b\"}", "{\"a\":\"b\"}x", "{\"a\":\"\\ud83d\\ude00\"}",
                           "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\\u12\"}", "{\"a\":\"\\\"}",
                           "{\"a\":\"b\nc\"}", "{,}", "{a:\"b\"}", "{\"a\":{\"b\":\"c\"}}"}) {
    CAPTURE(text);
    CHECK_FALSE(flat.read(text));
  }
}

TEST_CASE("FlatJson never reads what is no JSON, and reads the same as the complete reader", "[data]") {
  std::mt19937 random(7);
  static constexpr std::string_view pieces[] = {"{",         "}",   "\"",      "\"",      ":", ",",
                                                "a",         "\\n", "\\u0041", "\\",      " ", "\"a\":\"b\"",
                                                "{\"a\":\"", "\"}", "\x01",    "\\ud800", "[", "7"};
  int read = 0;
  for (int trial = 0; trial < 200000; ++trial) {
    std::string text;
    for (std::size_t n = random() % 9; n > 0; --n) text += pieces[random() % std::size(pieces)];
    eso::FlatJson flat;
    if (!flat.read(text)) continue;
    ++read;
    const auto json = nlohmann::json::parse(text, nullptr, false);
    CAPTURE(text);
    REQUIRE(json.is_object());
    for (const auto& [name, value] : json.items()) {
      REQUIRE(flat.find(name));
      REQUIRE(*flat.find(name) == value.get<std::string>());
    }
  }
  CHECK(read > 100);
}
