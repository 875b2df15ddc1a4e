// SPDX-License-Identifier: MIT
#include "eso/reward/rouge_reward.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/testing/texts.hpp"

using namespace eso;

namespace {

/// Token 0 is the end of sequence, token n > 0 the n-th of some words.
struct Words {
  std::vector<std::string> words;

  Tokens encode(std::string_view text) const {
    Tokens ids;
    std::istringstream stream{std::string(text)};
    for (std::string word; stream >> word;) {
      const auto at = std::find(words.begin(), words.end(), word);
      REQUIRE(at != words.end());
      ids.push_back(static_cast<TokenId>(at - words.begin()) + 1);
    }
    return ids;
  }
  std::string decode(std::span<const TokenId> ids, bool skip_special) const {
    std::string text;
    for (const TokenId id : ids) {
      if (id > 0) text += words[static_cast<std::size_t>(id) - 1] + ' ';
      if (id == 0 && !skip_special) text += "end ";
    }
    return text;
  }
  Index vocabulary_size() const { return static_cast<Index>(words.size()) + 1; }
};

static_assert(Tokenizer<Words>);
static_assert(Reward<RougeReward<Words>>);

const Words tokenizer{
    {"the", "cat", "cats", "sat", "sits", "on", "a", "mat.", "Mat", "running", "run", "\n", "é"}};

Response answer(Tokens tokens) { return testing::plain_response(0, 0, std::move(tokens)); }
Response answer(const char* text) { return answer(tokenizer.encode(text)); }

Example with_reference(std::string reference) {
  Example example;
  example.reference = std::move(reference);
  return example;
}

double score_of(const Response& response, const std::string& reference,
                RougeVariant variant = RougeVariant::rougeL, bool stemmer = true) {
  return RougeReward<Words>{&tokenizer, variant, stemmer}(response, with_reference(reference));
}

}  // namespace

TEST_CASE("the ROUGE reward by hand in every variant", "[reward]") {
  const Response response = answer("cat the sat on");
  const std::string reference = "the cat sat on";
  CHECK(score_of(response, reference, RougeVariant::rouge1) == 1);
  // of three pairs each only "sat on" stands in both: precision and recall 1/3
  CHECK(score_of(response, reference, RougeVariant::rouge2) == Approx(1.0 / 3).epsilon(1e-15));
  // "cat sat on" or "the sat on" is the longest common subsequence of four words each
  CHECK(score_of(response, reference, RougeVariant::rougeL) == Approx(.75).epsilon(1e-15));
}

TEST_CASE("the ROUGE reward is F1, neither precision nor recall", "[reward]") {
  // two words of two and of three: precision 1, recall 2/3, F1 4/5, whichever of the two texts is the longer
  CHECK(score_of(answer("the cat"), "the cat sat") == Approx(.8).epsilon(1e-15));
  CHECK(score_of(answer("the cat sat"), "the cat") == Approx(.8).epsilon(1e-15));
}

TEST_CASE("the ROUGE reward is ROUGE-L over Porter stems unless told otherwise", "[reward]") {
  const RougeReward<Words> reward{.tokenizer = &tokenizer};
  CHECK(reward.variant == RougeVariant::rougeL);
  CHECK(reward(answer("cats running"), with_reference("cat run")) == 1);
  CHECK(score_of(answer("cats running"), "cat run", RougeVariant::rougeL, false) == 0);
}

TEST_CASE("special tokens and white space at the ends of a response cost nothing", "[reward]") {
  const std::string reference = "the cat sat";
  for (const auto variant : {RougeVariant::rouge1, RougeVariant::rouge2, RougeVariant::rougeL}) {
    CHECK(score_of(answer(Tokens{1, 2, 4}), reference, variant) == 1);
    CHECK(score_of(answer(Tokens{1, 2, 4, 0}), reference, variant) == 1);
    CHECK(score_of(answer(Tokens{12, 12, 1, 2, 4, 12, 0}), reference, variant) == 1);
  }
}

TEST_CASE("an empty response or reference scores 0", "[reward]") {
  for (const auto variant : {RougeVariant::rouge1, RougeVariant::rouge2, RougeVariant::rougeL}) {
    CHECK(score_of(answer(Tokens{0}), "the cat", variant) == 0);
    CHECK(score_of(answer(Tokens{12}), "the cat", variant) == 0);
    CHECK(score_of(answer("the cat"), "", variant) == 0);
    CHECK(score_of(answer(Tokens{0}), "", variant) == 0);
  }
}

TEST_CASE("a target that was cut is compared with what is left of it", "[reward]") {
  const std::vector<TextExample> texts{{.prompt = "the cat", .response = "sat on the mat. \n \n"},
                                       {.prompt = "the cat", .response = "sat on a"}};
  const auto examples = [&](Index max_response_tokens) {
    return tokenise(texts, tokenizer, std::optional<TokenId>(0), 10, max_response_tokens, 20).examples;
  };
  const RougeReward<Words> reward{.tokenizer = &tokenizer};
  const Example cut = examples(2).at(0), whole = examples(10).at(0);
  CHECK(cut.reference == "sat on");
  CHECK(whole.reference == "sat on the mat.");  // stripped
  CHECK(reward(answer("sat on"), cut) == 1);
  CHECK(reward(answer("sat on"), whole) == Approx(2.0 / 3).epsilon(1e-15));  // 2 of 2 and of 4 words
  for (const Index room : {1, 2, 3, 4, 10}) {
    for (const Example& example : examples(room)) CHECK(reward(answer(example.target), example) == 1);
  }
}

TEST_CASE("the ROUGE reward is what Rouge gives for the decoded text, in every bit", "[reward]") {
  testing::Dice dice(4);
  double sum = 0;
  for (int round = 0; round < 300; ++round) {
    const Response response = answer(dice.tokens(1 + dice.below(12), tokenizer.vocabulary_size()));
    const Tokens other = dice.tokens(1 + dice.below(12), tokenizer.vocabulary_size());
    const std::string prediction = tokenizer.decode(response.tokens, true);
    const std::string reference{strip(tokenizer.decode(other, true))};
    for (const bool stemmer : {true, false}) {
      const RougeScores expected = Rouge{stemmer}(reference, prediction);
      CHECK(score_of(response, reference, RougeVariant::rouge1, stemmer) == expected.rouge1.f1);
      CHECK(score_of(response, reference, RougeVariant::rouge2, stemmer) == expected.rouge2.f1);
      CHECK(score_of(response, reference, RougeVariant::rougeL, stemmer) == expected.rougeL.f1);
      sum += expected.rougeL.f1;
    }
  }
  CHECK(sum > 100);  // the texts do have something in common
}
