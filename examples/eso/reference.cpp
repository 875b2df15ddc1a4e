// SPDX-License-Identifier: MIT
#include "reference.hpp"

#include <algorithm>
#include <string>

#include "program.hpp"

namespace eso_program {

ReferenceLogProbs::ReferenceLogProbs(const TrainFlags& f, const AnyModel& model, std::size_t examples)
    : reference_(load_model(f, f.dpo_reference.empty() ? f.model : f.dpo_reference, make_threads(f.threads))),
      examples_(examples) {
  const auto same = [](const char* what, eso::Index found, eso::Index expected, bool holds) {
    if (!holds)
      throw eso::input_error("--dpo-reference", std::string("has another ") + what + " than the model",
                             fmt::format("{}", found), fmt::format("{}", expected));
  };
  const eso::Index vocabulary = reference_->vocabulary_size(), context = reference_->context_length();
  same("vocabulary", vocabulary, model.vocabulary_size(), vocabulary == model.vocabulary_size());
  same("context", context, model.context_length(), context >= model.context_length());
  reference_->score_only(1);
}

void ReferenceLogProbs::fill(eso::Batch& batch) {
  batch.reference_logp = eso::LogProbs::Zero(batch.response_count(), batch.longest());
  std::vector<std::size_t> met(batch.prompts.size());
  for (eso::Index p = 0; p < batch.prompt_count(); ++p) {
    const eso::Index example = batch.prompts[static_cast<std::size_t>(p)].example;
    if (!known_.contains(example)) {
      check_signals();
      known_.emplace(example, compute(batch, p));
    }
  }
  if (known_.size() == examples_) reference_.reset();
  for (eso::Index n = 0; n < batch.response_count(); ++n) {
    const auto p = static_cast<std::size_t>(batch.response(n).prompt);
    const std::vector<double>& row = known_.at(batch.prompts[p].example)[met[p]++];
    for (std::size_t t = 0; t < row.size(); ++t) batch.reference_logp(n, static_cast<eso::Index>(t)) = row[t];
  }
}

ReferenceLogProbs::Rows ReferenceLogProbs::compute(const eso::Batch& batch, eso::Index prompt) {
  const eso::Batch alone = eso::part(batch, prompt, 1);
  const eso::LogProbs logp = reference_->log_probs(alone);
  Rows rows;
  for (eso::Index n = 0; n < alone.response_count(); ++n) {
    const auto length = static_cast<eso::Index>(alone.response(n).tokens.size());
    std::vector<double>& row = rows.emplace_back();
    for (eso::Index t = 0; t < length; ++t) row.push_back(logp(n, t));
  }
  return rows;
}

}  // namespace eso_program
