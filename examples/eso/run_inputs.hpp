// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "backend.hpp"
#include "eso/data/example.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "reference.hpp"
#include "train.hpp"

namespace eso_program {

/// What runs need beside the model that they train, made once for all that ask with flags that make the same
/// of it. What is there is asked of no file again.
class RunInputs {
 public:
  /// The examples of a run, tokenised, with a line about those left out.
  ///
  /// `model` and `tokenizer` are those of `flags.model`. \throws eso::Error (input) as `DataFlags::read` and
  /// `tokenised`.
  const eso::Tokenised& examples(const TrainFlags& flags, const AnyModel& model,
                                 const eso::ByteLevelBpe& tokenizer);

  /// The log-probabilities of so many examples under a run's reference. \throws eso::Error as their
  /// constructor.
  ReferenceLogProbs& reference(const TrainFlags& flags, const AnyModel& model, std::size_t examples);

 private:
  // By the flags that they depend on, as text.
  std::map<std::string, eso::Tokenised> examples_;
  std::map<std::string, ReferenceLogProbs> references_;
};

}  // namespace eso_program
