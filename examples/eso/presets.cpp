// SPDX-License-Identifier: MIT
#include "presets.hpp"

#include <array>

#include "methods.hpp"

namespace eso_program {
namespace {

/// What the authors' released code does where it differs from the text; docs/paper.md has the places.
constexpr std::array authors_code{
    PresetValue{"temperatures", "[0.5, 1, 1.25, 1.5]"},
    PresetValue{"eso-lambda", "0.1"},
    PresetValue{"eso-batch-reduce", "'sum-if-any-above'"},
    PresetValue{"eso-min-mean-reward", "0.1"},
    PresetValue{"eso-include-eos", "false"},
    PresetValue{"active-epochs", "'all-but-last'"},
    PresetValue{"dropout", "'config'"},
    PresetValue{"weight-decay", "0.01"},
    PresetValue{"max-response-tokens", "64"},
};

/// Equations 1 and 10, and its "Adam", to the letter.
constexpr std::array literal{
    PresetValue{"sft-reduction", "'sequence-sum-prompt-mean'"},
    PresetValue{"weight-decay-mode", "'l2'"},
};

/// What the experiments support, see docs/experiments.md: all samples at the temperature that is learnt, a
/// learning rate that does not vanish while the method is on, and a weight whose meaning does not change with
/// the length of the responses.
constexpr std::array recommended{
    PresetValue{"temperatures", "[1, 1, 1, 1]"},
    PresetValue{"min-learning-rate-ratio", "0.3"},
    PresetValue{"eso-token-reduce", "'mean-batch'"},
    PresetValue{"eso-lambda", "12"},
};

}  // namespace

std::span<const PresetValue> preset_values(std::string_view preset) {
  if (preset == "paper") return {};
  if (preset == "authors-code") return authors_code;
  if (preset == "literal") return literal;
  if (preset == "recommended") return recommended;
  throw eso::input_error("--preset", preset.empty() ? "is required" : "unknown", std::string(preset),
                         "paper, authors-code, literal, recommended");
}

void check_preset(const std::string& preset) { preset_values(preset); }

void apply_preset(TrainFlags& flags, FlagSet& set, const FlagSet* others) {
  const auto given = [&](const std::string& flag) {
    return set.given(flag) || (others && others->given(flag));
  };
  for (const auto& [flag, value] : preset_values(flags.preset)) {
    if (!given(std::string(flag))) set.set(std::string(flag), std::string(value));
  }
  // What the preset gives goes with its reduction and its optimizer; beside others nobody asked for it.
  if (!given("eso-min-mean-reward") && !reads_min_mean_reward(flags))
    flags.eso_min_mean_reward = MethodFlags{}.eso_min_mean_reward;
  if (!given("weight-decay-mode") && flags.optimizer == "sgd")
    flags.weight_decay_mode = TrainFlags{}.weight_decay_mode;
}

}  // namespace eso_program
