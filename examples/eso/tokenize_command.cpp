// SPDX-License-Identifier: MIT
#include <memory>

#include "lines.hpp"
#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

struct TokenizeFlags {
  std::string tokenizer;
  bool decode = false;
};

void tokenize(const TokenizeFlags& flags) {
  check_given("--tokenizer", flags.tokenizer);
  const eso::ByteLevelBpe tokenizer = load_tokenizer(flags.tokenizer);
  Output output;
  eso::JsonLines lines(standard_input());
  while (lines.next()) {
    const nlohmann::json answer = flags.decode
                                      ? nlohmann::json{{"text", tokenizer.decode(lines.ids("ids"))}}
                                      : nlohmann::json{{"ids", tokenizer.encode(lines.string("text"))}};
    output.json(answer);
  }
  output.flush();
}

}  // namespace

Command add_tokenize(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("tokenize", "JSON lines {\"text\"} in, {\"ids\"} out, or the other way");
  struct State {
    TokenizeFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  state->set->add("tokenizer", state->flags.tokenizer,
                  "folder with tokenizer.json, or vocab.json and merges.txt");
  state->set->add_switch("decode", state->flags.decode,
                         "JSON lines {\"ids\"} in, {\"text\"} out, special tokens kept");
  return [state] {
    state->set->read_config();
    tokenize(state->flags);
  };
}

}  // namespace eso_program
