// SPDX-License-Identifier: MIT
#include "train.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "backend.hpp"
#include "divergence.hpp"
#include "eso/reward/rouge_reward.hpp"
#include "eso/sample/data_parallel_sampler.hpp"
#include "eso/sample/temperatures.hpp"
#include "eso/train/records.hpp"
#include "eso/train/trainer.hpp"
#include "methods.hpp"
#include "model_folder.hpp"
#include "program.hpp"
#include "progress.hpp"
#include "report/report.hpp"
#include "run_directory.hpp"
#include "run_inputs.hpp"
#include "run_record.hpp"
#include "step_lines.hpp"

namespace eso_program {
namespace {

/// Everything of a run that does not depend on its loss.
struct RunState {
  const TrainFlags& flags;
  const Method& method;
  const TrainHooks& hooks;
  const AnyModel& model;
  const eso::ByteLevelBpe& tokenizer;
  const std::vector<eso::Example>& examples;
  const nlohmann::json& files;   // their checksums, where this process writes
  ReferenceLogProbs* reference;  // null where none is read
  RunDirectory& directory;
  TrainResult& result;
  const AnyRanks& ranks;
  eso::Threads& threads;
};

void write_records(const RunState& run, const eso::Step& step) {
  if (!run.directory.writes()) return;
  const eso::RecordStyle style = method_records(run.method, run.flags);
  const auto due = [&](std::int64_t every) { return every > 0 && step.number % every == 0; };
  if (due(run.flags.log_every)) run.directory.add_metrics(eso::metrics_record(step, style));
  if (!due(run.flags.log_completions)) return;
  for (const auto& record : eso::completion_records(step, run.tokenizer, style))
    run.directory.add_completion(record);
}

/// A warmup that the run does not outlast is legal, and seldom what was meant.
void say_if_still_warming_up(const RunState& run, std::int64_t steps) {
  if (run.flags.warmup_steps < steps || run.flags.warmup_steps == 0) return;
  say("{}the learning rate never reaches --learning-rate: --warmup-steps is {}, and the run ends after step "
      "{}",
      run.hooks.title, run.flags.warmup_steps, steps);
}

/// A run that ends before its method begins is legal, and seldom what was meant.
template <class Trainer>
void say_if_never_on(const RunState& run, const Trainer& trainer) {
  const std::int64_t steps = trainer.steps(run.examples.size()),
                     in_epoch = trainer.steps_per_epoch(run.examples.size());
  for (std::int64_t epoch = 0; epoch < run.flags.epochs && epoch * in_epoch < steps; ++epoch) {
    if (trainer.active_epochs(epoch, run.flags.epochs)) return;
  }
  run.result.never_on = true;
  say("{}{} is never on: --active-epochs {} of {}, and the run ends after step {} in epoch {}",
      run.hooks.title, run.method.title, run.flags.active_epochs, run.flags.epochs, steps,
      (steps - 1) / in_epoch + 1);
}

/// A signal that reaches one of several processes stops all of them after the same step.
void check_signals_of_all(const AnyRanks& ranks) {
  if (ranks.size() == 1) return check_signals();
  for (const std::string& noted : ranks.exchange(fmt::format("{}", noted_signal()))) {
    if (noted != "0") throw Interrupted{std::stoi(noted)};
  }
}

/// Saves the state after a step; all ranks may have to give theirs of the optimizer.
template <class Trainer>
void save_checkpoint(const RunState& run, Trainer& trainer, const std::string& data,
                     const nlohmann::json& settings) {
  nlohmann::json counters{{"tokens", trainer.tokens_seen},
                          {"settings", settings},
                          {"files", run.files},
                          {"data", data},
                          {"processes", run.ranks.size()},
                          {"left_out", run.result.left_out},
                          {"left_out_last", run.result.left_out_last}};
  if (!std::isnan(run.result.first_nll))
    counters.update({{"first_nll", run.result.first_nll}, {"last_nll", run.result.last_nll}});
  const std::vector<eso::TensorView> optimizer =
      trainer.optimizer.state();  // all ranks may have to give theirs
  if (!run.directory.writes()) return;
  run.directory.save(
      trainer.steps_done, counters, run.model.state(), optimizer,
      static_cast<int>(std::min<std::int64_t>(run.flags.keep_checkpoints, std::numeric_limits<int>::max())));
}

/// Steps the trainer to its end, with records, checkpoints and progress.
template <class Trainer>
void run_steps(const RunState& run, Trainer& trainer) {
  const std::int64_t steps = trainer.steps(run.examples.size());
  const auto save = [&, data = data_record(run.examples), settings = settings_record(run.flags)] {
    save_checkpoint(run, trainer, data, settings);
  };
  say_if_still_warming_up(run, steps);
  if (run.method.samples) say_if_never_on(run, trainer);
  if (run.ranks.size() == 1) trainer.between = check_signals;
  Progress progress(run.hooks.title, steps, trainer.steps_done, run.flags.print_every);
  std::int64_t saved = -1, recorded = trainer.steps_done;
  // After a failure the model stands where the last step left it: worth a checkpoint, if one can be had.
  const auto save_quietly = [&] {
    // Of several processes rank 0 has all, but for the others' part of divided moments.
    if (run.ranks.rank() > 0 || (run.ranks.size() > 1 && run.flags.shard_optimizer)) return;
    try {
      if (recorded == trainer.steps_done && saved != recorded && recorded > 0) save();
    } catch (const std::exception&) {}
  };
  try {
    for (const eso::Step& step : trainer.run(run.examples)) {
      write_records(run, step);
      recorded = step.number;
      note_nll(step, run.result);
      run.result.left_out_last = step.updated ? 0 : run.result.left_out_last + 1;
      run.result.left_out += step.updated ? 0 : 1;
      if (run.flags.print_every > 0 && step.number % run.flags.print_every == 0 &&
          std::isfinite(step.reward)) {
        progress.line(sample_table(step, run.tokenizer));
      }
      progress.show(step.number, news_of(step, run.result.left_out));
      const bool shared =
          step.number == run.hooks.save_after_epochs * trainer.steps_per_epoch(run.examples.size());
      if ((run.flags.save_every > 0 && step.number % run.flags.save_every == 0) || step.number == steps ||
          shared) {
        save();
        saved = step.number;
      }
      if (shared) {
        run.result.saved_step = step.number;
        run.result.saved_seconds = progress.seconds();
      }
      check_signals_of_all(run.ranks);
    }
  } catch (const Interrupted&) {
    if (saved != trainer.steps_done) save();
    progress.line(fmt::format(
        "{}stopped after step {}{}", run.hooks.title, trainer.steps_done,
        run.hooks.resumable ? "; eso train --resume " + run.directory.path().string() + " goes on" : ""));
    throw;
  } catch (const eso::Error& error) {
    save_quietly();
    if (error.where() != "Distribution::draw") throw;
    throw eso::Error(
        eso::Fault::system, run.directory.path().string(),
        fmt::format("training diverged: in step {} the logits are not finite", trainer.steps_done + 1));
  } catch (...) {
    save_quietly();
    throw;
  }
}

template <class Trainer>
void configure(const TrainFlags& f, const Method& method, Trainer& trainer) {
  trainer.epochs = f.epochs;
  trainer.batch_size = f.batch_size;
  trainer.micro_batch_size = f.micro_batch_size;
  trainer.active_epochs = method.samples ? eso::active_epochs_named(f.active_epochs)
                          : method.pairs ? eso::active_epochs_named("all")
                                         : eso::ActiveEpochs::never();
  trainer.schedule = {.kind = f.schedule == "cosine"   ? eso::ScheduleKind::cosine
                              : f.schedule == "linear" ? eso::ScheduleKind::linear
                                                       : eso::ScheduleKind::constant,
                      .peak = f.learning_rate,
                      .minimum = std::max(f.min_learning_rate, f.min_learning_rate_ratio * f.learning_rate),
                      .warmup_steps = f.warmup_steps};
  trainer.clip_norm = f.clip_norm;
  trainer.seed = f.seed;
  trainer.shuffle = !f.no_shuffle;
  trainer.max_steps = f.max_steps;
}

/// The newest valid checkpoint, if there is one: all ranks take that which rank 0 finds.
template <class Check>
std::optional<eso::LoadedCheckpoint> restore(const RunState& run, const Check& check) {
  if (!run.directory.writes()) {
    const std::string step = run.ranks.exchange({}).front();
    if (step.empty()) return std::nullopt;
    return run.directory.read(std::stoll(step));
  }
  auto checkpoint = run.directory.restore(check);
  run.ranks.exchange(checkpoint ? fmt::format("{}", checkpoint->step) : "");
  return checkpoint;
}

/// Restores the newest checkpoint, if any, and runs to the end.
template <class Trainer>
std::int64_t run_trainer(const RunState& run, AnyModel& model, Trainer trainer) {
  configure(run.flags, run.method, trainer);
  const auto check = [&](const nlohmann::json& counters) {
    const std::string found = data_record(run.examples),
                      expected = counters.at("data").template get<std::string>();
    if (found != expected)
      throw eso::input_error(run.flags.data.front(), "the examples are not those that the run began with",
                             found, expected);
    // Their sums are rounded elsewhere.
    const std::string now = fmt::format("{}", run.ranks.size()), then = counters.at("processes").dump();
    if (now != then)
      throw eso::input_error("WORLD_SIZE", "the run began with another number of processes", now, then);
  };
  if (const auto checkpoint = restore(run, check)) {
    model.load_state(checkpoint->model.lookup());
    trainer.optimizer.load_state(checkpoint->optimizer.lookup());
    checkpoint->model.check_unchanged(), checkpoint->optimizer.check_unchanged();
    trainer.steps_done = checkpoint->step;
    trainer.tokens_seen = checkpoint->counters.at("tokens").template get<std::int64_t>();
    run.result.left_out = checkpoint->counters.value("left_out", std::int64_t{0});
    run.result.left_out_last = checkpoint->counters.value("left_out_last", std::int64_t{0});
    run.result.first_nll = checkpoint->counters.value("first_nll", run.result.first_nll);
    run.result.last_nll = checkpoint->counters.value("last_nll", run.result.last_nll);
    say("{}going on after step {}", run.hooks.title, checkpoint->step);
  } else if (run.directory.resumed()) {
    say("{}there is no checkpoint: from the start", run.hooks.title);
  }
  run_steps(run, trainer);
  check_left_out(run.result, trainer.steps_done, run.hooks.title, run.directory.path());
  check_nll(run.result, run.model.vocabulary_size(), run.directory.path());
  return trainer.steps_done;
}

std::int64_t run_method(const RunState& run, AnyModel& model, AnyOptimizer optimizer) {
  const TrainFlags& f = run.flags;
  AnyLoss loss = run.method.loss(f);
  if (!run.method.samples) {
    eso::Trainer trainer(model, std::move(loss), std::move(optimizer));
    if (run.reference) trainer.prepare = [&](eso::Batch& batch) { run.reference->fill(batch); };
    return run_trainer(run, model, std::move(trainer));
  }
  eso::Temperatures sampler = method_sampler(run.method, f);
  if (run.ranks.size() == 1) sampler.between = check_signals;
  sampler.threads = &run.threads;
  const eso::RougeReward<eso::ByteLevelBpe> reward{&run.tokenizer, *eso::rouge_variant(f.reward)};
  return run_trainer(run, model,
                     eso::Trainer(model, eso::DataParallelSampler{std::move(sampler), run.ranks}, reward,
                                  std::move(loss), std::move(optimizer)));
}

/// Records that somebody damaged while the run stood still must not keep its model from being written.
void write_report(const std::filesystem::path& directory) {
  std::string page;
  try {
    page = run_report(directory);
  } catch (const eso::Error& error) {
    if (error.fault() != eso::Fault::input) throw;
    say("{}: not written, {}", (directory / "report.html").string(), error.what());
    return;
  }
  eso::write_durably(directory / "report.html", page);
}

/// Refuses processes that were told, or read, something else than rank 0.
void check_alike(const AnyRanks& ranks, TrainFlags flags, const std::vector<eso::Example>& examples) {
  if (ranks.size() == 1) return;
  // Each may have its own of these; what was read is compared.
  flags.threads = 1, flags.device = "cpu";
  flags.model.clear(), flags.output.clear();
  flags.data.clear(), flags.layout.answers.clear(), flags.dpo_reference.clear();
  const std::vector<std::string> all = ranks.exchange(config_of(flags) + data_record(examples));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw eso::input_error(fmt::format("rank {}", rank),
                           "was started with other flags, or reads other data, than rank 0");
  }
}

/// Loads everything, calls `open` with a comment about the data for the directory once nothing can be refused
/// any more, and trains. `recorded` is what the checkpoints of a run that is taken up say of its files, null
/// where there are none.
template <class Open>
TrainResult train_in(const TrainFlags& f, const TrainHooks& hooks, const AnyRanks& ranks,
                     const nlohmann::json& recorded, const Open& open) {
  const auto start = std::chrono::steady_clock::now();
  const auto threads = make_threads(f.threads);
  nlohmann::json files;
  if (!recorded.is_null()) check_files(f, files = files_record(f, *threads), recorded);
  const bool fresh = f.method == "pretrain" && !has_weights(f.model);
  ModelFolder folder = fresh ? ModelFolder{random_model(f, f.model, f.seed, threads), load_tokenizer(f.model)}
                             : open_model_folder(f, f.model, threads, Use::training);
  AnyModel& model = folder.model;
  const eso::ByteLevelBpe& tokenizer = folder.needed_tokenizer();
  if (fresh) check_tokenizer(tokenizer, model);
  const auto rate = dropout_rate(f);
  model.set_dropout(rate ? eso::DropoutRates::all(model.architecture().family, *rate)
                         : config_dropout(f.model));
  RunInputs own;
  RunInputs& inputs = hooks.inputs ? *hooks.inputs : own;
  const eso::Tokenised& data = inputs.examples(f, model, tokenizer);
  const std::vector<eso::Example>& examples = data.examples;
  const Method& method = method_named(f.method);
  ReferenceLogProbs* const reference =
      method.reference && !f.dpo_reference_free ? &inputs.reference(f, model, examples.size()) : nullptr;
  check_alike(ranks, f, examples);
  if (files.is_null() && ranks.rank() == 0) files = files_record(f, *threads);
  RunDirectory directory = ranks.rank() == 0 ? open(data_comment(data)) : RunDirectory::follow(f.output);
  TrainResult result;
  const RunState run{f,     method,    hooks,     model,  tokenizer, examples,
                     files, reference, directory, result, ranks,     *threads};
  result.steps = run_method(
      run, model,
      model.optimizer({.adam = f.optimizer == "adamw",
                       .beta1 = f.adam_beta1,
                       .beta2 = f.adam_beta2,
                       .epsilon = f.adam_epsilon,
                       .weight_decay = f.weight_decay,
                       .weight_decay_mode = f.weight_decay_mode == "l2" ? eso::WeightDecay::l2
                                                                        : eso::WeightDecay::decoupled}));
  check_finite(model, directory.path());
  if (directory.writes()) {
    write_report(directory.path());
    write_adapter_folder(directory.path() / "adapter", model, f.model);
    write_model_folder(directory.path() / "model", model, copied_files(f.model));
  }
  ranks.leave();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

/// Joins the processes of a launcher. One that stops ends this one, too.
AnyRanks join(const BackendOptions& options) {
  AnyRanks ranks = open_ranks(options, [](int rank) {
    diagnose(fmt::format("eso: error: rank {} has stopped\n", rank));
    std::_Exit(1);
  });
  if (ranks.rank() > 0) be_silent();
  return ranks;
}

}  // namespace

TrainResult train(const TrainFlags& flags, const TrainHooks& hooks) {
  check_train_flags(flags);
  if (std::getenv("WORLD_SIZE") == nullptr) RunDirectory::check_new(flags.output);
  const AnyRanks ranks = join(flags);
  if (ranks.rank() == 0) RunDirectory::check_new(flags.output);
  return train_in(flags, hooks, ranks, nullptr, [&](const std::string& comment) {
    return RunDirectory::create(flags.output, config_of(flags) + comment);
  });
}

TrainResult resume(const std::filesystem::path& directory, const TrainHooks& hooks) {
  RunDirectory::check_began(directory);
  RunDirectory::check_entries(directory);
  const TrainFlags flags = flags_of_run(directory);
  if (RunDirectory::finished(directory)) {
    RunDirectory::tidy(directory);
    say("{}: the run is finished", directory.string());
    return {};
  }
  const std::optional<nlohmann::json> recorded = RunDirectory::recorded(directory);
  if (recorded) check_settings(flags, recorded->at("settings"), directory / "config.toml");
  const AnyRanks ranks = join(flags);
  const nlohmann::json files = recorded && ranks.rank() == 0 ? recorded->at("files") : nlohmann::json();
  return train_in(flags, hooks, ranks, files,
                  [&](const std::string&) { return RunDirectory::reopen(directory); });
}

}  // namespace eso_program
