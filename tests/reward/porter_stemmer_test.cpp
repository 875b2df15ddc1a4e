// SPDX-License-Identifier: MIT
#include "eso/reward/porter_stemmer.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "eso/reward/rouge_words.hpp"

#include "eso/reward/rouge_words.hpp"

using eso::porter_stem;

namespace {

using Stems = std::vector<std::pair<std::string, std::string>>;

void check(const Stems& stems) {
  for (const auto& [word, stem] : stems) {
    CAPTURE(word);
    CHECK(porter_stem(word) == stem);
  }
}

}  // namespace

TEST_CASE("The stemmer gives the stems of NLTK for thousands of words", "[reward][porter]") {
  const auto golden = nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/rouge.json"))["stems"];
  REQUIRE(golden.size() > 3000);
  std::size_t changed = 0;
  for (const std::string line : golden) {
    const std::size_t space = line.find(' ');
    const std::string word = line.substr(0, space), stem = line.substr(space + 1);
    CAPTURE(word);
    CHECK(porter_stem(word) == stem);
    changed += static_cast<std::size_t>(word != stem);
  }
  CHECK(changed > golden.size() / 3);  // a stemmer that does nothing must not pass
}

TEST_CASE("The stemmer gives the published stems", "[reward][porter]") {
  check({{"caresses", "caress"},
         {"ponies", "poni"},
         {"ties", "tie"},
         {"dies", "die"},
         {"flies", "fli"},
         {"spied", "spi"},
         {"died", "die"},
         {"agreed", "agre"},
         {"motoring", "motor"},
         {"conflated", "conflat"},
         {"sized", "size"},
         {"hopping", "hop"},
         {"falling", "fall"},
         {"failing", "fail"},
         {"filing", "file"},
         {"happy", "happi"},
         {"enjoy", "enjoy"},
         {"fly", "fli"},
         {"sky", "sky"},
         {"skies", "sky"},
         {"news", "news"},
         {"dying", "die"},
         {"innings", "inning"},
         {"relational", "relat"},
         {"rational", "ration"},
         {"valency", "valenc"},
         {"hesitancy", "hesit"},
         {"radically", "radic"},
         {"vietnamization", "vietnam"},
         {"hopefulness", "hope"},
         {"sensibility", "sensibl"},
         {"formalize", "formal"},
         {"electricity", "electr"},
         {"adjustable", "adjust"},
         {"adoption", "adopt"},
         {"bowdlerize", "bowdler"},
         {"rate", "rate"},
         {"controll", "control"},
         {"roll", "roll"},
         {"geology", "geolog"},
         {"generously", "gener"},
         {"university", "univers"},
         {"being", "be"},
         {"having", "have"},
         {"uses", "use"},
         {"aged", "age"},
         {"owed", "owe"},
         {"1990s", "1990"}});
}

TEST_CASE("Each step of the stemmer follows its rule", "[reward][porter]") {
  SECTION("1a: only the length of the word tells ties from ponies, and ss stays") {
    check({{"ties", "tie"},
           {"ries", "rie"},
           {"tries", "tri"},
           {"ies", "i"},
           {"miss", "miss"},
           {"cats", "cat"}});
  }
  SECTION("1b: a letter is removed, kept or added after -ed and -ing") {
    // tanned: nn is a double consonant other than l, s, z, one n goes. fizz: z, both stay. fil + ing has
    // measure 1 and ends consonant vowel consonant, so e comes back; fail does not end so. feed: the stem f
    // has measure 0.
    check({{"tanned", "tan"},
           {"fizzed", "fizz"},
           {"hissing", "hiss"},
           {"filing", "file"},
           {"failing", "fail"},
           {"feed", "feed"},
           {"bled", "bled"},
           {"sing", "sing"},
           {"troubled", "troubl"}});
  }
  SECTION("1c: y becomes i after a consonant that is not the first letter") {
    check({{"fly", "fli"},
           {"by", "by"},
           {"dry", "dri"},
           {"say", "say"},
           {"enjoy", "enjoy"},
           {"syzygy", "syzygi"}});
  }
  SECTION("2: alli becomes al, and then the step runs again on what is left") {
    // rel|ationalli: alli -> al gives relational, ational -> ate gives relate, step 5 drops the e.
    // r|ational has measure 0 before the suffix, so rationalli stops at rational, from which step 4 takes al.
    check({{"relationalli", "relat"}, {"rationalli", "ration"}, {"radicalli", "radic"}, {"alli", "alli"}});
  }
  SECTION("2: the l of logi counts as a letter of the stem") {
    // geo has measure 0, geol has 1.
    check({{"geologi", "geolog"}, {"theology", "theolog"}, {"logi", "logi"}});
  }
  SECTION("4: -ion needs an s or t before it, and the longest of -ement, -ment, -ent decides alone") {
    // replac|ement has measure 2. el|ement has 1, and -ment is not tried then, although elem- had measure 2.
    check({{"adoption", "adopt"}, {"replacement", "replac"}, {"element", "element"}, {"million", "million"}});
  }
  SECTION("5: a final e goes after measure 2, or after 1 if the stem is not short") {
    check({{"probate", "probat"},
           {"rate", "rate"},
           {"cease", "ceas"},
           {"age", "age"},
           {"controll", "control"}});
  }
}

TEST_CASE("The irregular words of NLTK have their own stems", "[reward][porter]") {
  check({{"lying", "lie"},
         {"tying", "tie"},
         {"inning", "inning"},
         {"outings", "outing"},
         {"outing", "outing"},
         {"cannings", "canning"},
         {"canning", "canning"},
         {"howe", "howe"},
         {"proceed", "proceed"},
         {"exceed", "exceed"},
         {"succeed", "succeed"},
         {"winning", "win"},
         {"shinnings", "shin"},
         {"proceeds", "proce"}});
}

TEST_CASE("Words of at most two letters are their own stems", "[reward][porter]") {
  for (const std::string word : {"", "a", "y", "is", "as", "ed", "ll", "by", "1s"})
    CHECK(porter_stem(word) == word);
}

TEST_CASE("A run of y of any length is stemmed in a moment", "[reward][porter]") {
  // The y take turns as consonant and vowel, the first one a consonant. In y...yy with an even number of them
  // the letter before the last is a consonant, so the last becomes i; with an odd number it is a vowel.
  CHECK(porter_stem("yyyy") == "yyyi");
  CHECK(porter_stem("yyyyy") == "yyyyy");
  const std::string run(1'000'000, 'y');
  CHECK(porter_stem(run) == run.substr(1) + "i");
  CHECK(porter_stem(run + "ing").size() <= run.size() + 1);
}

TEST_CASE("Any bytes have a stem, which is not longer and the same in place", "[reward][porter]") {
  std::mt19937 random(7);
  const std::string letters = "aeiouybdglnstvz0123\x01\x80\xff'";
  const std::vector<std::string> endings{"",        "s",    "ies", "ied",   "eed", "ing", "alli",
                                         "ational", "logi", "ion", "ement", "e",   "ll"};
  for (int trial = 0; trial < 20000; ++trial) {
    std::string word;
    for (std::size_t left = random() % 12; left > 0; --left) word += letters[random() % letters.size()];
    word += endings[random() % endings.size()];
    const std::string stem = porter_stem(word);
    CHECK(stem.size() <= word.size());
    CHECK(stem.empty() == word.empty());
    std::string guarded = word + "guard";
    const std::size_t length = eso::porter_stem_in_place({guarded.data(), word.size()});
    CHECK(guarded.substr(0, length) == stem);
    CHECK(guarded.substr(word.size()) == "guard");
  }
}

TEST_CASE("StemCache gives the stems of the stemmer, of words that share a place too", "[reward]") {
  std::mt19937 random(3);
  eso::StemCache cache;
  static constexpr std::string_view endings[] = {"", "s", "ing", "ed", "ational", "fulness", "y", "iveness"};
  for (int trial = 0; trial < 50000; ++trial) {
    std::string word;
    for (std::size_t n = 1 + random() % 12; n > 0; --n) word += static_cast<char>('a' + random() % 4);
    word += endings[random() % std::size(endings)];
    std::string letters = word + "next words stand here";
    CAPTURE(word);
    REQUIRE(std::string(cache.stem({letters.data(), word.size()})) == eso::porter_stem(word));
  }
}
