// SPDX-License-Identifier: MIT
#include "eso/sample/temperatures.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "eso/testing/sampler_laws.hpp"
#include "eso/testing/tabular.hpp"
#include "eso/threads.hpp"

namespace {

using eso::Index;

std::vector<eso::Prompt> prompts() { return {{{1, 2, 3}, 40}, {{4}, 7}, {{2, 2}, 9}}; }

using Key = std::tuple<Index, eso::Kind, Index>;  // example, kind, sample

/// Tokens by what names a response.
std::map<Key, eso::Tokens> by_name(const std::vector<eso::Response>& responses,
                                   const std::vector<eso::Prompt>& of) {
  std::map<Key, eso::Tokens> result;
  for (const eso::Response& r : responses) {
    result[{of[static_cast<std::size_t>(r.prompt)].example, r.kind, r.sample}] = r.tokens;
  }
  return result;
}

std::vector<eso::Response> sample(const eso::Temperatures& sampler, const eso::testing::TabularModel& model,
                                  const std::vector<eso::Prompt>& of, eso::StepSeed seed = {5, 1}) {
  return sampler(model, std::span<const eso::Prompt>(of), seed);
}

}  // namespace

TEST_CASE("Temperatures keeps the laws of a sampler with every setting") {
  eso::testing::TabularModel model(11, 14, 3);
  const eso::testing::ModelLaws limits{.vocabulary = 11, .context = 14};
  eso::Temperatures sampler{0.5, 1, 1.5, 2};
  SECTION("as it is") {}
  SECTION("with a greedy response") { sampler.greedy = true; }
  SECTION("with greedy samples among others") { sampler.values = {0, 1, 0}; }
  SECTION("with short responses") { sampler.max_tokens = 2; }
  SECTION("cut by rank and mass") { sampler.top_k = 6, sampler.top_p = 0.9; }
  const auto report = eso::testing::check_sampler(sampler, model, limits);
  INFO(report.text());
  // Greedy responses are the same for every seed, which one law is about.
  for (const auto& violation : report.violations) CHECK(violation.law == "seeds");
  CHECK(report.checks > 0);
}

TEST_CASE("responses stand by prompt, samples before the greedy one, each at its temperature") {
  const eso::testing::TabularModel model(11, 30, 3);
  eso::Temperatures sampler{0.5, 2};
  sampler.greedy = true;
  const auto responses = sample(sampler, model, prompts());
  REQUIRE(responses.size() == 9);
  for (std::size_t n = 0; n < 9; ++n) {
    CHECK(responses[n].prompt == static_cast<Index>(n / 3));
    CHECK(responses[n].kind == (n % 3 == 2 ? eso::Kind::greedy : eso::Kind::sample));
    CHECK(responses[n].sample == (n % 3 == 1 ? 1 : 0));
    CHECK(responses[n].temperature == (n % 3 == 0 ? 0.5 : n % 3 == 1 ? 2 : 0));
  }
}

TEST_CASE("a response depends on its example, sample, seed and step, and on nothing beside it") {
  const eso::testing::TabularModel model(11, 30, 3);
  const auto of = prompts();
  const auto all = by_name(sample({1, 1, 1}, model, of), of);
  const std::vector<eso::Prompt> reversed{of[2], of[1], of[0]};
  CHECK(by_name(sample({1, 1, 1}, model, reversed), reversed) == all);
  for (const auto& [name, tokens] : by_name(sample({1}, model, {of[1]}), {of[1]}))
    CHECK(tokens == all.at(name));
  for (const auto& [name, tokens] : by_name(sample({1, 0.5}, model, of), of)) {
    if (std::get<2>(name) == 0) CHECK(tokens == all.at(name));  // the other one has another temperature
  }
  CHECK(by_name(sample({1, 1, 1}, model, of, {6, 1}), of) != all);
  CHECK(by_name(sample({1, 1, 1}, model, of, {5, 2}), of) != all);
  const std::vector<eso::Prompt> twice{of[0], {of[0].tokens, 41}};
  const auto two = sample({1}, model, twice);
  CHECK(two[0].tokens != two[1].tokens);
}

TEST_CASE("responses drawn in parts are those drawn at once, with few rows through the model") {
  struct Counting {
    eso::testing::TabularModel model{11, 30, 3};
    Index most = 0;
    auto decode(std::span<const eso::Prompt> prompts) { return Rows{model.decode(prompts), this}; }
    struct Rows {
      decltype(std::declval<const eso::testing::TabularModel&>().decode({})) decoding;
      Counting* of;
      decltype(auto) logits() const { return decoding.logits(); }
      void advance(std::span<const Index> parents, std::span<const eso::TokenId> tokens) {
        of->most = std::max(of->most, static_cast<Index>(parents.size()));
        decoding.advance(parents, tokens);
      }
    };
    bool is_end(eso::TokenId id) const { return model.is_end(id); }
    Index context_length() const { return model.context_length(); }
  };
  const auto of = prompts();
  for (const bool greedy : {false, true}) {
    eso::Temperatures sampler(std::vector<double>(7, 1.0));
    sampler.greedy = greedy;
    const auto whole = sample(sampler, eso::testing::TabularModel(11, 30, 3), of);
    for (const Index rows : {1, 3, 7, 8, 9, 16, 1000}) {
      sampler.most_rows = rows;
      Counting model;
      const auto parts = sampler(model, std::span<const eso::Prompt>(of), {5, 1});
      REQUIRE(parts.size() == whole.size());
      CHECK(model.most <= rows);
      for (std::size_t i = 0; i < whole.size(); ++i) {
        CHECK(parts[i].prompt == whole[i].prompt);
        CHECK(parts[i].kind == whole[i].kind);
        CHECK(parts[i].sample == whole[i].sample);
        CHECK(parts[i].tokens == whole[i].tokens);
        CHECK(parts[i].logp == whole[i].logp);
      }
    }
  }
  eso::Temperatures none{1};
  none.most_rows = 0;
  CHECK_THROWS_AS(sample(none, eso::testing::TabularModel(11, 30, 3), of), eso::Error);
}

TEST_CASE("the first token is drawn with the number 0 of the response's stream") {
  const eso::testing::TabularModel model(11, 30, 3);
  const auto of = prompts();
  auto decoding = model.decode(std::span<const eso::Prompt>(of));
  const auto responses = sample({1, 0.7}, model, of, {123, 4});
  for (const eso::Response& r : responses) {
    eso::Distribution<double> distribution;
    distribution.temperature = r.temperature;
    const eso::StreamName stream{
        .seed = 123,
        .step = 4,
        .prompt = static_cast<std::uint32_t>(of[static_cast<std::size_t>(r.prompt)].example),
        .sample = static_cast<std::uint32_t>(r.sample)};
    const auto& logits = decoding.logits();
    const std::vector<double> row(logits.data() + r.prompt * logits.cols(),
                                  logits.data() + (r.prompt + 1) * logits.cols());
    CHECK(r.tokens[0] == distribution.draw(row.data(), logits.cols(), eso::uniform01(stream, 0)).token);
  }
}

TEST_CASE("draws that threads share are those of one") {
  const eso::testing::TabularModel model(11, 30, 3);
  eso::Temperatures sampler{0.5, 1, 0, 2, 1};
  sampler.greedy = true, sampler.top_k = 7, sampler.top_p = 0.95;
  const auto alone = sample(sampler, model, prompts());
  for (const int count : {2, 5}) {
    eso::Threads threads(count);
    sampler.threads = &threads;
    const auto shared = sample(sampler, model, prompts());
    REQUIRE(shared.size() == alone.size());
    for (std::size_t n = 0; n < alone.size(); ++n) {
      CHECK(shared[n].tokens == alone[n].tokens);
      CHECK(shared[n].logp == alone[n].logp);
      CHECK(shared[n].entropy == alone[n].entropy);
    }
  }
}

TEST_CASE("the tokens of many responses have the frequencies of the model") {
  const eso::testing::TabularModel model(8, 30, 3, 5);
  const std::vector<eso::Prompt> one{{{1, 2}, 0}};
  constexpr int draws = 20000;
  eso::Temperatures sampler(std::vector<double>(draws, 1.3));
  sampler.max_tokens = 2;
  std::map<eso::Tokens, double> counts;
  for (const eso::Response& r : sample(sampler, model, one)) ++counts[r.tokens];
  // Expected counts from the tables: softmax(logits / 1.3) of the first token, then of the second after it.
  const auto softmax = [](eso::testing::TabularModel::Row logits) {
    logits = (logits / 1.3).exp();
    return eso::testing::TabularModel::Row(logits / logits.sum());
  };
  const auto state = model.state_after({1, 2});
  const auto first = softmax(model.logits(state, 2));
  double chi_square = 0;
  for (eso::TokenId a = 0; a < 8; ++a) {
    const auto second = softmax(model.logits(model.next_state(state, a), 3));
    for (eso::TokenId b = 0; b < (a == 5 ? 1 : 8); ++b) {
      const double wanted = draws * first(a) * (a == 5 ? 1 : second(b));
      const double found = counts[a == 5 ? eso::Tokens{5} : eso::Tokens{a, b}];
      chi_square += (found - wanted) * (found - wanted) / wanted;
    }
  }
  CHECK(chi_square < 95.7);  // 57 outcomes, 56 degrees of freedom, 1 in 1000
}

TEST_CASE("a response ends with the end of sequence, at the limit or where the context is full") {
  const eso::testing::TabularModel model(6, 9, 3, 2);
  const std::vector<eso::Prompt> of{{{1, 1, 1, 1, 1, 1, 1, 1}, 0}, {{1}, 1}};
  eso::Temperatures sampler(std::vector<double>(50, 1.0));
  sampler.max_tokens = 5;
  bool finished = false, cut = false;
  for (const eso::Response& r : sample(sampler, model, of)) {
    const std::size_t room = r.prompt == 0 ? 1 : 5;
    CHECK(r.tokens.size() <= room);
    CHECK(r.finished == (r.tokens.back() == 2));
    CHECK((r.finished || r.tokens.size() == room));
    CHECK(std::count(r.tokens.begin(), r.tokens.end(), 2) == (r.finished ? 1 : 0));
    finished |= r.finished, cut |= !r.finished;
  }
  CHECK(finished);
  CHECK(cut);
}

TEST_CASE(
    "log-probabilities and entropies of a response are those of temperature 1, entropy_drawn of what was "
    "drawn from") {
  const eso::testing::TabularModel model(8, 30, 3, 5);
  const std::vector<eso::Prompt> one{{{1, 2}, 0}};
  eso::Temperatures sampler{0.5, 0};
  sampler.max_tokens = 1;
  const auto responses = sample(sampler, model, one);
  const auto entropy = [&](double temperature) {
    eso::testing::TabularModel::Row p = (model.logits(model.state_after({1, 2}), 2) / temperature).exp();
    p /= p.sum();
    return -(p * p.log()).sum();
  };
  for (const eso::Response& r : responses) CHECK(r.entropy == Approx(entropy(1)));
  CHECK(responses[0].entropy_drawn == Approx(entropy(0.5)));
  CHECK(responses[1].entropy_drawn == Approx(entropy(1)));
}

TEST_CASE("the call between tokens may abandon the work") {
  const eso::testing::TabularModel model(8, 30, 3, 5);
  eso::Temperatures sampler{1};
  int calls = 0;
  sampler.between = [&] {
    if (++calls == 3) throw std::runtime_error("enough");
  };
  CHECK_THROWS_WITH(sample(sampler, model, prompts()), "enough");
  CHECK(calls == 3);
}

TEST_CASE("no prompt and no temperature give no response") {
  const eso::testing::TabularModel model(8, 30, 3, 5);
  CHECK(sample({1}, model, {}).empty());
  CHECK(sample(eso::Temperatures(std::vector<double>{}), model, prompts()).empty());
}

TEST_CASE("settings outside their range and prompts without room are refused") {
  const eso::testing::TabularModel model(8, 4, 3, 5);
  const auto refuse = [&](const eso::Temperatures& sampler) {
    CHECK_THROWS_AS(sample(sampler, model, {{{1}, 0}}), eso::Error);
  };
  refuse({-0.1});
  refuse({std::nan("")});
  refuse({std::numeric_limits<double>::infinity()});
  eso::Temperatures sampler{1};
  sampler.max_tokens = 0;
  refuse(sampler);
  sampler = {1};
  sampler.top_k = -1;
  refuse(sampler);
  for (const double p : {0.0, -1.0, 1.5, std::nan("")}) {
    sampler = {1};
    sampler.top_p = p;
    refuse(sampler);
  }
  CHECK_THROWS_AS(sample({1}, model, {{{1, 1, 1, 1}, 0}}), eso::Error);
  CHECK(sample({1}, model, {{{1, 1, 1}, 0}}).size() == 1);
}
