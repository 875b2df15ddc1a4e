// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eso/loss/combined.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/sft.hpp"
#include "eso/optim/adamw.hpp"
#include "eso/sample/temperatures.hpp"
#include "eso/testing/tabular.hpp"
#include "eso/testing/texts.hpp"
#include "eso/train/trainer.hpp"

// A small run for the tests of the trainer, and what to compare of two runs.

namespace small_run {

using namespace eso;
using testing::TabularModel;

using SftEso = Combined<SftLoss, EsoLoss>;
inline const SftEso combined{SftLoss{}, 0.5, EsoLoss{}};

/// Seven examples, numbered 40 to 46: with the batch of 3 below an epoch has steps of 3, 3 and 1 examples.
inline const std::vector<Example> examples = [] {
  testing::Dice dice(1);
  std::vector<Example> result(7);
  for (Index i = 0; i < 7; ++i) {
    Example& example = result[static_cast<std::size_t>(i)];
    example.number = 40 + i;
    example.prompt = dice.tokens(1 + dice.below(3), 6);
    example.target = dice.tokens(1 + dice.below(4), 6);
  }
  return result;
}();

inline TabularModel small_model() { return {6, 9, 3}; }

inline Temperatures three_samples() {
  Temperatures sampler{0.5, 1, 1.5};
  sampler.max_tokens = 4;
  return sampler;
}

/// The share of the response's tokens that are odd, and something of the example.
inline double oddness(const Response& response, const Example& example) {
  double odd = 0;
  for (const TokenId token : response.tokens) odd += token % 2;
  return odd / static_cast<double>(response.tokens.size()) + static_cast<double>(example.number % 3);
}

/// Three epochs with the method on in all of them.
template <class L = SftEso, class O = AdamW, class R = double (*)(const Response&, const Example&)>
auto trainer_of(TabularModel& model, L loss = combined, O optimizer = {}, R reward = oddness) {
  Trainer trainer{model, three_samples(), reward, loss, optimizer};
  trainer.epochs = 3;
  trainer.batch_size = 3;
  trainer.micro_batch_size = 2;
  trainer.schedule = {.peak = 0.1};
  trainer.seed = 9;
  return trainer;
}

template <class T>
std::vector<Step> steps_of(T& trainer) {
  std::vector<Step> steps;
  for (const Step& step : trainer.run(examples)) steps.push_back(step);
  return steps;
}

inline std::vector<double> values_of(TabularModel& model) {
  std::vector<double> values;
  for (const auto& p : model.parameters()) values.insert(values.end(), p.value, p.value + p.size);
  return values;
}

/// All that a step tells but its times, to the last bit.
inline std::string told(const Step& step) {
  std::string text = fmt::format("{}/{} {} {} {} {} {} {} {} {} {}", step.number, step.steps, step.epoch,
                                 step.active, step.loss, step.parts, step.gradient_norm, step.learning_rate,
                                 step.updated, step.tokens, step.reward);
  for (const Prompt& p : step.batch.prompts) text += fmt::format(" {}:{}", p.example, p.tokens);
  for (const Response& r : step.batch.responses) text += fmt::format(" {}:{}", r.tokens, r.reward);
  return text;
}

inline std::vector<std::string> told(const std::vector<Step>& steps) {
  std::vector<std::string> texts;
  for (const Step& step : steps) texts.push_back(told(step));
  return texts;
}

/// A copy of a state, as a checkpoint is one.
inline std::vector<TensorView> copy_of(std::vector<TensorView> state) {
  for (TensorView& view : state) {
    const auto bytes = std::make_shared<std::vector<std::byte>>(view.bytes.begin(), view.bytes.end());
    view.bytes = *bytes, view.owner = bytes;
  }
  return state;
}

inline TensorLookup lookup_in(const std::vector<TensorView>& state) {
  return [&](std::string_view name) -> std::optional<TensorView> {
    const auto at = std::ranges::find(state, name, &TensorView::name);
    return at == state.end() ? std::nullopt : std::optional(*at);
  };
}

/// Model, optimizer and counters: what must not change when a step is abandoned.
template <class T>
struct Snapshot {
  std::vector<TensorView> model, optimizer;
  std::int64_t steps_done, tokens_seen;

  explicit Snapshot(const T& trainer)
      : model(copy_of(trainer.model.state())),
        optimizer(copy_of(trainer.optimizer.state())),
        steps_done(trainer.steps_done),
        tokens_seen(trainer.tokens_seen) {}

  static bool same(const std::vector<TensorView>& a, const std::vector<TensorView>& b) {
    return std::ranges::equal(a, b, [](const TensorView& x, const TensorView& y) {
      return x.name == y.name && std::ranges::equal(x.bytes, y.bytes);
    });
  }
  bool operator==(const Snapshot& other) const {
    return same(model, other.model) && same(optimizer, other.optimizer) && steps_done == other.steps_done &&
           tokens_seen == other.tokens_seen;
  }
  void restore(T& trainer) const {
    trainer.model.load_state(lookup_in(model));
    trainer.optimizer.load_state(lookup_in(optimizer));
    trainer.steps_done = steps_done;
    trainer.tokens_seen = tokens_seen;
  }
};

}  // namespace small_run
