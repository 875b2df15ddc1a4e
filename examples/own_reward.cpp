// SPDX-License-Identifier: MIT
// A reward of one's own: answers in JSON, with the right content, in few tokens.
//
// A small model first learns from data of which half is JSON and half is prose; then ESO with the reward
// makes it answer in JSON alone. In a build folder: examples/own_reward_example.
#include <eso/eso.hpp>

/// A character a token; id 0 is the end of sequence.
struct Characters {
  std::string alphabet = "{}\":,0123456789 abcdefghijklmnopqrstuvwxyz";

  eso::Tokens encode(std::string_view text) const {
    eso::Tokens ids;
    for (const char character : text) {
      const std::size_t at = alphabet.find(character);
      eso::require(at != std::string::npos, "Characters::encode", "a character is not in the alphabet");
      ids.push_back(static_cast<eso::TokenId>(at + 1));
    }
    return ids;
  }
  std::string decode(std::span<const eso::TokenId> ids, bool /*skip_special*/) const {
    std::string text;
    for (const eso::TokenId id : ids)
      if (id >= 1 && id < vocabulary_size()) text += alphabet[static_cast<std::size_t>(id - 1)];
    return text;
  }
  eso::Index vocabulary_size() const { return static_cast<eso::Index>(alphabet.size()) + 1; }
};
static_assert(eso::Tokenizer<Characters>);

/// 1/2 for an object of JSON, 1/2 more where its `key` holds the number of the prompt, less `per_token` a
/// token.
template <eso::Tokenizer T>
struct JsonReward {
  const T* tokenizer = nullptr;
  std::string key;
  double per_token = 0.005;

  double operator()(const eso::Response& response, const eso::Example& example) const {
    const std::string text = tokenizer->decode(response.tokens, true);
    const auto json = nlohmann::json::parse(text, /*callback=*/nullptr, /*allow_exceptions=*/false);
    double reward = -per_token * static_cast<double>(response.tokens.size());
    if (!json.is_object() || !response.finished) return reward;
    reward += 0.5;
    const auto value = json.find(key);
    if (value != json.end() && value->dump() == eso::strip(example.prompt_text)) reward += 0.5;
    return reward;
  }
};

int main() {
  const Characters tokenizer;
  const JsonReward<Characters> reward{&tokenizer, "n"};
  static_assert(eso::Reward<JsonReward<Characters>>);

  // Two answers to each digit: {"n":7} and "n is 7".
  std::vector<eso::TextExample> texts;
  for (int digit = 0; digit < 10; ++digit) {
    for (const auto& answer : {fmt::format("{{\"n\":{}}}", digit), fmt::format("n is {}", digit)}) {
      texts.push_back({.prompt = fmt::format("{} ", digit),
                       .response = answer,
                       .number = static_cast<eso::Index>(texts.size())});
    }
  }
  const std::vector<eso::Example> examples =
      eso::tokenise(texts, tokenizer, eso::TokenId{0}, 8, 12, /*context=*/20).examples;

  const eso::Architecture shape{.vocabulary = tokenizer.vocabulary_size(),
                                .context = 20,
                                .width = 32,
                                .layers = 2,
                                .heads = 2,
                                .inner = 64,
                                .embedding_width = 32};
  auto model = eso::random_model<float>(shape, /*seed=*/1, std::make_shared<eso::Threads>(1));
  eso::Trainer imitation{model, eso::SftLoss{}, eso::AdamW{}};
  imitation.epochs = 400;
  imitation.batch_size = 20;
  imitation.schedule = {.peak = 1e-2};
  imitation.train(examples);

  eso::Temperatures sampler{1, 1, 1, 1};
  sampler.max_tokens = 12;
  eso::Trainer trainer{model, sampler, reward, eso::EsoLoss{}, eso::AdamW{}};
  trainer.epochs = 40;
  trainer.batch_size = 20;
  trainer.schedule = {.peak = 1e-3};
  double first = 0, last = 0;
  for (const eso::Step& step : trainer.run(examples)) {
    if (step.number == 1) first = step.reward;
    last = step.reward;
    if (step.number == 1 || step.number % 10 == 0) {
      const eso::Response& sample = step.batch.response(20);  // the first after the 20 targets
      fmt::print("step {:2}  reward {:5.2f}  {}-> {}\n", step.number, step.reward,
                 step.examples[0]->prompt_text, tokenizer.decode(sample.tokens, true));
    }
  }
  return first < 0.7 && last > 0.85 ? 0 : 1;  // at first half is JSON; at most 0.96 can be had
}
