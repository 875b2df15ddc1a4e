// SPDX-License-Identifier: MIT
#include <memory>

#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

struct ConvertFlags {
  std::string model, output, precision = "float32";
  std::int64_t threads = 0;
};

void convert(const ConvertFlags& flags) {
  check_given("--model", flags.model);
  check_given("--output", flags.output);
  if (flags.precision != "float32" && flags.precision != "bfloat16") {
    throw eso::input_error("--precision", "unknown value", flags.precision, "float32 or bfloat16");
  }
  catch_signals();
  check_free_folder(flags.output);
  const ModelFolder folder = open_model_folder({}, flags.model, make_threads(flags.threads));
  check_signals();
  write_model_folder(flags.output, folder.model, copied_files(flags.model),
                     flags.precision == "float32" ? eso::DataType::float32 : eso::DataType::bfloat16);
}

}  // namespace

Command add_convert(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("convert", "writes a model folder with its numbers in another precision");
  struct State {
    ConvertFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  state->set->add("model", state->flags.model, "Hugging Face folder");
  state->set->add("output", state->flags.output, "folder to make; it must be missing or empty");
  state->set->add("precision", state->flags.precision, "float32 or bfloat16");
  state->set->add("threads", state->flags.threads, "threads that check the weights; 0: all processors");
  return [state] {
    state->set->read_config();
    convert(state->flags);
  };
}

}  // namespace eso_program
