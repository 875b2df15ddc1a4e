// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/testing/generator_laws.hpp"
#include "eso/testing/report.hpp"
#include "eso/testing/texts.hpp"

namespace eso::testing {

/// The laws of `Sampler` on one sampler and model; use `check_sampler`. Every public member checks one law
/// and is named after it.
template <class S, class G>
  requires Sampler<S, G> && LogProbModel<G>
class SamplerCheck {
 public:
  SamplerCheck(const S& sampler, G& model, const ModelLaws& limits)
      : sampler_(sampler), model_(model), limits_(limits), seed_{limits.seed + 30, 3} {
    Dice dice(limits.seed + 31);
    for (const Index length :
         {limits.longest_prompt, Index{1}, Index{2}, 1 + dice.below(limits.longest_prompt)}) {
      const auto example = static_cast<Index>(40 - 7 * prompts_.size());  // names, not places
      prompts_.push_back({.tokens = dice.tokens(length, limits.vocabulary), .example = example});
    }
  }

  /// Checks all laws.
  LawReport all() && {
    const auto run = [&](std::string_view name, void (SamplerCheck::*law)(std::string_view)) {
      report_.run(name, [&](std::string_view running) { (this->*law)(running); });
    };
    run("order", &SamplerCheck::order);
    run("repeatable", &SamplerCheck::repeatable);
    run("seeds", &SamplerCheck::seeds);
    run("independent", &SamplerCheck::independent);
    run("logp", &SamplerCheck::logp);
    run("entropy", &SamplerCheck::entropy);
    run("finished", &SamplerCheck::finished);
    return std::move(report_);
  }

  /// Responses are ordered by prompt, kind and sample, belong to a prompt and fit the context.
  void order(std::string_view law) {
    const std::vector<Response> responses = sampler_(model_, prompts_, seed_);
    report_.expect(law, !responses.empty(), [] { return "no response was drawn"; });
    for (std::size_t n = 0; n < responses.size(); ++n) {
      const Response& r = responses[n];
      const bool known = r.prompt >= 0 && r.prompt < static_cast<Index>(prompts_.size());
      report_.expect(law, known, [&] { return fmt::format("response {} belongs to no prompt", n); });
      if (!known) return;
      const std::size_t length = r.tokens.size() + prompts_[static_cast<std::size_t>(r.prompt)].tokens.size();
      report_.expect(law, !r.tokens.empty() && static_cast<Index>(length) <= limits_.context,
                     [&] { return fmt::format("response {} has no token or exceeds the context", n); });
      if (n == 0) continue;
      const Response& before = responses[n - 1];
      report_.expect(
          law, std::tie(before.prompt, before.kind, before.sample) < std::tie(r.prompt, r.kind, r.sample),
          [&] { return fmt::format("response {} stands out of order", n); });
    }
  }

  /// Equal parameters, prompts and seeds give equal responses.
  void repeatable(std::string_view law) {
    const std::vector<Response> first = sampler_(model_, prompts_, seed_);
    const std::vector<Response> again = sampler_(model_, prompts_, seed_);
    report_.expect(law, first.size() == again.size(), [] { return "a second call draws another number"; });
    for (std::size_t n = 0; n < std::min(first.size(), again.size()); ++n) {
      report_.expect(law, first[n].tokens == again[n].tokens && first[n].logp == again[n].logp,
                     [&] { return fmt::format("response {} differs the second time", n); });
    }
  }

  /// Another seed and another step give other samples, unless nothing is drawn at all.
  void seeds(std::string_view law) {
    const std::vector<Response> first = sampler_(model_, prompts_, seed_);
    const bool drawn =
        std::any_of(first.begin(), first.end(), [](const Response& r) { return r.temperature > 0; });
    for (const StepSeed other :
         {StepSeed{seed_.seed + 1, seed_.step}, StepSeed{seed_.seed, seed_.step + 1}}) {
      const std::vector<Response> second = sampler_(model_, prompts_, other);
      bool same = first.size() == second.size();
      for (std::size_t n = 0; same && n < first.size(); ++n) same = first[n].tokens == second[n].tokens;
      report_.expect(law, !drawn || !same, [] { return "another seed or step draws the same responses"; });
    }
  }

  /// A response does not depend on the other prompts nor on their order.
  void independent(std::string_view law) {
    const std::vector<Response> together = sampler_(model_, prompts_, seed_);
    const std::vector<Prompt> turned(prompts_.rbegin(), prompts_.rend());
    const std::vector<Response> reversed = sampler_(model_, turned, seed_);
    for (Index p = 0; p < static_cast<Index>(prompts_.size()); ++p) {
      const auto one = std::span<const Prompt>(prompts_).subspan(static_cast<std::size_t>(p), 1);
      const std::vector<Tokens> expected = of_prompt(together, p);
      report_.expect(law, of_prompt(sampler_(model_, one, seed_), 0) == expected,
                     [&] { return fmt::format("prompt {} alone gives other responses", p); });
      report_.expect(law, of_prompt(reversed, static_cast<Index>(prompts_.size()) - 1 - p) == expected,
                     [&] { return fmt::format("prompt {} in another order gives other responses", p); });
    }
  }

  /// `logp` is what `log_probs` gives for the tokens, where it is not empty.
  void logp(std::string_view law) {
    const Batch batch = drawn();
    const LogProbs expected = model_.log_probs(batch);
    check_shape(law, expected, batch);
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Response& response = batch.response(n);
      if (response.logp.empty()) continue;
      report_.expect(law, response.logp.size() == response.tokens.size(),
                     [&] { return fmt::format("response {} has not one number for each token", n); });
      for (std::size_t t = 0; t < std::min(response.logp.size(), response.tokens.size()); ++t) {
        report_.expect_near(law, response.logp[t], expected(n, static_cast<Index>(t)), limits_.tolerance,
                            fmt::format("logp of token {} of response {}", t, n));
      }
    }
  }

  /// `entropy` is the sum over the tokens of the entropy, at temperature 1, of what they were drawn from.
  void entropy(std::string_view law) {
    const Batch batch = drawn();
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Response& response = batch.response(n);
      if (response.logp.empty()) continue;
      const auto prompt =
          std::span<const Prompt>(batch.prompts).subspan(static_cast<std::size_t>(response.prompt), 1);
      auto decoding = model_.decode(prompt);
      double sum = 0;
      for (std::size_t t = 0; t < response.tokens.size(); ++t) {
        const Index parent = 0;
        if (t > 0)
          decoding.advance(std::span<const Index>(&parent, 1), std::span(&response.tokens[t - 1], 1));
        const LogProbs next = next_log_probs(decoding);
        sum -= (next.exp() * next).sum();
      }
      const double tolerance = limits_.tolerance * 10 * static_cast<double>(response.tokens.size());
      report_.expect_near(law, response.entropy, sum, tolerance, fmt::format("entropy of response {}", n));
    }
  }

  /// `finished` holds exactly if the last token is an end, and no earlier token is.
  void finished(std::string_view law) {
    const Batch batch = drawn();
    const auto is_end = [&](TokenId id) { return model_.is_end(id); };
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Response& response = batch.response(n);
      if (response.tokens.empty()) continue;
      report_.expect(law, response.finished == is_end(response.tokens.back()), [&] {
        return fmt::format("response {} is {}finished, its last token is {}", n,
                           response.finished ? "" : "not ", response.tokens.back());
      });
      report_.expect(law, std::none_of(response.tokens.begin(), response.tokens.end() - 1, is_end),
                     [&] { return fmt::format("response {} goes on after the end of sequence", n); });
    }
  }

 private:
  Batch drawn() { return {prompts_, sampler_(model_, prompts_, seed_), {}, {}}; }

  static std::vector<Tokens> of_prompt(const std::vector<Response>& responses, Index p) {
    std::vector<Tokens> result;
    for (const Response& response : responses) {
      if (response.prompt == p) result.push_back(response.tokens);
    }
    return result;
  }

  const S& sampler_;
  G& model_;
  ModelLaws limits_;
  StepSeed seed_;
  std::vector<Prompt> prompts_;
  LawReport report_;
};

/// Runs the laws of `Sampler` on a sampler with a model that also gives log-probabilities.
///
/// The names of the laws are `order repeatable seeds independent logp entropy finished`, the members of
/// `SamplerCheck`. The laws do not say what is drawn how often: test the frequencies of a sampler as well.
/// The independence of how many samples are drawn needs two samplers: compare their responses.
/// `limits.context` is the model's. Cost: about 15 calls of the sampler on 4 prompts.
///
/// \throws Error if the limits leave no room for the texts.
template <class S, class G>
  requires Sampler<S, G> && LogProbModel<G>
LawReport check_sampler(const S& sampler, G& model, const ModelLaws& limits) {
  limits.check_limits();
  return SamplerCheck<S, G>(sampler, model, limits).all();
}

}  // namespace eso::testing
