// SPDX-License-Identifier: MIT
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "flags.hpp"

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

/// Gives the flags that were given nowhere the values of the preset.
void apply_preset(FlagSet& set, const std::string& preset);

}  // namespace eso_program
