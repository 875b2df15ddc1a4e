// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
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

/// The laws of `LogProbModel` on one model; use `check_log_prob_model`. Every public member checks one law
/// and is named after it.
template <LogProbModel M>
class LogProbModelCheck {
 public:
  LogProbModelCheck(M& model, const ModelLaws& limits)
      : model_(model), limits_(limits), batch_(random_batch(limits, limits.seed)) {}

  /// Checks all laws, `fresh` only where the limits say so.
  LawReport all() && {
    const auto run = [&](std::string_view name, void (LogProbModelCheck::*law)(std::string_view)) {
      report_.run(name, [&](std::string_view running) { (this->*law)(running); });
    };
    if (limits_.fresh) run("fresh", &LogProbModelCheck::fresh);
    run("range", &LogProbModelCheck::range);
    run("repeatable", &LogProbModelCheck::repeatable);
    run("adjoint", &LogProbModelCheck::adjoint);
    run("mask", &LogProbModelCheck::mask);
    run("accumulates", &LogProbModelCheck::accumulates);
    run("normalised", &LogProbModelCheck::normalised);
    run("shared", &LogProbModelCheck::shared);
    run("order", &LogProbModelCheck::order);
    run("lengths", &LogProbModelCheck::lengths);
    run("causal", &LogProbModelCheck::causal);
    run("positions", &LogProbModelCheck::positions);
    run("boundary", &LogProbModelCheck::boundary);
    run("ids", &LogProbModelCheck::ids);
    run("micro-batches", &LogProbModelCheck::micro_batches);
    run("context", &LogProbModelCheck::context);
    run("errors", &LogProbModelCheck::errors);
    return std::move(report_);
  }

  /// `backward` refuses when no `log_probs` came before it.
  void fresh(std::string_view law) {
    report_.expect_error(law, "backward before any log_probs",
                         [&] { model_.backward(LogProbs::Zero(1, 1)); });
  }

  /// (N, R), at most 0, exactly 0 beyond the length of the response.
  void range(std::string_view law) {
    const LogProbs logp = log_probs(law, batch_);
    for (Index n = 0; n < logp.rows(); ++n) {
      for (Index t = 0; t < logp.cols(); ++t) {
        const bool inside = t < length(batch_, n);
        const bool good = inside ? std::isfinite(logp(n, t)) && logp(n, t) <= 0 : logp(n, t) == 0;
        report_.expect(law, good, [&] {
          return fmt::format("response {} token {} is {}, expected {}", n, t, logp(n, t),
                             inside ? "at most 0" : "0");
        });
      }
    }
  }

  /// The same batch gives bit for bit the same, also after another batch.
  void repeatable(std::string_view law) {
    const LogProbs first = log_probs(law, batch_);
    for (const std::string_view when : {"a second call", "a call after another batch"}) {
      const bool same = (first == log_probs(law, batch_)).all();
      report_.expect(law, same, [&] { return fmt::format("{} gives other numbers", when); });
      log_probs(law, random_batch(limits_, limits_.seed + 1));
    }
  }

  /// `backward(w)` gives the gradient of sum(w * log_probs): along random directions and single numbers of
  /// every array it is the central difference.
  void adjoint(std::string_view law) {
    Dice dice(limits_.seed + 2);
    const LogProbs weights = random_weights(batch_, dice);
    const Gradients gradients = gradients_of(law, batch_, weights);
    for (std::size_t array = 0; array < gradients.size(); ++array) {
      const std::size_t size = gradients[array].size();
      for (int probe = 0; probe < limits_.probes; ++probe) {
        std::vector<double> direction(size);
        for (double& d : direction) d = dice.between(0, 1) < 0.5 ? -1 : 1;
        check_along(law, weights, array, gradients[array], direction, "a random direction");
        const auto i = static_cast<std::size_t>(dice.below(static_cast<Index>(size)));
        std::fill(direction.begin(), direction.end(), 0.0);
        direction[i] = 1;
        check_along(law, weights, array, gradients[array], direction, fmt::format("number {}", i));
      }
    }
  }

  /// What `backward` is given beyond the lengths changes nothing.
  void mask(std::string_view law) {
    Dice dice(limits_.seed + 3), again(limits_.seed + 3);
    const Gradients expected = gradients_of(law, batch_, random_weights(batch_, dice));
    expect_same(law, gradients_of(law, batch_, random_weights(batch_, again, 1e3)), expected,
                "with weights beyond the lengths");
  }

  /// `backward` adds to the gradients, `zero_gradients` clears them, `global_norm` measures them.
  void accumulates(std::string_view law) {
    Dice dice(limits_.seed + 4);
    const Batch other = random_batch(limits_, limits_.seed + 5);
    const LogProbs weights = random_weights(batch_, dice), other_weights = random_weights(other, dice);
    Gradients expected = gradients_of(law, batch_, weights);
    add(expected, gradients_of(law, other, other_weights));
    zero_gradients(model_.parameters());
    report_.expect_near(law, global_norm(model_.parameters()), 0, 0, "the norm after zero_gradients");
    add_gradients(law, batch_, weights);
    add_gradients(law, other, other_weights);
    expect_same(law, read_gradients(), expected, "of two backward calls");
    double squares = 0;
    for (const auto& array : expected) {
      for (const double g : array) squares += g * g;
    }
    report_.expect_near(law, global_norm(model_.parameters()), std::sqrt(squares),
                        limits_.tolerance * (1 + std::sqrt(squares)), "global_norm");
  }

  /// The probabilities of all V continuations of a text add up to 1.
  void normalised(std::string_view law) {
    Dice dice(limits_.seed + 6);
    for (const Index before : {Index{0}, Index{1}, limits_.longest_response - 1}) {
      Batch batch = one_text(dice.tokens(limits_.longest_prompt, limits_.vocabulary), {});
      const Tokens begin = dice.tokens(before, limits_.vocabulary);
      batch.responses.assign(static_cast<std::size_t>(limits_.vocabulary), {});
      for (std::size_t v = 0; v < batch.responses.size(); ++v) {
        batch.responses[v].tokens = begin;
        batch.responses[v].tokens.push_back(static_cast<TokenId>(v));
      }
      const double sum = log_probs(law, batch).col(before).exp().sum();
      report_.expect_near(law, sum, 1, 10 * limits_.tolerance,
                          fmt::format("the sum over all continuations after {} tokens", before));
    }
  }

  /// A prompt that stands once with its responses gives what the prompt repeated gives, gradients included.
  void shared(std::string_view law) {
    Dice dice(limits_.seed + 7);
    const Batch apart = unshared(batch_);
    const LogProbs weights = random_weights(batch_, dice);
    expect_same(law, log_probs(law, batch_), log_probs(law, apart), "with a shared prompt");
    expect_same(law, gradients_of(law, batch_, weights), gradients_of(law, apart, weights),
                "with a shared prompt");
  }

  /// Permuting prompts and responses permutes the rows and changes nothing else.
  void order(std::string_view law) {
    Dice dice(limits_.seed + 8);
    const std::vector<Index> rows = dice.order(batch_.response_count());
    const Batch other = reordered(batch_, dice.order(batch_.prompt_count()), rows);
    const LogProbs weights = random_weights(batch_, dice);
    const LogProbs expected = log_probs(law, batch_)(rows, Eigen::all);
    expect_same(law, log_probs(law, other), expected, "in another order");
    expect_same(law, gradients_of(law, other, weights(rows, Eigen::all)), gradients_of(law, batch_, weights),
                "in another order");
  }

  /// A response gives alone what it gives beside others, longer ones among them.
  void lengths(std::string_view law) {
    const LogProbs together = log_probs(law, batch_);
    for (Index n = 0; n < batch_.response_count(); ++n) {
      const LogProbs alone = log_probs(law, one_text(prompt_of(n), batch_.response(n).tokens));
      const LogProbs expected = together.row(n).head(alone.cols());
      expect_same(law, alone, expected, fmt::format("of response {} alone", n));
    }
  }

  /// A token's log-probability does not depend on the tokens after it.
  void causal(std::string_view law) {
    Dice dice(limits_.seed + 9);
    for (Index n = 0; n < batch_.response_count(); ++n) {
      const Tokens& tokens = batch_.response(n).tokens;
      const LogProbs whole = log_probs(law, one_text(prompt_of(n), tokens));
      for (std::size_t kept = 1; kept < tokens.size(); ++kept) {
        Tokens changed(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(kept));
        const Tokens end = dice.tokens(length(batch_, n) - static_cast<Index>(kept), limits_.vocabulary);
        changed.insert(changed.end(), end.begin(), end.end());
        const auto first = static_cast<Index>(kept);
        const LogProbs expected = whole.leftCols(first);
        const LogProbs logp = log_probs(law, one_text(prompt_of(n), std::move(changed))).leftCols(first);
        expect_same(law, logp, expected, fmt::format("before token {} of response {} changed", kept, n));
      }
    }
  }

  /// A token's log-probability does depend on the token right before it, the prompt's last one included.
  void positions(std::string_view law) {
    for (Index n = 0; n < batch_.response_count(); ++n) {
      for (Index t = 0; t < length(batch_, n); ++t) {
        const double logp = log_probs(law, one_text(prompt_of(n), batch_.response(n).tokens))(0, t);
        double change = 0;
        for (Index step = 1; step <= 3; ++step) {  // three other ids in place of the token before
          Tokens prompt = prompt_of(n), response = batch_.response(n).tokens;
          TokenId& before = t == 0 ? prompt.back() : response[static_cast<std::size_t>(t - 1)];
          before = static_cast<TokenId>((before + step) % limits_.vocabulary);
          const LogProbs other = log_probs(law, one_text(std::move(prompt), std::move(response)));
          change = std::max(change, std::abs(other(0, t) - logp));
        }
        report_.expect(law, change > limits_.tolerance, [&] {
          return fmt::format("token {} of response {} does not depend on the token before it", t, n);
        });
      }
    }
  }

  /// Tokens moved from the front of a response to the end of its prompt leave the others as they are.
  void boundary(std::string_view law) {
    Dice dice(limits_.seed + 10);
    for (const Index length : {limits_.longest_prompt, Index{1}}) {
      check_boundary(law, dice.tokens(length, limits_.vocabulary),
                     dice.tokens(limits_.longest_response, limits_.vocabulary), limits_.longest_response - 1);
    }
  }

  /// No id is special: after each of them, up to 64, a response goes on as if the id stood in the prompt.
  void ids(std::string_view law) {
    Dice dice(limits_.seed + 13);
    const Tokens prompt = dice.tokens(2, limits_.vocabulary), end = dice.tokens(2, limits_.vocabulary);
    Batch inside = one_text(prompt, {}), before;
    inside.responses.clear();
    for (Index i = 0; i < std::min<Index>(limits_.vocabulary, 64); ++i) {
      const auto id = static_cast<TokenId>(i % 2 == 0 ? i / 2 : limits_.vocabulary - 1 - i / 2);  // both ends
      inside.responses.push_back(plain_response(0, i, {id, end[0], end[1]}));
      before.prompts.push_back({.tokens = {prompt[0], prompt[1], id}});
      before.responses.push_back(plain_response(i, 0, end));
    }
    const LogProbs expected = log_probs(law, before);
    expect_same(law, log_probs(law, inside).rightCols(2), expected, "after each id");
  }

  /// The values and gradients of the micro-batches are those of the whole, a prompt without responses
  /// included.
  void micro_batches(std::string_view law) {
    Dice dice(limits_.seed + 11);
    const LogProbs weights = random_weights(batch_, dice), whole = log_probs(law, batch_);
    const Gradients expected = gradients_of(law, batch_, weights);
    zero_gradients(model_.parameters());
    for (Index p = 0; p < batch_.prompt_count(); ++p) {
      const Batch piece = part(batch_, p, 1);
      std::vector<Index> rows;
      for (Index n = 0; n < batch_.response_count(); ++n) {
        if (batch_.response(n).prompt == p) rows.push_back(n);
      }
      const auto columns = Eigen::seqN(0, piece.longest());
      const LogProbs expected_rows = whole(rows, columns);
      expect_same(law, log_probs(law, piece), expected_rows, fmt::format("of prompt {} alone", p));
      model_.backward(weights(rows, columns));
    }
    expect_same(law, read_gradients(), expected, "added up over micro-batches");
  }

  /// A text may fill the context.
  void context(std::string_view law) {
    Dice dice(limits_.seed + 12);
    check_boundary(law, dice.tokens(1, limits_.vocabulary),
                   dice.tokens(limits_.context - 1, limits_.vocabulary), limits_.context - 2);
  }

  /// What `check` refuses is refused with `Error`, a wrong shape too, and leaves the model usable.
  void errors(std::string_view law) {
    const LogProbs before = log_probs(law, batch_);
    for (const auto& [what, batch] : refused_batches(limits_)) {
      const Batch& refused = batch;
      report_.expect_error(law, what, [&] { static_cast<void>(model_.log_probs(refused)); });
    }
    const LogProbs after = log_probs(law, batch_);
    expect_same(law, after, before, "after refused batches");
    report_.expect_error(law, "backward with a row too many",
                         [&] { model_.backward(LogProbs::Zero(after.rows() + 1, after.cols())); });
    report_.expect_error(law, "backward with a column too few",
                         [&] { model_.backward(LogProbs::Zero(after.rows(), after.cols() - 1)); });
  }

 private:
  static Index length(const Batch& batch, Index n) {
    return static_cast<Index>(batch.response(n).tokens.size());
  }

  const Tokens& prompt_of(Index n) const {
    return batch_.prompts[static_cast<std::size_t>(batch_.response(n).prompt)].tokens;
  }

  /// The model's answer, made sure to have the right shape.
  LogProbs log_probs(std::string_view law, const Batch& batch) {
    LogProbs logp = model_.log_probs(batch);
    check_shape(law, logp, batch);
    return logp;
  }

  void add_gradients(std::string_view law, const Batch& batch, const LogProbs& weights) {
    log_probs(law, batch);
    model_.backward(weights);
  }

  Gradients read_gradients() { return testing::read_gradients(model_.parameters()); }

  Gradients gradients_of(std::string_view law, const Batch& batch, const LogProbs& weights) {
    zero_gradients(model_.parameters());
    add_gradients(law, batch, weights);
    return read_gradients();
  }

  void expect_same(std::string_view law, const LogProbs& found, const LogProbs& expected,
                   std::string_view what) {
    for (Index n = 0; n < expected.rows(); ++n) {
      for (Index t = 0; t < expected.cols(); ++t) {
        report_.expect_near(law, found(n, t), expected(n, t), limits_.tolerance,
                            fmt::format("log-probability ({}, {}) {}", n, t, what));
      }
    }
  }

  void expect_same(std::string_view law, const Gradients& found, const Gradients& expected,
                   std::string_view what) {
    for (std::size_t array = 0; array < expected.size(); ++array) {
      report_.expect_near(law, largest_difference(found[array], expected[array]), 0,
                          10 * limits_.tolerance * (1 + largest_difference(expected[array], {})),
                          fmt::format("the largest difference of the gradient of array {} {}", array, what));
    }
  }

  /// Compares the gradient of one array along `direction` with the central difference.
  void check_along(std::string_view law, const LogProbs& weights, std::size_t array,
                   const std::vector<double>& gradient, const std::vector<double>& direction,
                   std::string_view what) {
    const auto list = model_.parameters();
    using Access = ParameterAccess<std::remove_cvref_t<decltype(list)>>;
    const std::vector<double> start = Access::values(list, array);
    std::vector<double> moved = start;
    const auto objective_at = [&](double step, std::vector<double>& reached) {
      for (std::size_t i = 0; i < moved.size(); ++i) moved[i] = start[i] + step * direction[i];
      Access::set_values(list, array, moved);
      reached = Access::values(list, array);  // as rounded to the type of the array
      return (weights * log_probs(law, batch_)).sum();
    };
    std::vector<double> ahead, behind;
    const double difference = objective_at(limits_.step, ahead) - objective_at(-limits_.step, behind);
    Access::set_values(list, array, start);
    double expected = 0, squares = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
      expected += gradient[i] * (ahead[i] - behind[i]);
      squares += gradient[i] * gradient[i];
    }
    // In units of the objective: what curvature may bend and what rounding may blur.
    const double curvature = limits_.gradient_tolerance * 2 * limits_.step * std::sqrt(squares);
    const double rounding = limits_.tolerance * 0.1 * std::sqrt(weights.square().sum());
    report_.expect_near(law, difference, expected,
                        curvature + limits_.gradient_tolerance * std::abs(difference) + rounding,
                        fmt::format("array {} along {}: the difference", Access::name(list, array), what));
  }

  void check_boundary(std::string_view law, const Tokens& prompt, const Tokens& response, Index moved) {
    const LogProbs whole = log_probs(law, one_text(prompt, response));
    Tokens longer = prompt;
    longer.insert(longer.end(), response.begin(), response.begin() + moved);
    const LogProbs tail =
        log_probs(law, one_text(std::move(longer), {response.begin() + moved, response.end()}));
    const LogProbs expected = whole.rightCols(tail.cols());
    expect_same(law, tail, expected, fmt::format("with {} tokens moved into the prompt", moved));
  }

  M& model_;
  ModelLaws limits_;
  Batch batch_;
  LawReport report_;
};

/// Runs the laws of `LogProbModel` on a model and says which did not hold.
///
/// The laws are `fresh range repeatable adjoint mask accumulates normalised shared order lengths causal
/// positions boundary ids micro-batches context errors`, the members of `LogProbModelCheck`. Parameters are
/// moved and put back. Cost: some 200 calls of `log_probs`, 12 with every array; one batch of V responses,
/// two full contexts.
///
/// `m.parameters()` is a `ParameterList<Scalar>`, or a list for which `ParameterAccess` is specialised.
///
/// \throws Error if the limits leave no room for the texts.
template <LogProbModel M>
LawReport check_log_prob_model(M& model, const ModelLaws& limits) {
  limits.check_limits();
  return LogProbModelCheck<M>(model, limits).all();
}

}  // namespace eso::testing
