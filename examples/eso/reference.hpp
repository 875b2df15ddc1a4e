// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <vector>

#include "backend.hpp"
#include "eso/batch.hpp"
#include "train.hpp"

namespace eso_program {

/// The log-probabilities of pairs under the frozen reference of DPO: `--dpo-reference`, or the model that the
/// run began with. Each example's are computed when it is first met, alone, so that they do not depend on
/// where a run was resumed, and kept: eight bytes a token. The model goes once all of them are known.
class ReferenceLogProbs {
 public:
  /// \throws eso::Error (input) for a folder that cannot be read, and naming the flag for a reference of
  /// another vocabulary or of a smaller context.
  ReferenceLogProbs(const TrainFlags& flags, const AnyModel& model, std::size_t examples);

  /// Sets `batch.reference_logp`.
  void fill(eso::Batch& batch);

 private:
  using Rows = std::vector<std::vector<double>>;  // of the responses of a prompt, in their order

  Rows compute(const eso::Batch& batch, eso::Index prompt);

  std::optional<AnyModel> reference_;
  std::size_t examples_;
  std::unordered_map<eso::Index, Rows> known_;  // by the number of the example
};

}  // namespace eso_program
