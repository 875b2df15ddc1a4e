// SPDX-License-Identifier: MIT
#include <memory>

#include "methods.hpp"
#include "model_flags.hpp"
#include "presets.hpp"
#include "program.hpp"
#include "train.hpp"

namespace eso_program {

Command add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "train", "trains a model: pretraining, SFT, SFT with ESO, Unlike, DRL or RRHF, DPO or SLiC");
  struct State {
    TrainFlags flags;
    std::string resumed;
    bool plan = false;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  add_train_flags(*state->set, state->flags);
  command->add_option("--resume", state->resumed, "run directory to go on with; takes no other flag");
  command->add_flag(
      "--plan", state->plan,
      "print memory and work of the run from config.json alone, without loading weights or data, and "
      "end; --data, --format and --output may be missing");
  return [state, command] {
    catch_signals();
    if (command->count("--resume") == 0) {
      state->set->read_config();
      apply_preset(state->flags, *state->set);
      advise_unread_flags(*state->set, {state->flags.method});
      check_unread_flags(state->flags, *state->set);
      if (state->plan) return print_plan(state->flags);
      train(state->flags);
      return;
    }
    for (const CLI::Option* option : command->get_options()) {
      if (option->count() > 0 && option->get_name() != "--resume") {
        throw eso::input_error(option->get_name(), "cannot be given together with --resume");
      }
    }
    check_given("--resume", state->resumed);
    resume(state->resumed);
  };
}

}  // namespace eso_program
