// SPDX-License-Identifier: MIT
// What tells that a run has diverged: its model is no result.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "backend.hpp"
#include "eso/train/step.hpp"
#include "train.hpp"

namespace eso_program {

/// Notes the mean negative log-probability of the tokens that the step taught: of targets, and of the better
/// responses of pairs.
void note_nll(const eso::Step& step, TrainResult& result);

/// A model that gives its targets far less than a uniform one does, and than it did at the start, is no
/// result.
void check_nll(const TrainResult& result, eso::Index vocabulary, const std::filesystem::path& directory);

/// Steps without a finite loss and gradient changed nothing. That there were some is told; a run that ends
/// with one has no model to show.
void check_left_out(const TrainResult& result, std::int64_t steps, const std::string& title,
                    const std::filesystem::path& directory);

/// A model that diverged is no result; its last checkpoints are there.
void check_finite(const AnyModel& model, const std::filesystem::path& directory);

}  // namespace eso_program
