// SPDX-License-Identifier: MIT
#include "eso/text/unicode.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

using eso::character_class;
using eso::CharacterClass;

TEST_CASE("character classes by hand", "[unicode]") {
  for (const char32_t c : {U'a', U'Z', U'ß', U'ª', U'ʰ', U'א', U'क', U'你', U'가', U'ǅ', U'𝒜'}) {
    CHECK(character_class(c) == CharacterClass::letter);
  }
  for (const char32_t c : {U'0', U'9', U'²', U'½', U'٣', U'Ⅷ', U'〇', U'㊿', U'𝟘'}) {
    CHECK(character_class(c) == CharacterClass::number);
  }
  for (const std::uint32_t c : {0x9U, 0xAU, 0xBU, 0xCU, 0xDU, 0x20U, 0x85U, 0xA0U, 0x1680U, 0x2000U, 0x200AU,
                                0x2028U, 0x2029U, 0x202FU, 0x205FU, 0x3000U}) {
    CHECK(character_class(c) == CharacterClass::space);
  }
  // marks, punctuation, controls, format characters, private use, noncharacters; U+180E was white space once
  for (const std::uint32_t c : {0x0U, 0x8U, 0x1CU, 0x1FU, 0x21U, 0x7FU, 0x301U, 0x93FU, 0x180EU, 0x200BU,
                                0x2060U, 0xFEFFU, 0xE000U, 0x1F642U, 0x10FFFFU}) {
    CHECK(character_class(c) == CharacterClass::other);
  }
}

TEST_CASE("character classes agree with Python's unicodedata wherever that knows the character",
          "[unicode]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/unicode.json");
  const auto runs = nlohmann::json::parse(file)["classes"];
  const std::string letters = "OLNS";  // in the order of CharacterClass
  int checked = 0, wrong = 0;
  for (std::size_t i = 0; i < runs.size(); i += 2) {
    const char expected = runs[i + 1].get<std::string>()[0];
    if (expected == '?') continue;
    const auto end = i + 2 < runs.size() ? runs[i + 2].get<std::uint32_t>() : 0x110000U;
    for (auto c = runs[i].get<std::uint32_t>(); c < end; ++c) {
      ++checked;
      wrong += letters[static_cast<std::size_t>(character_class(c))] != expected;
    }
  }
  CHECK(checked > 280000);  // 144,697 characters of Unicode 14, and private use
  CHECK(wrong == 0);
}

TEST_CASE("words are made of letters, marks, decimal numbers, connectors and joiners", "[unicode]") {
  for (const std::uint32_t c : {0x30U, 0x41U, 0x5FU, 0x7AU, 0xAAU, 0xE9U, 0x301U, 0x660U, 0x93FU, 0x200CU,
                                0x200DU, 0x203FU, 0x4E00U, 0x24B6U, 0x2160U, 0x1D7D8U}) {
    CHECK(eso::is_word_character(c));
  }
  for (const std::uint32_t c : {0x0U, 0x20U, 0x2DU, 0x2EU, 0x40U, 0x5BU, 0x60U, 0x7BU, 0xA0U, 0xB2U, 0xBDU,
                                0xD7U, 0x2019U, 0x200BU, 0x3000U, 0x1F642U, 0xE000U, 0x10FFFFU}) {
    CHECK_FALSE(eso::is_word_character(c));
  }
}
