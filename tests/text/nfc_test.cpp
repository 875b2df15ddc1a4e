// SPDX-License-Identifier: MIT
#include "eso/text/nfc.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "eso/text/utf8.hpp"

namespace {

std::string text_of(const std::u32string& code_points) {
  std::string text;
  for (const char32_t c : code_points) eso::append_utf8(text, c);
  return text;
}

std::string nfc(const std::u32string& code_points) { return eso::Nfc::normalize(text_of(code_points)); }

nlohmann::json golden() {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/nfc.json");
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("NFC by hand", "[nfc]") {
  CHECK(eso::Nfc::normalize("") == "");
  CHECK(eso::Nfc::normalize("plain ASCII\n") == "plain ASCII\n");
  CHECK(nfc(U"e\u0301") == "é");
  CHECK(nfc(U"\u00e9") == "é");
  CHECK(nfc(U"cafe\u0301 cafe\u0301s") == "café cafés");
  CHECK(nfc(U"\u212b\u2126") == "ÅΩ");  // singletons: the angstrom and ohm signs
  // classes: U+0323 has 220 and goes before U+0301 (230); q composes with neither
  CHECK(nfc(U"q\u0301\u0323") == text_of(U"q\u0323\u0301"));
  // two acutes: the first composes, the second stays; equal classes keep their order
  CHECK(nfc(U"e\u0301\u0301") == text_of(U"\u00e9\u0301"));
  // U+0327 (202) does not block U+0301 (230) from e, but composes first: e + U+0327 = U+0229
  CHECK(nfc(U"e\u0301\u0327") == text_of(U"\u0229\u0301"));
  // a starter between blocks
  CHECK(nfc(U"eb\u0301") == text_of(U"eb\u0301"));
  CHECK(nfc(U"e\u200d\u0301") == text_of(U"e\u200d\u0301"));
  // composition exclusions stay apart: U+0958, U+FB1F, U+0344
  CHECK(nfc(U"\u0958\ufb1f\u0344") == text_of(U"\u0915\u093c\u05f2\u05b7\u0308\u0301"));
  // UAX 15, figure 6
  CHECK(nfc(U"\u1e9b\u0323") == text_of(U"\u1e9b\u0323"));
  CHECK(nfc(U"\u1e0b\u0323") == text_of(U"\u1e0d\u0307"));
  CHECK(nfc(U"\u0301a") == text_of(U"\u0301a"));  // a mark with nothing before it
  // two starters that compose
  CHECK(nfc(U"\u09c7\u09be") == text_of(U"\u09cb"));
}

TEST_CASE("Hangul composes by arithmetic", "[nfc]") {
  // U+D55C (han) = 0xAC00 + (18 * 21 + 0) * 28 + 4: lead U+1112, vowel U+1161, tail U+11AB
  CHECK(nfc(U"\u1112\u1161\u11ab") == "한");
  CHECK(nfc(U"\ud558\u11ab") == "한");                            // a syllable without a tail, and a tail
  CHECK(nfc(U"\ud55c\u11ab") == text_of(U"\ud55c\u11ab"));        // it has a tail already
  CHECK(nfc(U"\u1100\u1161\u11a7") == text_of(U"\uac00\u11a7"));  // U+11A7 is no tail
  CHECK(nfc(U"\u1100\u1100\u1161") == text_of(U"\u1100\uac00"));
  CHECK(nfc(U"\u1112\u1161\u0301\u11ab") == text_of(U"\ud558\u0301\u11ab"));  // blocked
}

TEST_CASE("NFC agrees with Python's unicodedata", "[nfc]") {
  const nlohmann::json cases = golden()["cases"];
  for (const auto& entry : cases) {
    const auto text = entry[0].get<std::string>();
    CAPTURE(text);
    CHECK(eso::Nfc::normalize(text) == entry[1].get<std::string>());
    CHECK(eso::Nfc::normalize(entry[1].get<std::string>()) == entry[1].get<std::string>());
  }
}

TEST_CASE("NFC of every code point agrees with tokenizers", "[nfc]") {
  std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a of the normal forms with line feeds between
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    for (const char byte : (c > 0 ? "\n" : "") + nfc({c})) {
      hash = (hash ^ static_cast<std::uint8_t>(byte)) * 0x100000001B3U;
    }
  }
  CHECK(fmt::format("{:016x}", hash) == golden()["hash_of_every_code_point"].get<std::string>());
}

TEST_CASE("NFC does not depend on what stands around", "[nfc]") {
  std::string text, normal;  // nothing composes with a full stop
  const nlohmann::json cases = golden()["cases"];
  for (const auto& entry : cases) {
    text += entry[0].get<std::string>() + ".";
    normal += entry[1].get<std::string>() + ".";
  }
  CHECK((eso::Nfc::normalize(text) == normal));
}

TEST_CASE("a long run of marks is put in order", "[nfc]") {
  // 200,000 pairs of an acute (230) and a grave below (220): all of the second go first, and the first acute
  // composes with the e
  std::string text = "e", normal = "\u00e9";
  const std::string acute = "\u0301", below = "\u0316";
  std::string belows, acutes;
  for (int i = 0; i < 200000; ++i) {
    text += acute + below;
    belows += below;
    if (i > 0) acutes += acute;
  }
  CHECK((eso::Nfc::normalize(text) == normal + belows + acutes));
}
