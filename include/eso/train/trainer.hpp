// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/data/batches.hpp"
#include "eso/optim/clip.hpp"
#include "eso/optim/schedule.hpp"
#include "eso/train/active_epochs.hpp"
#include "eso/train/step.hpp"

namespace eso {

/// The sampler of a run that draws nothing: supervised training.
struct NoSamples {
  template <class M>
  std::vector<Response> operator()(M&, std::span<const Prompt>, StepSeed) const {
    return {};
  }
};

/// The reward of a run that draws nothing.
struct NoReward {
  double operator()(const Response&, const Example&) const { return 0; }
};

/// Fine-tunes a model: the only place where sampler, reward, loss, model and optimizer meet.
///
///     prompts -> responses -> rewards -> log-probabilities -> value, d_logp -> gradients -> parameters
///
/// A step is one update over `batch_size` examples. `micro_batch_size` prompts go through the model at once,
/// each with all its responses, and change nothing beyond rounding. While the method is not active nothing is
/// sampled and the loss is told so. Everything drawn follows from (seed, step, example), so a run that sets
/// `steps_done` and `tokens_seen` and restores model and optimizer goes on bit for bit.
///
/// The responses of the data that the loss reads (`Loss::reads`) go into the batch: targets, pairs or both. A
/// run whose loss reads what nothing provides is refused before its first step.
///
/// Settings are public members. It uses nothing that a user cannot call: a loop of one's own may take its
/// place.
template <LogProbModel M, class S, Reward R, Loss L, Optimizer<M> O>
  requires Sampler<S, M> || std::same_as<S, NoSamples>
class Trainer {
 public:
  M& model;
  S sampler;
  R reward;
  L loss;
  O optimizer;

  Index epochs = 5;
  Index batch_size = 16;
  Index micro_batch_size = 0;  ///< prompts through the model at once; 0: the batch
  ActiveEpochs active_epochs = {};
  Schedule schedule = {};  ///< its `total_steps` of 0 becomes the run's number of steps
  double clip_norm = 1;    ///< 0: off
  std::uint64_t seed = 0;
  bool shuffle = true;
  std::int64_t max_steps = 0;  ///< 0: all epochs

  /// Called with the scored batch before the loss sees it, if given: to add log-probabilities of a reference
  /// or of the old policy, or a penalty to the rewards.
  std::function<void(Batch&)> prepare = {};
  /// Called between the parts of a step, if given. It may throw to abandon the step: until the update nothing
  /// of the model has changed.
  std::function<void()> between = {};

  std::int64_t steps_done = 0;  ///< where the run stands
  std::int64_t tokens_seen = 0;

  Trainer(M& trained, S drawn_by, R rewarded_by, L minimised, O updated_by)
      : model(trained),
        sampler(std::move(drawn_by)),
        reward(std::move(rewarded_by)),
        loss(std::move(minimised)),
        optimizer(std::move(updated_by)) {}

  /// Supervised: nothing is drawn.
  Trainer(M& trained, L minimised, O updated_by)
      : Trainer(trained, NoSamples{}, NoReward{}, std::move(minimised), std::move(updated_by)) {}

  /// Steps of a run over `count` examples.
  std::int64_t steps(std::size_t count) const {
    const auto all = static_cast<std::int64_t>(batches(count).steps());
    return max_steps > 0 ? std::min(max_steps, all) : all;
  }

  std::int64_t steps_per_epoch(std::size_t count) const {
    return static_cast<std::int64_t>(batches(count).steps_per_epoch());
  }

  class Run;

  /// The steps from `steps_done` on, computed one by one as they are asked for: `for (const Step& s :
  /// trainer.run(e))`.
  ///
  /// \throws Error (input) for settings out of range, and where the loss reads what neither the examples, the
  ///         sampler nor `prepare` provide.
  Run run(std::span<const Example> examples) { return Run(*this, examples); }

  /// Runs to the end; every observer sees every step.
  template <Observer... Os>
  void train(std::span<const Example> examples, Os&... observers) {
    for (const Step& step : run(examples)) (observers(step), ...);
  }

 private:
  /// \throws Error (input) saying what the loss reads and what would provide it.
  void check_reads(std::span<const Example> examples) const {
    const Reads reads = loss.reads();
    const auto needs = [](bool read, bool provided, const char* what, const char* missing, const char* by) {
      if (read && !provided)
        throw input_error("Trainer", fmt::format("the loss reads {}", what), missing, by);
    };
    bool active = false;
    for (Index epoch = 0; epoch < epochs; ++epoch) active = active || active_epochs(epoch, epochs);
    const bool samples = !std::same_as<S, NoSamples>;
    bool greedy = false;
    if constexpr (requires { sampler.draws_greedy(); }) greedy = sampler.draws_greedy();
    needs(reads.samples && active, samples, "samples", "no sampler", "a sampler and a reward");
    needs(reads.samples && !reads.targets && !reads.pairs, active, "samples alone", "no active epoch",
          "active_epochs with one of the run's");
    needs(reads.greedy && active, greedy, "a greedy response per prompt", "a sampler that draws none",
          "one that does, as Temperatures with greedy = true");
    needs(reads.reference, prepare != nullptr, "log-probabilities of a reference model", "no prepare",
          "one that fills Batch::reference_logp");
    needs(reads.old, prepare != nullptr, "the log-probabilities before the update", "no prepare",
          "one that fills Batch::old_logp");
    needs(reads.pairs,
          std::any_of(examples.begin(), examples.end(), [](const Example& e) { return !e.rejected.empty(); }),
          "preference pairs", "no example with a rejected response", "Example::target and Example::rejected");
    const auto bare =
        std::find_if(examples.begin(), examples.end(), [](const Example& e) { return e.target.empty(); });
    if (reads.targets && bare != examples.end())
      throw input_error("Trainer",
                        fmt::format("the loss reads targets, and example {} has none", bare->number));
  }

  Batches batches(std::size_t count) const {
    require(batch_size >= 1 && epochs >= 1, "Trainer", "batch_size and epochs must be at least 1");
    require(micro_batch_size >= 0 && max_steps >= 0, "Trainer",
            "micro_batch_size and max_steps must not be negative");
    return {count, static_cast<std::size_t>(batch_size), static_cast<std::size_t>(epochs), seed, shuffle};
  }
};

/// `Trainer{model, loss, optimizer}` is supervised.
template <class M, class L, class O>
Trainer(M&, L, O) -> Trainer<M, NoSamples, NoReward, L, O>;

/// The steps of a run, as a range that computes each when it is reached. One run at a time per trainer.
template <LogProbModel M, class S, Reward R, Loss L, Optimizer<M> O>
  requires Sampler<S, M> || std::same_as<S, NoSamples>
class Trainer<M, S, R, L, O>::Run {
 public:
  class Iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = Step;
    explicit Iterator(Run& run) : run_(&run) {}
    const Step& operator*() const { return run_->step_; }
    const Step* operator->() const { return &run_->step_; }
    Iterator& operator++() {
      run_->next();
      return *this;
    }
    void operator++(int) { run_->next(); }
    bool operator==(std::default_sentinel_t) const { return run_->ended_; }

   private:
    Run* run_;
  };

  Run(Trainer& trainer, std::span<const Example> examples)
      : trainer_(trainer),
        examples_(examples),
        batches_(trainer.batches(examples.size())),
        schedule_(trainer.schedule),
        reads_(trainer.loss.reads()) {
    trainer.check_reads(examples);
    step_.steps = trainer.steps(examples.size());
    if (schedule_.total_steps == 0) schedule_.total_steps = step_.steps;
  }

  Iterator begin() {
    next();
    return Iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  using Clock = std::chrono::steady_clock;

  /// Adds the time since `since` to `seconds` and sets `since` to now.
  static void lap(Clock::time_point& since, double& seconds) {
    const auto now = Clock::now();
    seconds += std::chrono::duration<double>(now - since).count();
    since = now;
  }

  void next() {
    ended_ = trainer_.steps_done >= step_.steps;
    if (ended_) return;
    const auto start = Clock::now();
    auto since = start;
    step_.times = {};
    begin_step();
    draw_and_score(since);
    forward_backward(since);
    update(since);
    ++trainer_.steps_done;
    step_.times.total = std::chrono::duration<double>(Clock::now() - start).count();
  }

  void begin_step() {
    const auto index = static_cast<std::size_t>(trainer_.steps_done);
    step_.number = trainer_.steps_done + 1;
    step_.epoch = batches_.epochs_done(index);
    step_.active = trainer_.active_epochs(static_cast<Index>(batches_.epoch(index)), trainer_.epochs);
    step_.learning_rate = schedule_(trainer_.steps_done);
    step_.batch = {};
    step_.examples.clear();
    for (const std::size_t i : batches_.batch(index)) {
      const Example& example = examples_[i];
      const Index p = step_.batch.prompt_count();
      step_.examples.push_back(&example);
      step_.batch.prompts.push_back({example.prompt, example.number});
      if (reads_.targets) add_given(example.target, Kind::target, p);
      if (!reads_.pairs || example.rejected.empty()) continue;
      add_given(example.target, Kind::chosen, p);
      add_given(example.rejected, Kind::rejected, p);
    }
  }

  void add_given(const Tokens& tokens, Kind kind, Index p) {
    Response response;
    response.prompt = p;
    response.kind = kind;
    response.tokens = tokens;
    response.temperature = std::numeric_limits<double>::quiet_NaN();
    step_.batch.responses.push_back(std::move(response));
  }

  void draw_and_score(Clock::time_point& since) {
    step_.reward = std::numeric_limits<double>::quiet_NaN();
    if (step_.active) {
      std::vector<Response> drawn = trainer_.sampler(trainer_.model, step_.batch.prompts, step_seed());
      std::move(drawn.begin(), drawn.end(), std::back_inserter(step_.batch.responses));
      lap(since, step_.times.sample);
      score(step_.batch, step_.examples, trainer_.reward);
    }
    if (trainer_.prepare) trainer_.prepare(step_.batch);
    check_rewards(step_.batch, step_.examples);
    double sum = 0;
    std::int64_t count = 0;
    for (const Response& response : step_.batch.responses) {
      if (response.kind == Kind::sample) sum += response.reward, ++count;
    }
    if (count > 0) step_.reward = sum / static_cast<double>(count);
    lap(since, step_.times.reward);
  }

  void forward_backward(Clock::time_point& since) {
    const Batch& whole = step_.batch;
    Totals totals = Totals::of(whole);
    totals.active = step_.active;
    if constexpr (requires { trainer_.loss.count(whole, totals); }) trainer_.loss.count(whole, totals);
    zero_gradients(trainer_.model.parameters());
    step_.loss = 0;
    step_.parts.clear();
    const Index size = trainer_.micro_batch_size > 0 ? trainer_.micro_batch_size : whole.prompt_count();
    for (Index first = 0; first < whole.prompt_count(); first += size) {
      if (trainer_.between) trainer_.between();
      const Batch micro = part(whole, first, std::min(size, whole.prompt_count() - first));
      const LogProbs logp = training_log_probs(micro);
      const LossResult result = trainer_.loss(micro, logp, totals);
      lap(since, step_.times.forward);
      trainer_.model.backward(result.d_logp);
      lap(since, step_.times.backward);
      add(result);
      keep_log_probs(first, size, logp);
    }
    for (const Prompt& prompt : whole.prompts)
      trainer_.tokens_seen += static_cast<std::int64_t>(prompt.tokens.size());
    for (const Response& r : whole.responses)
      trainer_.tokens_seen += static_cast<std::int64_t>(r.tokens.size());
    step_.tokens = trainer_.tokens_seen;
  }

  /// Given responses get the log-probabilities that the loss saw; drawn ones have theirs.
  void keep_log_probs(Index first, Index count, const LogProbs& logp) {
    Index row = 0;
    for (Response& response : step_.batch.responses) {
      if (response.prompt < first || response.prompt >= first + count) continue;
      const auto line = logp.row(row++);
      if (!response.logp.empty()) continue;
      response.logp.resize(response.tokens.size());
      for (std::size_t t = 0; t < response.logp.size(); ++t) response.logp[t] = line(static_cast<Index>(t));
    }
  }

  /// As the model trains: with the masks of its dropout, if it has any.
  LogProbs training_log_probs(const Batch& batch) {
    if constexpr (requires { trainer_.model.log_probs(batch, step_seed()); }) {
      return trainer_.model.log_probs(batch, step_seed());
    } else {
      return trainer_.model.log_probs(batch);
    }
  }

  StepSeed step_seed() const { return {trainer_.seed, static_cast<std::uint32_t>(trainer_.steps_done)}; }

  void add(const LossResult& result) {
    step_.loss += result.value;
    for (const auto& named : result.parts) {
      const auto known = std::find_if(step_.parts.begin(), step_.parts.end(),
                                      [&](const auto& other) { return other.first == named.first; });
      if (known == step_.parts.end()) {
        step_.parts.push_back(named);
      } else {
        known->second += named.second;
      }
    }
  }

  void update(Clock::time_point& since) {
    auto parameters = trainer_.model.parameters();
    step_.gradient_norm = global_norm(parameters);
    step_.updated = std::isfinite(step_.gradient_norm) && std::isfinite(step_.loss);
    if (step_.updated) {
      trainer_.optimizer.update(parameters, step_.learning_rate,
                                clip_scale(step_.gradient_norm, trainer_.clip_norm));
    }
    lap(since, step_.times.update);
  }

  Trainer& trainer_;
  std::span<const Example> examples_;
  Batches batches_;
  Schedule schedule_;
  Reads reads_;
  Step step_;
  bool ended_ = false;
};

}  // namespace eso
