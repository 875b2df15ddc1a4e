// SPDX-License-Identifier: MIT
#include <memory>

#include "eso/reward/rouge.hpp"
#include "flags.hpp"
#include "lines.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

void rouge(bool stemmer) {
  Output output;
  eso::JsonLines lines = standard_input();
  while (lines.next()) {
    const eso::RougeScores scores = eso::Rouge{stemmer}(lines.string("target"), lines.string("prediction"));
    const nlohmann::ordered_json answer{
        {"rouge1", scores.rouge1.f1}, {"rouge2", scores.rouge2.f1}, {"rougeL", scores.rougeL.f1}};
    output.json(answer);
  }
  output.flush();
}

}  // namespace

Command add_rouge(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "rouge",
      "JSON lines {\"target\", \"prediction\"} in, {\"rouge1\", \"rouge2\", \"rougeL\"} out: F1 in [0, 1]");
  struct State {
    bool stemmer = false;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  state->set->add_switch("stemmer", state->stemmer, "compare Porter stems instead of words");
  return [state] {
    state->set->read_config();
    rouge(state->stemmer);
  };
}

}  // namespace eso_program
