// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "run_inputs.hpp"
#include "train.hpp"

namespace eso_program {

/// One arm of a comparison: a name and the flags in which it differs from the others.
struct ComparedArm {
  std::string name, differs;
  TrainFlags flags;  ///< without output and seed
};

/// The flags of `eso compare` beside those of `eso train`.
struct CompareFlags {
  TrainFlags common;
  std::vector<std::string> methods, arms;
  std::int64_t training_seeds = 1;
  std::vector<std::string> evaluation_data;
  std::string evaluation_format, evaluation_answers;  ///< as for training where empty
  std::int64_t examples = 0;
  std::string evaluation_prompt_overflow = "truncate";
  std::vector<double> temperature = {1, 0.5, 0};
  std::vector<std::uint64_t> seeds = {10, 20, 30};
  std::vector<double> curve = {0.85, 0.7, 0.4, 0.25};
  std::int64_t evaluation_batch_size = 64;
  std::int64_t lead_words = 12;
};

/// The arms that the flags ask for, checked. A preset of the whole comparison or of an arm gives its values
/// to the flags that neither `given`, the set of the whole, nor the arm holds. \throws eso::Error (input)
std::vector<ComparedArm> arms_of(const CompareFlags& flags, const FlagSet& given);

/// Trains the arms of a comparison, each with each seed into `directory/ARM/seed-S`.
///
/// What arms have in common before any of their methods is on is computed once: arms that differ in their
/// method alone go on from the checkpoint that the first of them leaves where the earliest of their methods
/// begins. Arms whose method is on from the first step, DPO among them, begin with the model. Examples, and
/// the log-probabilities under DPO's reference, are those of `inputs`, whatever the arm and the seed.
class ArmTrainer {
 public:
  ArmTrainer(std::filesystem::path directory, std::vector<ComparedArm> arms, RunInputs& inputs)
      : directory_(std::move(directory)), arms_(std::move(arms)), inputs_(inputs) {}

  /// Gives what the run did, its seconds with those of shared steps; what it finds in `inputs` takes none.
  TrainResult train(const ComparedArm& arm, std::uint64_t seed, const std::string& title);

  static std::filesystem::path run_of(const std::filesystem::path& directory, const std::string& arm,
                                      std::uint64_t seed);

 private:
  struct Shared {
    std::filesystem::path run;  ///< that left the checkpoint
    std::int64_t step = 0;      ///< after which it did
    double seconds = 0;         ///< that it took to get there
  };
  std::int64_t shared_epochs(const std::string& key, std::uint64_t seed) const;

  std::filesystem::path directory_;
  std::vector<ComparedArm> arms_;
  RunInputs& inputs_;
  std::map<std::string, Shared> shared_;  ///< by seed and the flags that the shared steps depend on
};

}  // namespace eso_program
