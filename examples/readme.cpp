#include <eso/eso.hpp>

int main() {
  // A two-layer GPT-2 with random weights; eso::load_model reads a real one from its folder.
  eso::Architecture shape{.vocabulary = 16, .context = 10, .width = 32, .layers = 2, .heads = 2, .inner = 64, .embedding_width = 32};
  auto model = eso::random_model<double>(shape, /*seed=*/1, std::make_shared<eso::Threads>(1));

  std::vector<eso::Example> examples;  // a prompt of one token, and a response to imitate
  for (eso::TokenId w = 1; w <= 8; ++w) examples.push_back({.prompt = {w}, .target = {w, 0}, .number = w});

  // What we want instead: responses that say the prompt's token again and again.
  auto reward = [](const eso::Response& answer, const eso::Example& example) {
    return double(std::count(answer.tokens.begin(), answer.tokens.end(), example.prompt[0])) / 8;
  };
  eso::Temperatures sampler{0.5, 1, 1.5, 2};  // four samples a prompt, one at each temperature
  sampler.max_tokens = 8;
  eso::Trainer trainer{model, sampler, reward, eso::Combined{eso::SftLoss{}, 1, eso::EsoLoss{}}, eso::AdamW{}};
  trainer.epochs = 400;
  trainer.schedule = {.peak = 3e-3};

  for (const eso::Step& step : trainer.run(examples))
    if (step.number == 1 || step.number % 100 == 0)
      fmt::print("step {:3}  loss {:6.2f}  reward {:4.2f}\n", step.number, step.loss, step.reward);
}
