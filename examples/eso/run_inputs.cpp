// SPDX-License-Identifier: MIT
#include "run_inputs.hpp"

#include <optional>

#include "eso/data/windows.hpp"
#include "lines.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

/// The flags that the examples depend on, all others at their defaults: what is made of these alone may be
/// kept by them.
TrainFlags data_flags(const TrainFlags& f) {
  TrainFlags read;
  read.model = f.model;
  read.data = f.data;
  read.format = f.format;
  read.layout = f.layout;
  read.max_prompt_tokens = f.max_prompt_tokens;
  read.max_response_tokens = f.max_response_tokens;
  read.prompt_overflow = f.prompt_overflow;
  read.no_eos = f.no_eos;
  if (f.method == "pretrain") {
    read.method = f.method;
    read.window_tokens = f.window_tokens;
    read.seed = f.seed;
    read.no_shuffle = f.no_shuffle;
  }
  read.output.clear();
  return read;
}

/// What follows each target, or each text of `pretrain`. \throws eso::Error (input) if the model has none.
std::optional<eso::TokenId> appended_end(const TrainFlags& f, const AnyModel& model) {
  if (f.method == "pretrain") return needed_end_of_sequence(model, "");
  if (f.no_eos) return std::nullopt;
  return needed_end_of_sequence(model, ", or --no-eos");
}

eso::Tokenised read_data(const TrainFlags& f, const AnyModel& model, const eso::ByteLevelBpe& tokenizer) {
  const std::optional<eso::TokenId> eos = appended_end(f, model);
  const eso::TextExamples texts = f.layout.read(f.data, f.format, DataPart::training);
  if (f.method == "pretrain") {
    std::vector<eso::Tokens> tokens;
    for (const eso::TextExample& text : texts.examples) {
      check_signals();
      tokens.push_back(tokenizer.encode(text.prompt + text.response));
    }
    const eso::Index window = f.window_tokens > 0 ? f.window_tokens : model.context_length();
    if (window > model.context_length()) {
      throw eso::input_error("--window-tokens", "exceeds the context", fmt::format("{}", window),
                             fmt::format("at most {}", model.context_length()));
    }
    eso::Tokenised result;
    result.examples = eso::windows(tokens, *eos, window, f.seed, !f.no_shuffle);
    result.dropped = texts.dropped;
    return result;
  }
  return tokenised(texts, tokenizer, eos,
                   {f.max_prompt_tokens, f.max_response_tokens, model.context_length(), f.prompt_overflow,
                    f.layout.bad_rows},
                   f.data.front());
}

}  // namespace

const eso::Tokenised& RunInputs::examples(const TrainFlags& flags, const AnyModel& model,
                                          const eso::ByteLevelBpe& tokenizer) {
  const TrainFlags read = data_flags(flags);
  const std::string key = config_of(read);
  const auto known = examples_.find(key);
  if (known != examples_.end()) return known->second;
  return examples_.emplace(key, read_data(read, model, tokenizer)).first->second;
}

ReferenceLogProbs& RunInputs::reference(const TrainFlags& flags, const AnyModel& model,
                                        std::size_t examples) {
  TrainFlags read = data_flags(flags);
  read.backend = flags.backend;
  read.precision = flags.precision;
  read.device = flags.device;
  read.threads = flags.threads;
  read.dpo_reference = flags.dpo_reference.empty() ? flags.model : flags.dpo_reference;
  return references_.try_emplace(config_of(read), read, model, examples).first->second;
}

}  // namespace eso_program
