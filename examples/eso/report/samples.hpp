// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>

#include "report/records.hpp"
#include "report/reward_unit.hpp"

namespace eso_program {

/// Sampled responses side by side, for some steps from the first to the last, as HTML. Empty where there are
/// none.
std::string sampled_responses(const std::filesystem::path& completions, const CompletionIndex& index,
                              const RewardUnit& unit);

/// A response on a card: a heading line, the text, and a colour for its advantage (`share` in [-1, 1] of the
/// largest).
std::string response_card(const std::string& heading, const std::string& text, double share);

}  // namespace eso_program
