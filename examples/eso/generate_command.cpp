// SPDX-License-Identifier: MIT
#include <limits>
#include <memory>
#include <utility>

#include "eso/sample/temperatures.hpp"
#include "lines.hpp"
#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

struct GenerateFlags {
  ModelFlags model;
  double temperature = 1, top_p = 1;
  std::int64_t samples = 1, top_k = 0, max_response_tokens = 128, batch_size = 16;
  std::uint64_t seed = 0;
  std::string stats;
};

constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();

void check_flags(const GenerateFlags& f) {
  check_temperature("--temperature", f.temperature);
  check_share("--top-p", f.top_p);
  check_range("--top-k", f.top_k, 0, largest);
  check_range("--samples", f.samples, 1, std::int64_t{1} << 24);  // a stream's name holds 24 bits of it
  check_range("--max-response-tokens", f.max_response_tokens, 1, largest);
  check_range("--batch-size", f.batch_size, 1, largest);
}

/// Answers the prompts, whose `example` is the number of their line.
void answer(std::vector<eso::Prompt>& prompts, const GenerateFlags& flags, ModelFolder& folder, Stats& stats,
            Output& output) {
  eso::Temperatures sampler(std::vector<double>(static_cast<std::size_t>(flags.samples), flags.temperature));
  sampler.max_tokens = flags.max_response_tokens;
  sampler.top_k = flags.top_k;
  sampler.top_p = flags.top_p;
  const std::span<const eso::Prompt> all = prompts;
  sampler.in_parts(folder.model, all, {flags.seed, 0}, [&](const std::vector<eso::Response>& part) {
    for (const eso::Response& response : part) {
      const nlohmann::ordered_json line{{"prompt", all[static_cast<std::size_t>(response.prompt)].example},
                                        {"sample", response.sample},
                                        {"temperature", flags.temperature},
                                        {"response", folder.tokenizer->decode(response.tokens, true)},
                                        {"response_ids", response.tokens},
                                        {"logp", response.logp},
                                        {"finish", response.finished ? "eos" : "length"}};
      output.json(line);
      stats.response_tokens += static_cast<std::int64_t>(response.tokens.size());
    }
  });
  output.flush();
  prompts.clear();
}

void generate(const GenerateFlags& flags) {
  check_flags(flags);
  Stats stats(flags.stats, flags.model.model);
  ModelFolder folder = flags.model.open();
  folder.needed_tokenizer();
  stats.loaded();
  Output output;
  eso::JsonLines lines(standard_input());
  std::vector<eso::Prompt> prompts;
  while (lines.next()) {
    eso::Tokens tokens = read_prompt(lines, folder, 1);
    stats.prompt_tokens += static_cast<std::int64_t>(tokens.size());
    prompts.push_back({std::move(tokens), static_cast<eso::Index>(lines.number()) - 1});
    if (static_cast<std::int64_t>(prompts.size()) == flags.batch_size)
      answer(prompts, flags, folder, stats, output);
  }
  if (!prompts.empty()) answer(prompts, flags, folder, stats, output);
  stats.write();
}

}  // namespace

Command add_generate(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "generate",
      "samples responses: JSON lines {\"prompt\"} or {\"prompt_ids\"} in, a line for each response out");
  struct State {
    GenerateFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  GenerateFlags& f = state->flags;
  f.model.add_to(*state->set);
  state->set->add("temperature", f.temperature, "divides the logits; 0: the most likely token");
  state->set->add("samples", f.samples, "responses to each prompt");
  state->set->add("seed", f.seed, "of the random numbers; a response depends on it and its own prompt alone");
  state->set->add(
      "top-k", f.top_k,
      "draw from so many most likely tokens; 0: all; temperature 0 reads neither this nor --top-p");
  state->set->add("top-p", f.top_p,
                  "draw from the fewest most likely tokens with this probability together; 1: all");
  state->set->add("max-response-tokens", f.max_response_tokens,
                  "a response ends there, end of sequence included");
  state->set->add("batch-size", f.batch_size, "prompts through the model at once");
  state->set->add("stats", f.stats, "file for times (seconds) and numbers of tokens, JSON");
  return [state] {
    state->set->read_config();
    generate(state->flags);
  };
}

}  // namespace eso_program
