// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "checks.hpp"
#include "eso/data/formats.hpp"
#include "methods.hpp"
#include "program.hpp"

namespace eso_program {

void add_method_flags(FlagSet& set, TrainFlags& f) {
  set.add("sft-reduction", f.sft_reduction, "token-mean, sequence-sum-prompt-mean or sequence-mean");
  set.add("eso-lambda", f.eso_lambda, "weight of the ESO part");
  set.add("eso-baseline", f.eso_baseline, "mean, leave-one-out or greedy");
  set.add("eso-advantage-norm", f.eso_advantage_norm, "none or std");
  set.add("eso-token-reduce", f.eso_token_reduce,
          "sum, mean-seq, or mean-batch: over the mean length of the step's samples");
  set.add("eso-sample-reduce", f.eso_sample_reduce, "sum or mean");
  set.add("eso-batch-reduce", f.eso_batch_reduce, "mean, sum, mean-kept or sum-if-any-above");
  set.add("eso-min-mean-reward", f.eso_min_mean_reward,
          "reward above which a prompt is kept by the last two");
  set.add("eso-include-eos", f.eso_include_eos,
          "the end of sequence counts in the log-probability: true or false");
  set.add("eso-sigma", f.eso_sigma, "divides the ESO part");
  set.add("unlike-lambda", f.unlike_lambda, "weight of the Unlike part");
  set.add("unlike-objective", f.unlike_objective, "one-minus-p or plain-logp");
  set.add("unlike-select", f.unlike_select, "below-mean, lowest, all or threshold");
  set.add("unlike-weight", f.unlike_weight, "one, or gap: how far the reward is below the mean");
  set.add("unlike-threshold", f.unlike_threshold, "with threshold: samples of a lower reward are meant");
  set.add("unlike-floor", f.unlike_floor, "least 1 - p");
  set.add("drl-lambda", f.drl_lambda, "weight of the DRL part");
  set.add("drl-combine", f.drl_combine, "additive, or convex: gamma DRL + (1 - gamma) SFT");
  set.add("drl-gamma", f.drl_gamma, "of convex");
  set.add("drl-length-norm", f.drl_length_norm,
          "the mean over a response's tokens instead of the sum: true or false");
  set.add("rrhf-weight", f.rrhf_weight, "weight of the ranking part");
  set.add("rrhf-length-mode", f.rrhf_length_mode,
          "length a log-probability is divided by: response or padded-row");
  set.add("rrhf-length-exponent", f.rrhf_length_exponent, "of that length");
  set.add("rrhf-include-reference", f.rrhf_include_reference,
          "the reference is a candidate, of reward 1: true or false");
  set.add("rrhf-best-weight", f.rrhf_best_weight, "weight of the cross-entropy of the best candidate");
  set.add("dpo-beta", f.dpo_beta, "scale of the implicit rewards");
  set.add("dpo-label-smoothing", f.dpo_label_smoothing, "share of pairs taken to be labelled wrongly");
  set.add("dpo-loss", f.dpo_loss, "sigmoid or ipo");
  set.add("dpo-reference", f.dpo_reference,
          "folder of the reference model (default: the model at the start)");
  set.add("dpo-reference-free", f.dpo_reference_free, "without a reference: true or false");
  set.add("slic-margin", f.slic_margin, "nats that a chosen response is to be ahead");
  set.add("slic-weight", f.slic_weight, "weight of its cross-entropy");
}

bool reads_min_mean_reward(const TrainFlags& f) {
  return f.eso_batch_reduce == "mean-kept" || f.eso_batch_reduce == "sum-if-any-above";
}

namespace {

/// A flag that the method's own other flags leave unread.
void check_unread(const TrainFlags& f) {
  if (f.method == "eso" && f.eso_min_mean_reward != MethodFlags{}.eso_min_mean_reward &&
      !reads_min_mean_reward(f)) {
    throw eso::input_error("--eso-min-mean-reward", "is not read with this --eso-batch-reduce",
                           f.eso_batch_reduce, "mean-kept, sum-if-any-above");
  }
  if (f.method != "dpo") return;
  if (f.dpo_reference_free && !f.dpo_reference.empty())
    throw eso::input_error("--dpo-reference", "is not read with --dpo-reference-free", f.dpo_reference);
  if (f.dpo_loss == "ipo" && f.dpo_label_smoothing != 0) {
    throw eso::input_error("--dpo-label-smoothing", "is not read with --dpo-loss ipo",
                           fmt::format("{}", f.dpo_label_smoothing));
  }
}

/// Why no sample can be told from another; empty if one can.
std::string all_alike(const TrainFlags& f) {
  if (f.temperatures.size() < 2) return "one sample per prompt";
  const bool greedy =
      std::all_of(f.temperatures.begin(), f.temperatures.end(), [](double t) { return t == 0; });
  return greedy ? "equal samples, all at temperature 0," : "";
}

/// A method that compares the samples of a prompt learns nothing where they are all alike. One whose weight
/// is 0 is asked to learn nothing.
void check_learns(const TrainFlags& f) {
  const auto nothing = [&](const char* flag, const std::string& why, double found) {
    throw eso::input_error(flag, fmt::format("--method {} learns nothing from {}", f.method, why),
                           fmt::format("{}", found));
  };
  const auto needs_other_samples = [&](const std::string& with) {
    if (const std::string alike = all_alike(f); !alike.empty())
      throw eso::input_error("--temperatures",
                             fmt::format("--method {} learns nothing from {}{}", f.method, alike, with),
                             fmt::format("{}", fmt::join(f.temperatures, ",")));
  };
  if (f.method == "eso" && f.eso_lambda != 0) {
    const bool one_drawn = f.temperatures.size() == 1 && f.temperatures.front() > 0;
    if (f.eso_baseline != "greedy" || !one_drawn)
      needs_other_samples(fmt::format(" with --eso-baseline {}", f.eso_baseline));
    if (reads_min_mean_reward(f) && f.eso_min_mean_reward >= 1)
      nothing("--eso-min-mean-reward", "prompts with a mean reward above this, ROUGE being at most 1",
              f.eso_min_mean_reward);
  }
  if (f.method == "unlike" && f.unlike_lambda != 0) {
    const bool compares =
        f.unlike_select == "below-mean" || f.unlike_select == "lowest" || f.unlike_weight == "gap";
    if (compares)
      needs_other_samples(
          fmt::format(" with --unlike-select {} and --unlike-weight {}", f.unlike_select, f.unlike_weight));
    if (f.unlike_select == "threshold" && f.unlike_threshold <= 0)
      nothing("--unlike-threshold", "samples with a reward below this, ROUGE being at least 0",
              f.unlike_threshold);
  }
  if (f.method == "rrhf" && f.rrhf_weight != 0 && !f.rrhf_include_reference && f.rrhf_best_weight == 0)
    needs_other_samples(" with --rrhf-include-reference false");
}

}  // namespace

void check_method_flags(const TrainFlags& f) {
  const Method& method = method_named(f.method);
  one_of("--sft-reduction", f.sft_reduction, {"token-mean", "sequence-sum-prompt-mean", "sequence-mean"});
  one_of("--eso-baseline", f.eso_baseline, {"mean", "leave-one-out", "greedy"});
  one_of("--eso-advantage-norm", f.eso_advantage_norm, {"none", "std"});
  one_of("--eso-token-reduce", f.eso_token_reduce, {"sum", "mean-seq", "mean-batch"});
  one_of("--eso-sample-reduce", f.eso_sample_reduce, {"sum", "mean"});
  one_of("--eso-batch-reduce", f.eso_batch_reduce, {"mean", "sum", "mean-kept", "sum-if-any-above"});
  one_of("--unlike-objective", f.unlike_objective, {"one-minus-p", "plain-logp"});
  one_of("--unlike-select", f.unlike_select, {"below-mean", "lowest", "all", "threshold"});
  one_of("--unlike-weight", f.unlike_weight, {"one", "gap"});
  one_of("--drl-combine", f.drl_combine, {"additive", "convex"});
  one_of("--rrhf-length-mode", f.rrhf_length_mode, {"response", "padded-row"});
  one_of("--dpo-loss", f.dpo_loss, {"sigmoid", "ipo"});
  finite("--eso-lambda", f.eso_lambda);
  finite("--unlike-lambda", f.unlike_lambda);
  finite("--unlike-threshold", f.unlike_threshold);
  finite("--drl-lambda", f.drl_lambda);
  finite("--rrhf-weight", f.rrhf_weight);
  finite("--rrhf-length-exponent", f.rrhf_length_exponent);
  not_negative("--rrhf-best-weight", f.rrhf_best_weight);
  positive("--eso-sigma", f.eso_sigma);
  positive("--dpo-beta", f.dpo_beta);
  not_negative("--slic-margin", f.slic_margin);
  not_negative("--slic-weight", f.slic_weight);
  within("--unlike-floor", f.unlike_floor, f.unlike_floor > 0 && f.unlike_floor < 1, "above 0, below 1");
  within("--drl-gamma", f.drl_gamma, f.drl_gamma >= 0 && f.drl_gamma < 1, "at least 0, below 1");
  within("--dpo-label-smoothing", f.dpo_label_smoothing,
         f.dpo_label_smoothing >= 0 && f.dpo_label_smoothing < 0.5, "at least 0, below 0.5");
  if (std::isnan(f.eso_min_mean_reward)) throw eso::input_error("--eso-min-mean-reward", "is no number");
  const eso::Format format = eso::format_named(f.format, "--format");
  if (method.pairs && format != eso::Format::preference && format != eso::Format::hh) {
    throw eso::input_error("--format", fmt::format("has no pairs, which --method {} needs", f.method),
                           f.format, "preference, hh");
  }
  if (method.samples && f.temperatures.empty())
    throw eso::input_error("--temperatures", "must name at least one temperature");
  if (f.method == "eso") {
    const std::size_t least = f.eso_baseline == "leave-one-out" || f.eso_advantage_norm == "std" ? 2 : 1;
    if (f.temperatures.size() < least) {
      throw eso::input_error("--temperatures", "too few samples a prompt for this baseline",
                             fmt::format("{}", f.temperatures.size()), fmt::format("at least {}", least));
    }
  }
}

void check_method_meaning(const TrainFlags& f) {
  check_unread(f);
  check_learns(f);
}

void advise_unread_flags(const FlagSet& set, const std::vector<std::string>& methods,
                         const std::string& title) {
  const auto belongs = [](const std::string& flag, std::string_view method) {
    return flag.starts_with(std::string(method) + "-");
  };
  std::string unread;
  for (const std::string& flag : set.on_command_line()) {
    bool of_method = false, read = false;
    for (const Method& method : eso_program::methods()) of_method = of_method || belongs(flag, method.name);
    for (const std::string& name : methods)
      read = read || belongs(flag, name) || (belongs(flag, "sft") && !method_named(name).pairs);
    if (of_method && !read) unread += (unread.empty() ? "--" : ", --") + flag;
  }
  if (!unread.empty()) say("{}{}: not read by --method {}", title, unread, fmt::join(methods, ", "));
}

}  // namespace eso_program
