// SPDX-License-Identifier: MIT
#include <limits>
#include <memory>
#include <utility>

#include "lines.hpp"
#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

struct ScoreFlags {
  ModelFlags model;
  double temperature = 1;
  bool no_eos = false, head = false;
  std::int64_t batch_size = 16;
  std::string stats;
};

/// Gathers lines, the consecutive ones of a prompt together, and answers them.
class Scorer {
 public:
  Scorer(const ScoreFlags& flags, ModelFolder& folder, Stats& stats)
      : flags_(flags), folder_(folder), stats_(stats) {}

  void add(const eso::JsonLines& line) {
    eso::Tokens prompt = read_prompt(line, folder_, 0);
    eso::Tokens response = read_response(line, prompt.size());
    const bool again = prompt == previous_;
    if (!again) stats_.prompt_tokens += static_cast<std::int64_t>(prompt.size());
    stats_.response_tokens += static_cast<std::int64_t>(response.size());
    const bool full = !again && batch_.prompt_count() == flags_.batch_size;
    if (full || tokens_ + response.size() + (again ? 0 : prompt.size()) > most_tokens) flush();
    if (!again || batch_.prompts.empty()) {
      tokens_ += prompt.size();
      batch_.prompts.push_back({.tokens = prompt});
      previous_ = std::move(prompt);
    }
    tokens_ += response.size();
    batch_.responses.emplace_back().prompt = batch_.prompt_count() - 1;
    batch_.responses.back().tokens = std::move(response);
  }

  /// Answers what has been gathered.
  void flush() {
    if (batch_.responses.empty()) return;
    const eso::LogProbs logp = folder_.model.log_probs(batch_);
    for (eso::Index n = 0; n < batch_.response_count(); ++n) {
      const auto row = logp.row(n).head(static_cast<eso::Index>(batch_.response(n).tokens.size()));
      const nlohmann::ordered_json answer{{"logp", std::vector<double>(row.begin(), row.end())},
                                          {"sum", row.sum()},
                                          {"response_ids", batch_.response(n).tokens}};
      output_.json(answer);
    }
    output_.flush();
    batch_ = {};
    tokens_ = 0;
  }

 private:
  static constexpr std::size_t most_tokens =
      16384;  ///< of a batch: bounds memory, however many lines a prompt has

  eso::Tokens read_response(const eso::JsonLines& line, std::size_t prompt_tokens) const {
    eso::Tokens response = read_tokens(line, "response", folder_);
    if (!gives_ids(line, "response") && !flags_.no_eos) {
      const eso::TokenId eos = needed_end_of_sequence(folder_.model, ", or --no-eos");
      if (response.empty() || response.back() != eos) response.push_back(eos);
    }
    if (response.empty()) throw eso::input_error(line.where(), "the response is empty");
    const auto length = static_cast<eso::Index>(prompt_tokens + response.size());
    if (length > folder_.model.context_length()) {
      throw eso::input_error(line.where(), "prompt and response exceed the context",
                             fmt::format("{} tokens", length),
                             fmt::format("at most {}", folder_.model.context_length()));
    }
    return response;
  }

  const ScoreFlags& flags_;
  ModelFolder& folder_;
  Stats& stats_;
  Output output_;
  eso::Batch batch_;
  eso::Tokens previous_;
  std::size_t tokens_ = 0;
};

void score(const ScoreFlags& flags) {
  if (flags.head)
    throw eso::input_error("--head", "needs a model with a score.weight, which cannot be loaded yet");
  check_temperature("--temperature", flags.temperature);
  if (!(flags.temperature >= 1e-6)) {
    throw eso::input_error("--temperature", "is out of range", fmt::format("{}", flags.temperature),
                           "at least 1e-6");
  }
  check_range("--batch-size", flags.batch_size, 1, std::numeric_limits<std::int32_t>::max());
  Stats stats(flags.stats, flags.model.model);
  ModelFolder folder = flags.model.open();
  folder.model.score_only(flags.temperature);
  stats.loaded();
  eso::JsonLines lines(standard_input());
  Scorer scorer(flags, folder, stats);
  while (lines.next()) scorer.add(lines);
  scorer.flush();
  stats.write();
}

}  // namespace

Command add_score(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "score",
      "token log-probabilities of given responses: JSON lines {\"prompt\" or \"prompt_ids\", \"response\" or "
      "\"response_ids\"} in, {\"logp\", \"sum\", \"response_ids\"} out, in nats");
  struct State {
    ScoreFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  ScoreFlags& f = state->flags;
  f.model.add_to(*state->set);
  state->set->add("temperature", f.temperature, "divides the logits");
  state->set->add_switch("no-eos", f.no_eos, "append no end of sequence to responses given as text");
  state->set->add_switch("head", f.head,
                         "answer {\"score\"} of a model with a score.weight instead; not there yet");
  state->set->add("batch-size", f.batch_size, "prompts through the model at once");
  state->set->add("stats", f.stats, "file for times (seconds) and numbers of tokens, JSON");
  return [state] {
    state->set->read_config();
    score(state->flags);
  };
}

}  // namespace eso_program
