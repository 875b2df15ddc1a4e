// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/testing/parameter_access.hpp"
#include "eso/testing/report.hpp"
#include "eso/testing/texts.hpp"

namespace eso::testing {

/// (rows, V) natural logarithms of softmax of the logits of a decoding.
template <Decoding D>
LogProbs next_log_probs(D& decoding) {
  const auto& logits = decoding.logits();
  const auto rows = static_cast<Index>(logits.rows()), columns = static_cast<Index>(logits.cols());
  LogProbs result(rows, columns);
  for (Index i = 0; i < result.size(); ++i) result.data()[i] = static_cast<double>(logits.data()[i]);
  for (Index row = 0; row < rows; ++row) {
    const double largest = result.row(row).maxCoeff();
    result.row(row) -= largest + std::log((result.row(row) - largest).exp().sum());
  }
  return result;
}

/// The laws of `Generator` and `Decoding` on one model; use `check_generator`. Every public member checks one
/// law and is named after it.
template <class M>
  requires Generator<M> && LogProbModel<M>
class GeneratorCheck {
 public:
  GeneratorCheck(M& model, const ModelLaws& limits) : model_(model), limits_(limits) {
    Dice dice(limits.seed + 20);
    for (const Index length :
         {limits.longest_prompt, Index{1}, Index{2}, 1 + dice.below(limits.longest_prompt)}) {
      const auto example = static_cast<Index>(prompts_.size());
      prompts_.push_back({.tokens = dice.tokens(length, limits.vocabulary), .example = example});
    }
    for (Index i = 0; i < std::min<Index>(limits.vocabulary, 64); ++i) {
      const Index all = limits.vocabulary;
      compared_.push_back(static_cast<TokenId>(all <= 64 ? i : dice.below(all)));
    }
  }

  /// Checks all laws.
  LawReport all() && {
    const auto run = [&](std::string_view name, void (GeneratorCheck::*law)(std::string_view)) {
      report_.run(name, [&](std::string_view running) { (this->*law)(running); });
    };
    run("prompts", &GeneratorCheck::prompts);
    run("advance", &GeneratorCheck::advance);
    run("parents", &GeneratorCheck::parents);
    run("alone", &GeneratorCheck::alone);
    run("repeatable", &GeneratorCheck::repeatable);
    run("parameters", &GeneratorCheck::parameters);
    run("context", &GeneratorCheck::context);
    run("errors", &GeneratorCheck::errors);
    return std::move(report_);
  }

  /// After construction row p is prompt p, and its logits are those of `log_probs`.
  void prompts(std::string_view law) {
    auto decoding = model_.decode(prompts_);
    compare(law, decoding, prompt_texts());
  }

  /// Each row continued by one token after the other keeps to `log_probs`.
  void advance(std::string_view law) {
    Dice dice(limits_.seed + 21);
    auto decoding = model_.decode(prompts_);
    std::vector<Text> texts = prompt_texts();
    for (Index step = 0; step + 1 < limits_.longest_response; ++step) {
      std::vector<Index> parents;
      for (std::size_t p = 0; p < texts.size(); ++p) parents.push_back(static_cast<Index>(p));
      continue_by_one(decoding, texts, parents, dice);
      compare(law, decoding, texts);
    }
  }

  /// Rows that fork, leave and change places take their own history with them.
  void parents(std::string_view law) {
    Dice dice(limits_.seed + 22);
    auto decoding = model_.decode(prompts_);
    std::vector<Text> texts = prompt_texts();
    continue_by_one(decoding, texts, {2, 0, 0, 3, 2, 0, 1},
                    dice);  // the samples of each prompt, not in order
    compare(law, decoding, texts);
    continue_by_one(decoding, texts, {6, 4, 1, 0}, dice);  // three finished, the others turned around
    compare(law, decoding, texts);
    for (Index step = 2; step + 1 < limits_.longest_response; ++step) {
      std::vector<Index> parents;
      const Index rows = 1 + dice.below(6);
      for (Index i = 0; i < rows; ++i) parents.push_back(dice.below(static_cast<Index>(texts.size())));
      continue_by_one(decoding, texts, parents, dice);
      compare(law, decoding, texts);
    }
  }

  /// A row's logits do not depend on the rows beside it.
  void alone(std::string_view law) {
    Dice dice(limits_.seed + 23);
    auto together = model_.decode(prompts_);
    std::vector<Text> texts = prompt_texts();
    std::vector<Index> everyone;
    for (std::size_t p = 0; p < texts.size(); ++p) everyone.push_back(static_cast<Index>(p));
    for (Index step = 0; step < 2; ++step) continue_by_one(together, texts, everyone, dice);
    const LogProbs expected = next_log_probs(together);
    for (std::size_t p = 0; p < prompts_.size(); ++p) {
      auto decoding = model_.decode(std::span<const Prompt>(prompts_).subspan(p, 1));
      for (const TokenId token : texts[p].response) {
        const Index parent = 0;
        decoding.advance(std::span<const Index>(&parent, 1), std::span<const TokenId>(&token, 1));
      }
      const LogProbs found = next_log_probs(decoding);
      for (Index v = 0; v < limits_.vocabulary; ++v) {
        report_.expect_near(law, found(0, v), expected(static_cast<Index>(p), v), limits_.tolerance,
                            fmt::format("log-probability of id {} after prompt {} alone", v, p));
      }
    }
  }

  /// Decoding the same prompts again gives the same, up to rounding, also while another decoding is alive.
  void repeatable(std::string_view law) {
    auto first = model_.decode(prompts_);
    const LogProbs before = next_log_probs(first);
    const auto compare_again = [&](auto& decoding, std::string_view what) {
      const LogProbs again = next_log_probs(decoding);
      const bool same_rows = again.rows() == before.rows() && again.cols() == before.cols();
      report_.expect_near(law, same_rows ? (again - before).abs().maxCoeff() : 1, 0, limits_.tolerance, what);
    };
    auto second = model_.decode(prompts_);
    compare_again(second, "the largest difference of a second decoding");
    const std::vector<Index> parents{0};
    const Tokens tokens{1};
    second.advance(parents, tokens);
    compare_again(first, "the largest difference after another decoding went on");
  }

  /// A decoding made after the parameters changed uses the new ones.
  void parameters(std::string_view law) {
    Dice dice(limits_.seed + 24);
    const auto list = model_.parameters();
    using Access = ParameterAccess<std::remove_cvref_t<decltype(list)>>;
    std::vector<std::vector<double>> start;
    for (std::size_t array = 0; array < Access::count(list); ++array) {
      start.push_back(Access::values(list, array));
      std::vector<double> moved = start.back();
      for (double& number : moved) number *= dice.between(0.5, 1.5);
      Access::set_values(list, array, moved);
    }
    auto decoding = model_.decode(prompts_);
    compare(law, decoding, prompt_texts());
    for (std::size_t array = 0; array < start.size(); ++array) Access::set_values(list, array, start[array]);
  }

  /// A text may be continued until it fills the context, and a prompt may fill it.
  void context(std::string_view law) {
    Dice dice(limits_.seed + 25);
    report_.expect_near(law, static_cast<double>(model_.context_length()),
                        static_cast<double>(limits_.context), 0, "context_length");
    const std::vector<Prompt> prompts{{.tokens = dice.tokens(limits_.context - 1, limits_.vocabulary)},
                                      {.tokens = dice.tokens(1, limits_.vocabulary)}};
    std::vector<Text> texts{{prompts[0].tokens, {}}, {prompts[1].tokens, {}}};
    auto decoding = model_.decode(prompts);
    compare(law, decoding, texts);
    texts.erase(texts.begin());
    std::vector<Index> parents{1};
    while (static_cast<Index>(texts[0].response.size()) + 2 < limits_.context) {
      const Tokens tokens = dice.tokens(1, limits_.vocabulary);
      decoding.advance(parents, tokens);
      texts[0].response.push_back(tokens[0]);
      parents = {0};
    }
    compare(law, decoding, texts);
    const std::vector<Prompt> full{{.tokens = dice.tokens(limits_.context, limits_.vocabulary)}};
    auto whole = model_.decode(full);
    report_.expect(law, whole.logits().rows() == 1,
                   [] { return "a prompt as long as the context has no row"; });
  }

  /// A prompt without a token, a wrong id and a prompt beyond the context are refused with `Error`.
  void errors(std::string_view law) {
    const auto refuse = [&](std::string_view what, Tokens tokens) {
      const std::vector<Prompt> prompts{{.tokens = {1}}, {.tokens = std::move(tokens)}};
      report_.expect_error(law, what, [&] { auto decoding = model_.decode(prompts); });
    };
    refuse("a prompt without a token", {});
    refuse("the id V", {1, static_cast<TokenId>(limits_.vocabulary)});
    refuse("a negative id", {-1});
    refuse("a prompt beyond the context", Tokens(static_cast<std::size_t>(limits_.context + 1), 1));
    for (const TokenId id : {TokenId{-1}, static_cast<TokenId>(limits_.vocabulary)}) {
      report_.expect(law, !model_.is_end(id), [&] { return fmt::format("{} is an end and no id", id); });
    }
  }

 private:
  struct Text {
    Tokens prompt, response;
  };

  std::vector<Text> prompt_texts() const {
    std::vector<Text> texts;
    for (const Prompt& prompt : prompts_) texts.push_back({prompt.tokens, {}});
    return texts;
  }

  template <class D>
  void continue_by_one(D& decoding, std::vector<Text>& texts, const std::vector<Index>& parents, Dice& dice) {
    const Tokens tokens = dice.tokens(static_cast<Index>(parents.size()), limits_.vocabulary);
    decoding.advance(parents, tokens);
    std::vector<Text> next;
    for (std::size_t i = 0; i < parents.size(); ++i) {
      next.push_back(texts[static_cast<std::size_t>(parents[i])]);
      next.back().response.push_back(tokens[i]);
    }
    texts = std::move(next);
  }

  /// Compares the decoding's next tokens with `log_probs` of each text continued by each compared token.
  template <class D>
  void compare(std::string_view law, D& decoding, const std::vector<Text>& texts) {
    const LogProbs found = next_log_probs(decoding);
    const auto rows = static_cast<Index>(texts.size());
    report_.expect(law, found.rows() == rows && found.cols() == limits_.vocabulary, [&] {
      return fmt::format("logits are ({}, {}), expected ({}, {})", found.rows(), found.cols(), rows,
                         limits_.vocabulary);
    });
    if (found.rows() != rows || found.cols() != limits_.vocabulary) return;
    for (Index row = 0; row < rows; ++row) {
      const Text& text = texts[static_cast<std::size_t>(row)];
      Batch batch = one_text(text.prompt, {});
      batch.responses.assign(compared_.size(), plain_response(0, 0, text.response));
      for (std::size_t i = 0; i < compared_.size(); ++i) batch.responses[i].tokens.push_back(compared_[i]);
      const LogProbs expected = model_.log_probs(batch);
      check_shape(law, expected, batch);
      for (std::size_t i = 0; i < compared_.size(); ++i) {
        report_.expect_near(law, found(row, compared_[i]),
                            expected(static_cast<Index>(i), expected.cols() - 1), limits_.tolerance,
                            fmt::format("log-probability of id {} after {} tokens in row {}", compared_[i],
                                        text.response.size(), row));
      }
    }
  }

  M& model_;
  ModelLaws limits_;
  std::vector<Prompt> prompts_;
  Tokens compared_;  ///< ids whose probabilities are compared: all, or 64 of them
  LawReport report_;
};

/// Runs the laws of `Generator` and `Decoding` on a model that also gives log-probabilities.
///
/// The names of the laws are `prompts advance parents alone repeatable parameters context errors`, the
/// members of `GeneratorCheck`; what "equal" means there is `limits.tolerance`. Cost: some 60 batches of up
/// to 64 responses and a text of the whole context.
///
/// \throws Error if the limits leave no room for the texts.
template <class M>
  requires Generator<M> && LogProbModel<M>
LawReport check_generator(M& model, const ModelLaws& limits) {
  limits.check_limits();
  return GeneratorCheck<M>(model, limits).all();
}

}  // namespace eso::testing
