// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "flags.hpp"
#include "train.hpp"

namespace eso_program {

/// A flag's value under a preset, as it would be given.
struct PresetValue {
  std::string_view flag, value;
};

/// What a preset sets; `paper` is what the flags say by themselves. \throws eso::Error (input) for another
/// name.
std::span<const PresetValue> preset_values(std::string_view preset);

/// Refuses a preset that is not there.
void check_preset(const std::string& preset);

/// Gives the flags that neither `set`, which writes to `flags`, nor `others` holds the values of the preset.
void apply_preset(TrainFlags& flags, FlagSet& set, const FlagSet* others = nullptr);

}  // namespace eso_program
