// SPDX-License-Identifier: MIT
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <utility>

#include "checks.hpp"
#include "eso/data/formats.hpp"
#include "eso/optim/schedule.hpp"
#include "eso/reward/rouge.hpp"
#include "eso/text/utf8.hpp"
#include "eso/train/active_epochs.hpp"
#include "methods.hpp"
#include "model_flags.hpp"
#include "presets.hpp"
#include "program.hpp"
#include "train.hpp"

namespace eso_program {

void add_train_flags(FlagSet& set, TrainFlags& f) {
  add_backend_flags(set, f);
  set.add("model", f.model,
          "Hugging Face folder to start from; without weights (pretrain alone) they are random");
  set.add("data", f.data, "files of examples, JSON lines, also .gz")->expected(1, -1)->delimiter('\0');
  set.add("format", f.format,
          "debsum, xsum, dolly, self-instruct, vicuna, hh, preference, prompt-response or text");
  f.layout.add_to(set);
  set.add("method", f.method, "pretrain, sft, eso, unlike, drl, rrhf, dpo or slic");
  set.add("output", f.output, "run directory to make");
  set.add("preset", f.preset, "paper, authors-code, literal or recommended: the defaults of the other flags");
  set.add("epochs", f.epochs, "passes over the data");
  set.add("active-epochs", f.active_epochs,
          "when the method beside SFT is on: last, all, all-but-last or from:E, E from 1");
  set.add("learning-rate", f.learning_rate, "peak of the schedule");
  set.add("schedule", f.schedule, "cosine, linear or constant");
  set.add("min-learning-rate", f.min_learning_rate, "where cosine and linear end; constant does not read it");
  set.add("min-learning-rate-ratio", f.min_learning_rate_ratio,
          "the same as a share of --learning-rate; the larger of the two counts");
  set.add("warmup-steps", f.warmup_steps, "steps of a linear rise from 0");
  set.add("weight-decay", f.weight_decay, "on matrices, with sgd on everything; 0: off");
  set.add("weight-decay-mode", f.weight_decay_mode,
          "of adamw: decoupled, or l2 for a part of the gradient as in Adam");
  set.add("max-prompt-tokens", f.max_prompt_tokens, "longest prompt that is taken");
  set.add("prompt-overflow", f.prompt_overflow,
          "examples with a longer one: skip drops them, truncate cuts their input, of hh the beginning");
  set.add("max-response-tokens", f.max_response_tokens, "targets are cut to this, samples end there");
  set.add("temperatures", f.temperatures, "one sample a prompt at each");
  set.add("batch-size", f.batch_size, "prompts an update (pretrain: windows)");
  set.add("micro-batch-size", f.micro_batch_size, "prompts through the model at once; 0: the batch");
  set.add("clip-norm", f.clip_norm, "largest norm of the gradient; 0: off");
  set.add("optimizer", f.optimizer, "adamw or sgd");
  set.add("adam-beta1", f.adam_beta1, "decay of the mean of the gradient");
  set.add("adam-beta2", f.adam_beta2, "decay of the mean of its square");
  set.add("adam-epsilon", f.adam_epsilon, "added to the root of the latter");
  set.add("seed", f.seed, "of the order of the data and of all samples");
  set.add_switch("no-shuffle", f.no_shuffle, "take the examples in the order of the files");
  set.add_switch("no-eos", f.no_eos, "append no end of sequence to the targets");
  set.add("max-steps", f.max_steps, "stop after so many updates; 0: after the epochs");
  set.add("save-every", f.save_every, "steps between checkpoints; 0: only at the end");
  set.add("keep-checkpoints", f.keep_checkpoints,
          "newest checkpoints to keep; 0: all; without --save-every there is one");
  set.add("log-every", f.log_every, "steps between lines of metrics.jsonl; 0: none");
  set.add("log-completions", f.log_completions, "steps between those in completions.jsonl; 0: none");
  set.add("print-every", f.print_every,
          "steps between lines and tables of samples on standard error; 0: none");
  set.add("threads", f.threads, "threads that compute; 0: all processors");
  set.add("lora-rank", f.lora_rank, "torch: train adapters of this rank alone; 0: the whole model");
  set.add("lora-alpha", f.lora_alpha, "torch: the adapters' output is multiplied by this over the rank");
  set.add("lora-targets", f.lora_targets, "torch: modules that get adapters; none: those that PEFT takes");
  set.add("lora-dropout", f.lora_dropout, "torch: share of an adapter's input dropped while training");
  set.add_switch("checkpoint-activations", f.checkpoint_activations,
                 "torch: keep the inputs of layers alone and compute the rest again");
  set.add_switch("shard-optimizer", f.shard_optimizer,
                 "torch: each rank keeps the moments of some parameters");
  set.add("dropout", f.dropout, "share of units dropped while training, or config: as config.json says");
  set.add("reward", f.reward, "rouge1, rouge2 or rougeL: F1 in [0, 1] with stemmer");
  set.add("window-tokens", f.window_tokens, "pretrain: tokens a window; 0: the context");
  add_method_flags(set, f);
}

namespace {

/// The flags are written into config.toml, which is UTF-8.
void check_text(const char* flag, const std::string& path) {
  if (eso::first_invalid_utf8(path)) throw eso::input_error(flag, "the path is not UTF-8");
}

void check_names(const TrainFlags& f) {
  check_backend(f);
  method_named(f.method);
  check_preset(f.preset);
  one_of("--schedule", f.schedule, {"cosine", "linear", "constant"});
  one_of("--optimizer", f.optimizer, {"adamw", "sgd"});
  if (f.reward.starts_with("model:"))
    throw eso::input_error("--reward", "a model as reward is not there yet", f.reward,
                           "rouge1, rouge2, rougeL");
  one_of("--reward", f.reward, {"rouge1", "rouge2", "rougeL"});
  if (f.format.empty()) throw eso::input_error("--format", "is required");
  if (eso::format_named(f.format, "--format") == eso::Format::text && f.method != "pretrain") {
    throw eso::input_error("--format", fmt::format("has no prompts, which --method {} needs", f.method),
                           f.format);
  }
  f.layout.check(f.format);
  check_overflow("--prompt-overflow", f.prompt_overflow);
}

void check_numbers(const TrainFlags& f) {
  at_least("--epochs", f.epochs, 1);
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  if (f.epochs > most)
    throw eso::input_error("--epochs", "is too large", fmt::format("{}", f.epochs),
                           fmt::format("at most {}", most));
  at_least("--warmup-steps", f.warmup_steps, 0);
  at_least("--max-prompt-tokens", f.max_prompt_tokens, 1);
  at_least("--max-response-tokens", f.max_response_tokens, 1);
  at_least("--batch-size", f.batch_size, 1);
  at_least("--micro-batch-size", f.micro_batch_size, 0);
  at_least("--max-steps", f.max_steps, 0);
  at_least("--save-every", f.save_every, 0);
  at_least("--keep-checkpoints", f.keep_checkpoints, 0);
  at_least("--log-every", f.log_every, 0);
  at_least("--log-completions", f.log_completions, 0);
  at_least("--print-every", f.print_every, 0);
  at_least("--threads", f.threads, 0);
  at_least("--window-tokens", f.window_tokens, 0);
  if (f.window_tokens == 1) throw eso::input_error("--window-tokens", "is too small", "1", "at least 2");
  not_negative("--learning-rate", f.learning_rate);
  not_negative("--min-learning-rate", f.min_learning_rate);
  within("--min-learning-rate-ratio", f.min_learning_rate_ratio,
         f.min_learning_rate_ratio >= 0 && f.min_learning_rate_ratio <= 1, "0 to 1");
  not_negative("--weight-decay", f.weight_decay);
  one_of("--weight-decay-mode", f.weight_decay_mode, {"decoupled", "l2"});
  not_negative("--clip-norm", f.clip_norm);
  not_negative("--adam-beta1", f.adam_beta1);
  not_negative("--adam-beta2", f.adam_beta2);
  if (f.adam_beta1 >= 1)
    throw eso::input_error("--adam-beta1", "is out of range", fmt::format("{}", f.adam_beta1), "below 1");
  if (f.adam_beta2 >= 1)
    throw eso::input_error("--adam-beta2", "is out of range", fmt::format("{}", f.adam_beta2), "below 1");
  if (!(static_cast<float>(f.adam_epsilon) > 0) || !std::isfinite(f.adam_epsilon))
    throw eso::input_error("--adam-epsilon", "is out of range", fmt::format("{}", f.adam_epsilon), "above 0");
  for (const double t : f.temperatures) not_negative("--temperatures", t);
}

/// What could be computed and means nothing.
void check_meaning(const TrainFlags& f) {
  if (f.min_learning_rate > f.learning_rate) {
    throw eso::input_error("--min-learning-rate", "is above --learning-rate",
                           fmt::format("{}", f.min_learning_rate),
                           fmt::format("at most {}", f.learning_rate));
  }
  check_method_meaning(f);
}

}  // namespace

void check_unread_flags(const TrainFlags& f, const FlagSet& set) {
  if (f.optimizer != "sgd") return;
  for (const char* flag : {"adam-beta1", "adam-beta2", "adam-epsilon", "weight-decay-mode"}) {
    const FlagSet::Source source = set.source(flag);
    if (source != FlagSet::Source::nobody && source >= set.source("optimizer"))
      throw eso::input_error(fmt::format("--{}", flag), "is not read with --optimizer sgd");
  }
}

std::optional<double> dropout_rate(const TrainFlags& f) {
  if (f.dropout == "config") return std::nullopt;
  double rate = -1;
  const char* const last = f.dropout.data() + f.dropout.size();
  const auto [end, error] = std::from_chars(f.dropout.data(), last, rate);
  if (error == std::errc() && end == last && rate >= 0 && rate < 1) return rate;
  throw eso::input_error("--dropout", "is no rate", f.dropout, "a number of at least 0, below 1, or config");
}

void check_train_flags(const TrainFlags& f, FlagUse use) {
  check_names(f);
  check_numbers(f);
  dropout_rate(f);
  const eso::ActiveEpochs active = eso::active_epochs_named(f.active_epochs);
  if (active.first > 0 && active.first >= f.epochs) {
    throw eso::input_error("--active-epochs", "begins after the last epoch", f.active_epochs,
                           fmt::format("at most from:{}", f.epochs));
  }
  check_method_flags(f);
  if (use != FlagUse::resumed_run) check_meaning(f);
  if (f.model.empty()) throw eso::input_error("--model", "is required");
  if (use == FlagUse::plan) return;
  if (f.data.empty()) throw eso::input_error("--data", "is required");
  for (const std::string& file : f.data) {
    if (file.empty()) throw eso::input_error("--data", "is empty");
  }
  if (f.output.empty()) throw eso::input_error("--output", "is required");
  check_working_directory("--output", f.output);
  check_spares("--output", f.output, "--data", f.data);
  check_spares("--output", f.output, "--answers", {f.layout.answers});
}

std::string config_of(TrainFlags flags) {
  const auto make_absolute = [](std::string& path) {
    if (!path.empty()) path = std::filesystem::absolute(path).lexically_normal().string();
  };
  for (std::string* path : {&flags.model, &flags.layout.answers, &flags.dpo_reference, &flags.output})
    make_absolute(*path);
  for (std::string& file : flags.data) make_absolute(file);
  check_text("--model", flags.model);
  check_text("--output", flags.output);
  for (const std::string& file : flags.data) check_text("--data", file);
  check_text("--answers", flags.layout.answers);
  check_text("--dpo-reference", flags.dpo_reference);
  if (flags.threads == 0) flags.threads = processor_count();
  CLI::App app;
  FlagSet set(app);
  add_train_flags(set, flags);
  return set.toml();
}

TrainFlags flags_of_run(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error))
    throw eso::input_error(directory.string(), "no such run directory");
  TrainFlags flags;
  CLI::App app;
  FlagSet set(app);
  add_train_flags(set, flags);
  const std::filesystem::path config = directory / "config.toml";
  set.read_config(config, true);
  // A run writes all of them. Cut at the end of a line the file would be TOML still, and of another run.
  if (const auto name = set.missing()) throw eso::input_error(config.string(), "has no " + *name);
  flags.output = directory.string();
  check_train_flags(flags, FlagUse::resumed_run);
  return flags;
}

}  // namespace eso_program
