// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "backend.hpp"
#include "data_flags.hpp"
#include "flags.hpp"

namespace eso_program {

/// Those of its flags that a method beside SFT reads.
struct MethodFlags {
  double eso_lambda = 0.05;
  std::string eso_baseline = "mean", eso_advantage_norm = "none", eso_token_reduce = "sum",
              eso_sample_reduce = "sum", eso_batch_reduce = "mean";
  double eso_min_mean_reward = -std::numeric_limits<double>::infinity(), eso_sigma = 1;
  bool eso_include_eos = true;
  double unlike_lambda = 0.05;
  std::string unlike_objective = "one-minus-p", unlike_select = "below-mean", unlike_weight = "one";
  double unlike_threshold = 0, unlike_floor = 1e-5;
  double drl_lambda = 0.05, drl_gamma = 0.9984;
  std::string drl_combine = "additive";
  bool drl_length_norm = false;
  double rrhf_weight = 1, rrhf_length_exponent = 1, rrhf_best_weight = 0;
  std::string rrhf_length_mode = "response";
  bool rrhf_include_reference = true;
  double dpo_beta = 0.1, dpo_label_smoothing = 0;
  std::string dpo_loss = "sigmoid", dpo_reference;
  bool dpo_reference_free = false;
  double slic_margin = 1, slic_weight = 0.5;
};

/// Those that every run reads.
struct RunFlags {
  std::string model, format, method, output, preset = "paper";
  std::vector<std::string> data;
  DataFlags layout;
  std::int64_t epochs = 5;
  std::string active_epochs = "last";
  double learning_rate = 1e-4;
  std::string schedule = "cosine";
  double min_learning_rate = 0, min_learning_rate_ratio = 0;
  std::int64_t warmup_steps = 0;
  double weight_decay = 0.05;
  std::string weight_decay_mode = "decoupled";
  std::int64_t max_prompt_tokens = 512, max_response_tokens = 128;
  std::string prompt_overflow = "skip";
  std::vector<double> temperatures = {0.5, 1, 1.5, 2};
  std::int64_t batch_size = 16, micro_batch_size = 0;
  double clip_norm = 1;
  std::string optimizer = "adamw";
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  std::uint64_t seed = 0;
  bool no_shuffle = false, no_eos = false;
  std::int64_t max_steps = 0;
  std::int64_t save_every = 0, keep_checkpoints = 0, log_every = 1, log_completions = 1, print_every = 50;
  std::int64_t threads = 0;
  std::string dropout = "0", reward = "rougeL";
  std::int64_t window_tokens = 0;
  std::string sft_reduction = "token-mean";
};

/// The flags of `eso train`. A member, of its bases too, needs an entry in run_record.cpp.
struct TrainFlags : MethodFlags, BackendOptions, RunFlags {};

/// Adds them all to a set.
void add_train_flags(FlagSet& set, TrainFlags& flags);

class RunInputs;

/// What else a caller wants of a run.
struct TrainHooks {
  std::int64_t save_after_epochs =
      0;                   ///< a checkpoint after so many epochs, beside those of `--save-every`; 0: none
  std::string title = {};  ///< before each line of progress
  bool resumable = true;   ///< a run that a signal stops says how it goes on
  RunInputs* inputs = nullptr;  ///< where other runs leave what this one may need; null: it has its own
};

/// What a run did in this process.
struct TrainResult {
  std::int64_t steps = 0;
  double seconds = 0;
  std::int64_t saved_step = 0;     ///< where `save_after_epochs` lay, 0 if it was not passed
  double saved_seconds = 0;        ///< until then
  std::int64_t left_out = 0;       ///< steps without a finite loss and gradient, in the run's whole life
  std::int64_t left_out_last = 0;  ///< how many of them end the run so far
  /// Nats per target token before the run's first and its last update; NaN where there was none.
  double first_nll = std::numeric_limits<double>::quiet_NaN(), last_nll = first_nll;
  bool never_on = false;  ///< the run ends before its method begins
};

/// What flags are checked for: a plan needs no `--data` and no `--output`; a run that is resumed may hold
/// settings that mean nothing, which a new one may not.
enum class FlagUse { plan, new_run, resumed_run };

/// Checks the flags that can be checked without a model. \throws eso::Error (input) naming the flag.
void check_train_flags(const TrainFlags& flags, FlagUse use = FlagUse::new_run);

/// \throws eso::Error (input) naming a flag of the optimizer that this one does not read, unless who chose
/// the optimizer beats who chose the flag.
void check_unread_flags(const TrainFlags& flags, const FlagSet& set);

/// The rate that `--dropout` gives; nothing for `config`. \throws eso::Error (input) naming the flag.
std::optional<double> dropout_rate(const TrainFlags& flags);

/// The flags as the `config.toml` of a run directory, with absolute paths and the number of threads.
std::string config_of(TrainFlags flags);

/// Prints memory and work of the run that the flags ask for: JSON on standard output, a table on standard
/// error. Of the model it reads config.json alone.
void print_plan(TrainFlags flags);

/// Trains into the new or empty directory `flags.output`.
TrainResult train(const TrainFlags& flags, const TrainHooks& hooks = {});

/// Goes on with the run in `directory`; a finished one is left alone.
TrainResult resume(const std::filesystem::path& directory, const TrainHooks& hooks = {});

/// The flags of the run in `directory`. \throws eso::Error (input) if it is none.
TrainFlags flags_of_run(const std::filesystem::path& directory);

}  // namespace eso_program
