// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/random.hpp"
#include "eso/sample/distribution.hpp"
#include "eso/threads.hpp"

namespace eso {

/// Draws one response per entry of `values` to each prompt, the j-th at the j-th temperature: a `Sampler`.
///
/// Sample j of a prompt uses the random stream (seed, step, the prompt's example, j) and its t-th token the
/// number t of it, so it does not depend on the other prompts, samples or their order. All live rows advance
/// in one product a token, up to `most_rows` of them; a row that ends leaves. A response ends with the end of
/// sequence, after `max_tokens`, or where the context is full.
///
/// Source: section 3.2 of the ESO paper (four temperatures 0.5, 1, 1.5, 2, one sample each).
struct Temperatures {
  std::vector<double> values = {0.5, 1, 1.5, 2};  ///< each >= 0; 0 is greedy
  Index max_tokens = 128;                         ///< of a response, its end of sequence included
  Index top_k = 0;                                ///< 0: off
  double top_p = 1;                               ///< 1: off
  bool greedy = false;    ///< also the greedy response of each prompt, as `Kind::greedy`: the baseline of DRL
  Index most_rows = 512;  ///< through the model at once: more responses are drawn in parts, to bound memory
  std::function<void()> between = {};  ///< called before each token, if given: may throw to abandon the work
  Threads* threads = nullptr;  ///< share the draws of a token; the result does not depend on their number

  Temperatures() = default;
  Temperatures(std::initializer_list<double> temperatures) : values(temperatures) {}
  explicit Temperatures(std::vector<double> temperatures) : values(std::move(temperatures)) {}

  /// Whether each prompt also gets a greedy response, for the losses that read one.
  bool draws_greedy() const { return greedy; }

  template <Generator G>
  std::vector<Response> operator()(G& generator, std::span<const Prompt> prompts, StepSeed seed) const {
    std::vector<Response> responses;
    in_parts(generator, prompts, seed, [&](std::vector<Response>&& part) {
      std::move(part.begin(), part.end(), std::back_inserter(responses));
    });
    return responses;
  }

  /// The same responses in the same order, given to `take(std::vector<Response>&&)` part by part as they are
  /// drawn.
  template <Generator G, class Take>
  void in_parts(G& generator, std::span<const Prompt> prompts, StepSeed seed, const Take& take) const {
    check_settings();
    const std::size_t each = values.size() + (greedy ? 1 : 0), most = static_cast<std::size_t>(most_rows);
    if (each == 0) return;
    const std::size_t together = std::max<std::size_t>(1, most / each);
    for (std::size_t p = 0; p < prompts.size(); p += together) {
      const std::size_t count = std::min(together, prompts.size() - p);
      for (std::size_t first = 0; first < each; first += most) {
        std::vector<Response> part = blank_responses(count, first, std::min(each, first + most));
        draw(generator, prompts.subspan(p, count), seed, part);
        for (Response& response : part) response.prompt += static_cast<Index>(p);
        take(std::move(part));
      }
    }
  }

 private:
  template <Generator G>
  void draw(G& generator, std::span<const Prompt> prompts, StepSeed seed,
            std::vector<Response>& responses) const {
    auto decoding = generator.decode(prompts);
    using Scalar = std::remove_cvref_t<decltype(*decoding.logits().data())>;
    std::vector<std::size_t> live;  // which response a live row is to become
    std::vector<Index> rows;        // and which row of the decoding it reads
    for (std::size_t n = 0; n < responses.size(); ++n) {
      const Index length =
          static_cast<Index>(prompts[static_cast<std::size_t>(responses[n].prompt)].tokens.size());
      if (length >= generator.context_length()) {
        throw input_error("Temperatures", "a prompt leaves no room for a response in the context",
                          fmt::format("{} tokens", length),
                          fmt::format("at most {}", generator.context_length() - 1));
      }
      live.push_back(n);
      rows.push_back(responses[n].prompt);
    }
    std::vector<Index> parents;
    Tokens next;
    std::vector<Draw> draws;
    std::vector<Distribution<Scalar>> distributions = distributions_for<Scalar>();
    while (true) {
      if (between) between();
      parents.clear(), next.clear();
      std::vector<std::size_t> still;
      const auto& logits = decoding.logits();
      draws.resize(live.size());
      for_each_row(live.size(), distributions, [&](std::size_t i, Distribution<Scalar>& distribution) {
        const Response& response = responses[live[i]];
        const auto& prompt = prompts[static_cast<std::size_t>(response.prompt)];
        distribution.temperature = response.temperature;
        draws[i] = distribution.draw(logits.data() + rows[i] * logits.cols(), logits.cols(),
                                     uniform01(stream(seed, prompt, response), response.tokens.size()));
      });
      for (std::size_t i = 0; i < live.size(); ++i) {
        Response& response = responses[live[i]];
        const auto& prompt = prompts[static_cast<std::size_t>(response.prompt)];
        append(response, draws[i]);
        response.finished = generator.is_end(response.tokens.back());
        const auto length = static_cast<Index>(response.tokens.size());
        const bool full = static_cast<Index>(prompt.tokens.size()) + length >= generator.context_length();
        if (response.finished || full || length >= max_tokens) continue;
        still.push_back(live[i]);
        parents.push_back(rows[i]);
        next.push_back(response.tokens.back());
      }
      live.swap(still);
      if (live.empty()) return;
      decoding.advance(parents, next);
      rows.resize(live.size());
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<Index>(i);
    }
  }

  /// One for each thread: they have room of their own.
  template <class Scalar>
  std::vector<Distribution<Scalar>> distributions_for() const {
    Distribution<Scalar> distribution;
    distribution.top_k = top_k;
    distribution.top_p = top_p;
    return std::vector<Distribution<Scalar>>(threads ? static_cast<std::size_t>(threads->count()) : 1,
                                             distribution);
  }

  template <class Scalar, class Draw>
  void for_each_row(std::size_t count, std::vector<Distribution<Scalar>>& distributions,
                    const Draw& draw) const {
    const std::size_t parts = std::min(count, distributions.size());
    const auto run = [&](Index part) {
      for (auto i = static_cast<std::size_t>(part); i < count; i += parts)
        draw(i, distributions[static_cast<std::size_t>(part)]);
    };
    if (threads) return threads->for_each(static_cast<Index>(parts), run);
    run(0);
  }

  void check_settings() const {
    for (const double temperature : values) {
      require(temperature >= 0 && temperature < std::numeric_limits<double>::infinity(), "Temperatures",
              "a temperature must be finite and at least 0");
    }
    require(most_rows >= 1, "Temperatures", "most_rows must be at least 1");
    require(max_tokens >= 1, "Temperatures", "max_tokens must be at least 1");
    require(top_k >= 0, "Temperatures", "top_k must be at least 0");
    require(top_p > 0 && top_p <= 1, "Temperatures", "top_p must lie in (0, 1]");
  }

  /// Those from `first` to before `end` of each of `count` prompts, the greedy one behind the others.
  std::vector<Response> blank_responses(std::size_t count, std::size_t first, std::size_t end) const {
    std::vector<Response> responses;
    for (std::size_t p = 0; p < count; ++p) {
      for (std::size_t j = first; j < end; ++j) {
        Response& response = responses.emplace_back();
        response.prompt = static_cast<Index>(p);
        if (j < values.size()) {
          response.sample = static_cast<Index>(j);
          response.temperature = values[j];
        } else {
          response.kind = Kind::greedy;
          response.temperature = 0;
        }
      }
    }
    return responses;
  }

  static StreamName stream(StepSeed seed, const Prompt& prompt, const Response& response) {
    return {.seed = seed.seed,
            .step = seed.step,
            .prompt = static_cast<std::uint32_t>(prompt.example),
            .sample = static_cast<std::uint32_t>(response.sample)};
  }

  static void append(Response& response, const Draw& draw) {
    response.tokens.push_back(draw.token);
    response.logp.push_back(draw.logp);
    response.entropy += draw.entropy;
    response.entropy_drawn += draw.entropy_drawn;
  }
};

}  // namespace eso
