// SPDX-License-Identifier: MIT
// What a run shows of its steps.
#pragma once

#include <cstdint>
#include <string>

#include "eso/text/byte_level_bpe.hpp"
#include "eso/train/step.hpp"

namespace eso_program {

/// The samples of the step's first example as lines.
std::string sample_table(const eso::Step& step, const eso::ByteLevelBpe& tokenizer);

/// What the line of progress says of a step.
std::string news_of(const eso::Step& step, std::int64_t left_out);

}  // namespace eso_program
