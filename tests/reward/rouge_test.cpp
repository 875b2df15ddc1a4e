// SPDX-License-Identifier: MIT
#include "eso/reward/rouge.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

using eso::Rouge;
using eso::RougeScore;
using eso::RougeScores;

namespace {

using Words = std::vector<std::string>;

nlohmann::json golden() { return nlohmann::json::parse(std::ifstream(ESO_TEST_DIR "/golden/rouge.json")); }

RougeScores scores(const std::vector<double>& numbers) {
  REQUIRE(numbers.size() == 9);
  const auto score = [&](std::size_t i) { return RougeScore{numbers[i], numbers[i + 1], numbers[i + 2]}; };
  return {score(0), score(3), score(6)};
}

void check_equal(const RougeScores& found, const RougeScores& expected) {
  for (const auto member : {&RougeScores::rouge1, &RougeScores::rouge2, &RougeScores::rougeL}) {
    CHECK((found.*member).precision == (expected.*member).precision);
    CHECK((found.*member).recall == (expected.*member).recall);
    CHECK((found.*member).f1 == (expected.*member).f1);
  }
}

/// A score worked out by hand: matches among the units of target and prediction.
void check_by_hand(const RougeScore& found, int hits, int target, int prediction) {
  CHECK(found.precision == (prediction > 0 ? static_cast<double>(hits) / prediction : 0.0));
  CHECK(found.recall == (target > 0 ? static_cast<double>(hits) / target : 0.0));
  CHECK(found.f1 == Approx(hits > 0 ? 2.0 * hits / (target + prediction) : 0.0).margin(1e-15).epsilon(1e-15));
}

/// The textbook table, O(n m).
template <class Sequence>
std::size_t slow_common_subsequence(const Sequence& a, const Sequence& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (const auto& x : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = x == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

std::size_t slow_common_grams(const Words& target, const Words& prediction, std::size_t n) {
  const auto grams = [n](const Words& words) {
    std::map<Words, std::size_t> counts;
    for (std::size_t i = 0; i + n <= words.size(); ++i)
      ++counts[Words(words.begin() + static_cast<std::ptrdiff_t>(i),
                     words.begin() + static_cast<std::ptrdiff_t>(i + n))];
    return counts;
  };
  auto left = grams(prediction);
  std::size_t hits = 0;
  for (const auto& [gram, count] : grams(target)) hits += std::min(count, left[gram]);
  return hits;
}

std::string random_text(std::mt19937& random, std::size_t longest, std::size_t vocabulary) {
  static const Words words{"a",
                           "the",
                           "cat",
                           "running",
                           "runs",
                           "1990s",
                           "abcdefgh",
                           "abcdefghi",
                           "abcdefghj",
                           "internationalization",
                           "internationalizations",
                           "ijklmnop",
                           "abcdefghijklmnop",
                           "relational",
                           "sky",
                           "skies",
                           "x1",
                           "7",
                           "of",
                           "to"};
  static const Words gaps{" ", ", ", "\n", "-", "\xC3\xA9", "  ", "\xE2\x80\x99"};
  std::string text;
  for (std::size_t left = random() % (longest + 1); left > 0; --left) {
    text += words[random() % std::min(vocabulary, words.size())] + gaps[random() % gaps.size()];
  }
  return text;
}

}  // namespace

TEST_CASE("ROUGE equals rouge_score 0.1.2 in every bit", "[reward][rouge]") {
  const auto file = golden();
  const std::vector<std::string> pieces = file["pieces"];
  const auto text = [&](const std::vector<std::size_t>& parts) {
    std::string joined;
    for (const std::size_t part : parts) joined += (&part == &parts.front() ? "" : " ") + pieces.at(part);
    return joined;
  };
  REQUIRE(file["pairs"].size() > 400);
  for (const auto& pair : file["pairs"]) {
    const std::string target = text(pair[0]), prediction = text(pair[1]);
    CAPTURE(target, prediction);
    check_equal(Rouge{}(target, prediction), scores(pair[2]));
    check_equal(Rouge{.stemmer = true}(target, prediction), scores(pair[3].is_null() ? pair[2] : pair[3]));
  }
}

TEST_CASE("ROUGE reads malformed UTF-8 as a decoder that replaces what it cannot read", "[reward][rouge]") {
  const auto bytes = [](const std::string& hexadecimal) {
    std::string text;
    for (std::size_t i = 0; i < hexadecimal.size(); i += 2) {
      text += static_cast<char>(std::stoi(hexadecimal.substr(i, 2), nullptr, 16));
    }
    return text;
  };
  const auto file = golden();
  for (const auto& pair : file["bytes"]) {
    CAPTURE(pair[0], pair[1]);
    check_equal(Rouge{}(bytes(pair[0]), bytes(pair[1])), scores(pair[2]));
  }
}

TEST_CASE("ROUGE by hand", "[reward][rouge]") {
  struct Hits {
    int rouge1, rouge2, rougeL;
  };
  struct Case {
    std::string target, prediction;
    int m, n;  // words of target and prediction, so m - 1 and n - 1 pairs of neighbours
    Hits plain, stemmed;
  };
  const std::vector<Case> cases{
      {"testing one two", "testing", 3, 1, {1, 0, 1}, {1, 0, 1}},
      {"testing one two", "", 3, 0, {0, 0, 0}, {0, 0, 0}},
      {"", "", 0, 0, {0, 0, 0}, {0, 0, 0}},
      {"w1 w2 w3 w4 w5", "/", 5, 0, {0, 0, 0}, {0, 0, 0}},
      {"hello", "Hello!", 1, 1, {1, 0, 1}, {1, 0, 1}},  // one word has no pair: ROUGE-2 is 0
      // "the" stands twice in one and three times in the other: min(2, 3). No pair is "the the".
      {"the cat the cat", "the the the", 4, 3, {2, 0, 2}, {2, 0, 2}},
      // Common pair: the gunman. Longest: the gunman.
      {"police killed the gunman", "the gunman killed police", 4, 4, {4, 1, 2}, {4, 1, 2}},
      // it isn t the u s a | its isnt the usa: only "the". Stemmed: "isnt" and "usa" stay.
      {"It isn't the U.S.A.", "its isnt the usa", 7, 4, {1, 0, 1}, {1, 0, 1}},
      {"foo_bar baz", "foo bar baz", 3, 3, {3, 2, 3}, {3, 2, 3}},
      {"caf\u00e9 na\u00efve r\u00e9sum\u00e9", "caf na ve r sum", 5, 5, {5, 4, 5}, {5, 4, 5}},
      {"\u4f60\u597d \u4e16\u754c", "\u4f60\u597d \u4e16\u754c", 0, 0, {0, 0, 0}, {0, 0, 0}},
      {"300 \u212a", "300 K", 2, 2, {2, 1, 2}, {2, 1, 2}},         // Kelvin is k
      {"\u0130stanbul", "i stanbul", 2, 2, {2, 1, 2}, {2, 1, 2}},  // i, then a separator
      {"\uff21\uff22\uff23 \uff11\uff12\uff13 abc", "abc 123", 1, 2, {1, 0, 1}, {1, 0, 1}},  // full width: no
                                                                                             // letters
      // Plain: he was and; he was. Stemmed: running-run, died-die, lying-lie; flies is fli, but fly, too
      // short to be stemmed, is not. Pairs: he was, was run, run and, die lie.
      {"He was running and flies died lying", "He was run and fly die lie", 7, 7, {3, 1, 3}, {6, 4, 6}},
      {"was has ran", "wa ha ran", 3, 3, {1, 0, 1}, {1, 0, 1}},  // no stems of three letters
      // the 1990s were 3 14: pairs were 3, 3 14; with 1990s stemmed to 1990, all.
      {"the 1990s were 3.14", "the 1990 were 3 14", 5, 5, {4, 2, 4}, {5, 4, 5}},
      // Stems: sky news die inning | sky new die inning; pair: die inning.
      {"skies news dying innings", "sky new die inning", 4, 4, {0, 0, 0}, {3, 1, 3}},
      // Lines mean nothing: pairs the cat, cat sat, the dog, dog ran; longest: one of the lines.
      {"the cat sat\nthe dog ran", "the dog ran\nthe cat sat", 6, 6, {6, 4, 3}, {6, 4, 3}},
      // w1, w2, w3, w5, in this order in both; pair: w1 w2.
      {"w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", 5, 10, {4, 1, 4}, {4, 1, 4}},
      // Stems: gener relat oper in both.
      {"generously relational operators", "generous relate operate", 3, 3, {0, 0, 0}, {3, 2, 3}},
  };
  for (const Case& c : cases) {
    for (const bool stemmer : {false, true}) {
      CAPTURE(c.target, c.prediction, stemmer);
      const RougeScores found = Rouge{stemmer}(c.target, c.prediction);
      const Hits& hits = stemmer ? c.stemmed : c.plain;
      check_by_hand(found.rouge1, hits.rouge1, c.m, c.n);
      check_by_hand(found.rouge2, hits.rouge2, std::max(c.m - 1, 0), std::max(c.n - 1, 0));
      check_by_hand(found.rougeL, hits.rougeL, c.m, c.n);
    }
  }
}

TEST_CASE("ROUGE cuts texts into runs of a-z and 0-9 of the lower case", "[reward][rouge]") {
  CHECK(eso::rouge_words("It ISN'T foo_bar 3.14") == Words{"it", "isn", "t", "foo", "bar", "3", "14"});
  CHECK(eso::rouge_words("a\u0130b 5\u212aG") == Words{"ai", "b", "5kg"});
  CHECK(eso::rouge_words("@[`{/:AZaz09") == Words{"azaz09"});  // the neighbours of the ranges
  CHECK(eso::rouge_words(std::string("a\0b", 3)) == Words{"a", "b"});
  CHECK(eso::rouge_words(" \t\n...") == Words{});
  CHECK(eso::rouge_words("Relational skies fly", true) == Words{"relat", "sky", "fly"});
}

TEST_CASE("Every byte alone is a letter, a digit or a separator", "[reward][rouge]") {
  for (int byte = 0; byte < 256; ++byte) {
    CAPTURE(byte);
    const char c = static_cast<char>(byte);
    const bool upper = c >= 'A' && c <= 'Z';
    const bool kept = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const std::string lower(1, upper ? static_cast<char>(c - 'A' + 'a') : c);
    for (const std::size_t before :
         {0U, 1U, 7U, 8U, 31U, 32U, 40U}) {  // around the blocks in which bytes are read
      const std::string fill(before, 'x');
      const Words expected = kept ? Words{fill + lower + "y"} : before == 0 ? Words{"y"} : Words{fill, "y"};
      CHECK(eso::rouge_words(fill + c + "y") == expected);
    }
  }
}

TEST_CASE("ROUGE agrees with plain counting on random texts", "[reward][rouge]") {
  std::mt19937 random(11);
  for (int trial = 0; trial < 600; ++trial) {
    const std::size_t longest = trial % 20 == 0 ? 400 : 40, vocabulary = 2 + random() % 19;
    const std::string target = random_text(random, longest, vocabulary);
    const std::string prediction = random_text(random, longest, vocabulary);
    const bool stemmer = trial % 2 == 1;
    const Words a = eso::rouge_words(target, stemmer), b = eso::rouge_words(prediction, stemmer);
    CAPTURE(target, prediction, stemmer);
    for (std::size_t n = 1; n <= 5; ++n) {
      const std::size_t m_grams = a.size() - std::min(a.size(), n - 1),
                        n_grams = b.size() - std::min(b.size(), n - 1);
      check_by_hand(eso::rouge_n(target, prediction, n, stemmer),
                    static_cast<int>(slow_common_grams(a, b, n)), static_cast<int>(m_grams),
                    static_cast<int>(n_grams));
    }
    check_by_hand(eso::rouge_l(target, prediction, stemmer), static_cast<int>(slow_common_subsequence(a, b)),
                  static_cast<int>(a.size()), static_cast<int>(b.size()));
  }
}

TEST_CASE("The longest common subsequence agrees with the textbook table at every block edge",
          "[reward][rouge]") {
  std::mt19937 random(13);
  const std::vector<std::size_t> sizes{0,   1,   2,   63,  64,  65,  127, 128, 129,
                                       192, 255, 256, 257, 300, 511, 513, 800};
  for (const std::size_t n : sizes) {
    for (const std::size_t m : sizes) {
      const std::uint32_t bound = n % 3 == 0 ? 2 : n % 3 == 1 ? 9 : 200;
      std::vector<std::uint32_t> a(n), b(m);
      for (auto& x : a) x = static_cast<std::uint32_t>(random() % bound);
      for (auto& x : b) x = static_cast<std::uint32_t>(random() % bound);
      CAPTURE(n, m, bound);
      CHECK(eso::CommonSubsequence::length(a, b, bound) == slow_common_subsequence(a, b));
      CHECK(eso::CommonSubsequence::length(a, a, bound) == n);
    }
  }
}

TEST_CASE("ROUGE obeys its laws", "[reward][rouge]") {
  std::mt19937 random(17);
  std::size_t equal = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    const bool stemmer = trial % 2 == 1;
    const std::string target = random_text(random, 6, 3 + random() % 10);
    const std::string prediction = trial % 4 < 2 ? random_text(random, 6, 3) : target + "!";
    CAPTURE(target, prediction, stemmer);
    const RougeScores forth = Rouge{stemmer}(target, prediction), back = Rouge{stemmer}(prediction, target);
    for (const auto member : {&RougeScores::rouge1, &RougeScores::rouge2, &RougeScores::rougeL}) {
      CHECK((forth.*member).f1 == (back.*member).f1);
      CHECK((forth.*member).precision == (back.*member).recall);
      CHECK((forth.*member).f1 >= 0);
      CHECK((forth.*member).f1 <= 1);
    }
    CHECK(forth.rougeL.f1 <= forth.rouge1.f1);
    const Words a = eso::rouge_words(target, stemmer), b = eso::rouge_words(prediction, stemmer);
    const bool same = !a.empty() && a == b;
    CHECK((forth.rougeL == RougeScore{1, 1, 1}) == same);
    equal += static_cast<std::size_t>(same);
  }
  CHECK(equal > 300);
  CHECK(equal < 900);
}

TEST_CASE("All ways to ask for a score give the same", "[reward][rouge]") {
  const std::string target = "the skies were running over the hills",
                    prediction = "The sky ran over the running hill";
  for (const bool stemmer : {false, true}) {
    const RougeScores all = Rouge{stemmer}(target, prediction);
    const eso::RougePair pair(target, prediction, stemmer);
    CHECK(eso::rouge_n(target, prediction, 1, stemmer) == all.rouge1);
    CHECK(eso::rouge_n(target, prediction, 2, stemmer) == all.rouge2);
    CHECK(eso::rouge_l(target, prediction, stemmer) == all.rougeL);
    CHECK(pair.variant(eso::RougeVariant::rouge1) == all.rouge1);
    CHECK(pair.variant(eso::RougeVariant::rouge2) == all.rouge2);
    CHECK(pair.variant(eso::RougeVariant::rougeL) == all.rougeL);
  }
  CHECK(Rouge{true}(target, prediction).rouge1.f1 > Rouge{false}(target, prediction).rouge1.f1);
}

TEST_CASE("A variant is found by its exact name only", "[reward][rouge]") {
  CHECK(eso::rouge_variant("rouge1") == eso::RougeVariant::rouge1);
  CHECK(eso::rouge_variant("rouge2") == eso::RougeVariant::rouge2);
  CHECK(eso::rouge_variant("rougeL") == eso::RougeVariant::rougeL);
  for (const std::string name : {"", "rouge", "rougel", "ROUGE1", "rouge3", "rougeLsum", "rouge1 "}) {
    CHECK_FALSE(eso::rouge_variant(name).has_value());
  }
}

TEST_CASE("ROUGE refuses n-grams of no word and gives 0 for longer ones than the texts", "[reward][rouge]") {
  CHECK_THROWS_AS(eso::rouge_n("a b", "a b", 0), eso::Error);
  CHECK(eso::rouge_n("a b", "a b", 2) == RougeScore{1, 1, 1});
  CHECK(eso::rouge_n("a b", "a b", 3) == RougeScore{});
  CHECK(eso::rouge_n("a b", "a b", std::numeric_limits<std::size_t>::max()) == RougeScore{});
}

TEST_CASE("ROUGE takes any bytes and any length", "[reward][rouge]") {
  std::mt19937 random(19);
  for (int trial = 0; trial < 2000; ++trial) {
    std::string text(random() % 90, '\0');
    for (char& c : text) c = static_cast<char>(random() % 256);
    const RougeScores found = Rouge{trial % 2 == 0}(text, text);
    CHECK(found.rougeL.f1 == (eso::rouge_words(text).empty() ? 0.0 : 1.0));
  }
  const std::string word(1'000'000, 'q');
  CHECK(eso::rouge_l(word, word, true).f1 == 1);
  CHECK(eso::rouge_l(word, word + "q").f1 == 0);
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "w" + std::to_string(i) + " ";
  CHECK(Rouge{}(many, many).rouge2.f1 == 1);
  CHECK(eso::rouge_l("w19999 w3 w4", many).recall == 2.0 / 3);
}

TEST_CASE("Numbers of pairs survive the growth of their table", "[reward][rouge]") {
  eso::PairNumbers numbers(0);
  for (std::uint32_t context = 0; context < 40; ++context) {
    for (std::uint64_t value = 0; value < 40; ++value) {
      CHECK(numbers.find(value << 40, context) == 0);
      CHECK(numbers.number(value << 40, context) == context * 40 + value + 1);
    }
  }
  CHECK(numbers.count() == 1600);
  CHECK(numbers.number(std::uint64_t{7} << 40, 3) == 3 * 40 + 7 + 1);
  CHECK(numbers.find(7, 3) == 0);
}

TEST_CASE("One scorer serves many threads", "[reward][rouge]") {
  const Rouge rouge{.stemmer = true};
  const std::string target = "the skies were running over the hills",
                    prediction = "The sky ran over the running hill";
  const RougeScores expected = rouge(target, prediction);
  std::vector<int> differing(4);
  std::vector<std::thread> threads;
  for (int& count : differing) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) count += static_cast<int>(rouge(target, prediction) != expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(differing == std::vector<int>(4));
}
