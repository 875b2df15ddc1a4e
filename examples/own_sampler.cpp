// SPDX-License-Identifier: MIT
// A sampler of one's own: min-p, which draws only among the tokens that have at least `min_p` times the
// probability of the most likely one. In a build folder: examples/own_sampler_example.
//
// Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs",
// arXiv 2407.01082.
#include <eso/eso.hpp>
#include <eso/testing/laws.hpp>

struct MinP {
  double min_p = 0.1;          // in [0, 1]; 0: off, 1: greedy
  double temperature = 1;      // above 0; min-p applies to the probabilities at this temperature
  eso::Index samples = 4;      // of each prompt
  eso::Index max_tokens = 32;  // of a response

  template <eso::Generator G>
  std::vector<eso::Response> operator()(G& model, std::span<const eso::Prompt> prompts,
                                        eso::StepSeed seed) const {
    eso::require(min_p >= 0 && min_p <= 1, "MinP", "min_p must lie in [0, 1]");
    eso::require(temperature > 0 && std::isfinite(temperature), "MinP", "the temperature must be above 0");
    std::vector<eso::Response> responses;
    std::vector<eso::Index> rows;  // of the decoding: which one a response reads, none once it has ended
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      eso::require(static_cast<eso::Index>(prompts[p].tokens.size()) < model.context_length(), "MinP",
                   "a prompt leaves no room in the context");
      for (eso::Index j = 0; j < samples; ++j) {
        rows.push_back(static_cast<eso::Index>(p));
        responses.push_back({.prompt = rows.back(), .sample = j, .temperature = temperature});
      }
    }
    if (responses.empty()) return responses;
    auto decoding = model.decode(prompts);
    while (true) {
      std::vector<eso::Index> parents;
      eso::Tokens tokens;
      for (std::size_t i = 0; i < responses.size(); ++i) {
        if (rows[i] == ended) continue;
        eso::Response& response = responses[i];
        const eso::Prompt& prompt = prompts[static_cast<std::size_t>(response.prompt)];
        draw(decoding, rows[i], uniform(seed, prompt, response), response);
        response.finished = model.is_end(response.tokens.back());
        const auto length = static_cast<eso::Index>(response.tokens.size());
        const bool full = static_cast<eso::Index>(prompt.tokens.size()) + length >= model.context_length();
        const bool over = response.finished || full || length >= max_tokens;
        if (!over) parents.push_back(rows[i]), tokens.push_back(response.tokens.back());
        rows[i] = over ? ended : static_cast<eso::Index>(parents.size()) - 1;
      }
      if (parents.empty()) return responses;
      decoding.advance(parents, tokens);
    }
  }

  /// (V) what is drawn from: `p` at the temperature, cut and normalised. Logits that are not finite are
  /// refused.
  Eigen::ArrayXd kept(const Eigen::ArrayXd& logits) const {
    if (!std::isfinite(logits.maxCoeff()) || logits.isNaN().any())
      throw eso::Error(eso::Fault::system, "MinP", "the logits are not finite");
    Eigen::ArrayXd weights = ((logits - logits.maxCoeff()) / temperature).exp();  // the largest is 1
    weights = (weights < min_p).select(0.0, weights);
    return weights / weights.sum();
  }

 private:
  static constexpr eso::Index ended = -1;

  /// The number of this token in the stream of (seed, step, example, sample): nothing else decides it.
  static double uniform(eso::StepSeed seed, const eso::Prompt& prompt, const eso::Response& response) {
    return eso::uniform01({.seed = seed.seed,
                           .step = seed.step,
                           .prompt = static_cast<std::uint32_t>(prompt.example),
                           .sample = static_cast<std::uint32_t>(response.sample)},
                          response.tokens.size());
  }

  template <class D>
  void draw(D& decoding, eso::Index row, double uniform, eso::Response& response) const {
    const auto& all = decoding.logits();
    Eigen::ArrayXd logits(all.cols());
    std::copy_n(all.data() + row * all.cols(), all.cols(), logits.data());
    const Eigen::ArrayXd drawn_from = kept(logits);
    eso::Index token = 0;
    drawn_from.maxCoeff(&token);  // rounding may leave a little of `uniform` after the last token
    for (eso::Index v = 0; v < drawn_from.size(); ++v) {
      uniform -= drawn_from(v);
      if (uniform < 0) {
        token = v;
        break;
      }
    }
    // What is noted is the model's own distribution: temperature 1, the whole vocabulary.
    const Eigen::ArrayXd logp =
        logits - logits.maxCoeff() - std::log((logits - logits.maxCoeff()).exp().sum());
    response.tokens.push_back(static_cast<eso::TokenId>(token));
    response.logp.push_back(logp(token));
    response.entropy -= (logp.exp() * logp.max(std::numeric_limits<double>::lowest())).sum();
    response.entropy_drawn -= (drawn_from > 0).select(drawn_from * drawn_from.log(), 0.0).sum();
  }
};

int main() {
  eso::testing::TabularModel model(/*vocabulary=*/12, /*context=*/16);
  const MinP sampler{.min_p = 0.3, .temperature = 1.5};
  const eso::testing::LawReport laws =
      eso::testing::check_sampler(sampler, model, {.vocabulary = 12, .context = 16});
  fmt::print("{}", laws.text());

  // Off it draws what the library's sampler draws, which takes the same numbers.
  const std::vector<eso::Prompt> prompts{{.tokens = {3, 1}, .example = 5}, {.tokens = {4}, .example = 6}};
  eso::Temperatures plain{1, 1, 1, 1};
  plain.max_tokens = 32;
  const auto off = MinP{.min_p = 0}(model, prompts, {.seed = 1}),
             expected = plain(model, prompts, {.seed = 1});
  const bool same = std::equal(off.begin(), off.end(), expected.begin(), expected.end(),
                               [](const auto& a, const auto& b) { return a.tokens == b.tokens; });
  fmt::print("with min_p 0 the responses are {} of Temperatures\n", same ? "those" : "not those");

  // How often a token comes first, against how often it should: the laws do not say that.
  const eso::Index draws = 20000;
  const auto first = MinP{.min_p = 0.3, .temperature = 1.5, .samples = draws, .max_tokens = 1}(
      model, std::span(prompts).first(1), {.seed = 2});
  Eigen::ArrayXd share = Eigen::ArrayXd::Zero(12);
  for (const eso::Response& response : first) share(response.tokens[0]) += 1.0 / static_cast<double>(draws);
  auto decoding = model.decode(std::span(prompts).first(1));
  const Eigen::ArrayXd probability = sampler.kept(decoding.logits().row(0).transpose());
  const double largest = (share - probability).abs().maxCoeff();
  const bool cut = ((probability > 0) || (share == 0)).all() && (probability == 0).any();
  for (eso::Index v = 0; v < 12; ++v)
    fmt::print("token {:2}  p {:.3f}  drawn {:.3f}\n", v, probability(v), share(v));
  return laws.passed() && same && cut && largest < 0.02 ? 0 : 1;
}
