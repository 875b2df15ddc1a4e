// SPDX-License-Identifier: MIT
#include "compare.hpp"

#include <algorithm>
#include <limits>
#include <set>

#include "eso/text/json_file.hpp"
#include "eso/train/active_epochs.hpp"
#include "eso/train/checkpoint.hpp"
#include "eso/train/durable_file.hpp"
#include "methods.hpp"
#include "presets.hpp"
#include "program.hpp"
#include "run_record.hpp"

namespace eso_program {
namespace {

/// A name that may be a folder.
void check_name(const std::string& name) {
  const bool usable = !name.empty() && name.size() <= 64 && name[0] != '.' &&
                      std::all_of(name.begin(), name.end(), [](char c) {
                        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                               c == '-' || c == '_' || c == '.';
                      });
  if (!usable || name == "comparison.json" || name == "report.html") {
    throw eso::input_error("--arm", "the name of an arm is not usable", "\"" + name + "\"",
                           "up to 64 letters, digits, '-', '_' and '.'");
  }
}

ComparedArm make_arm(const CompareFlags& flags, const FlagSet& given, const std::string& name,
                     const std::string& differs) {
  check_name(name);
  ComparedArm arm{name, differs, flags.common};
  CLI::App app;
  FlagSet set(app);
  add_train_flags(set, arm.flags);
  try {
    app.parse(differs, false);
  } catch (const CLI::Success&) {
    throw eso::input_error("--arm",
                           fmt::format("{}: --help asks for no arm; eso train --help lists the flags", name));
  } catch (const CLI::ParseError& error) {
    throw eso::input_error("--arm", fmt::format("{}: {}", name, what_is_wrong(error, app, "eso train")));
  }
  for (const char* flag : {"output", "seed", "test-split"}) {
    if (set.given(flag)) {
      throw eso::input_error("--arm", fmt::format("{}: --{} belongs to the whole comparison", name, flag));
    }
  }
  set.read_config();
  apply_preset(arm.flags, set, &given);
  arm.flags.output = (std::filesystem::path(flags.common.output) / name).string();  // seeds are folders in it
  check_train_flags(arm.flags);
  try {
    check_unread_flags(arm.flags, set);
    if (set.source("optimizer") == FlagSet::Source::nobody) check_unread_flags(arm.flags, given);
  } catch (const eso::Error& error) {
    throw eso::input_error("--arm", fmt::format("{}: {}", name, error.what()));
  }
  advise_unread_flags(set, {arm.flags.method}, "--arm " + name + ": ");
  return arm;
}

/// The flags that decide what an arm does before its method is on, as text.
std::string shared_key(TrainFlags flags, std::uint64_t seed) {
  const TrainFlags none;
  flags.seed = seed;
  flags.method = "sft";
  flags.output.clear();
  flags.keep_checkpoints = 0;
  flags.active_epochs = none.active_epochs;
  flags.temperatures = none.temperatures;
  flags.reward = none.reward;
  flags.preset = none.preset;
  forget_methods(flags);
  return config_of(flags);
}

/// The first 0-based epoch in which the arm's method is on; the number of epochs for SFT.
std::int64_t first_active(const TrainFlags& flags) {
  const Method& method = method_named(flags.method);
  if (method.pairs) return 0;
  if (!method.samples) return flags.epochs;
  const eso::ActiveEpochs active = eso::active_epochs_named(flags.active_epochs);
  for (std::int64_t epoch = 0; epoch < flags.epochs; ++epoch) {
    if (active(epoch, flags.epochs)) return epoch;
  }
  return flags.epochs;
}

/// Makes the directory of a run that is to go on after the steps that it shares with `from`.
void copy_shared_steps(const std::filesystem::path& from, std::int64_t step, const TrainFlags& flags) {
  const std::filesystem::path to = flags.output;
  eso::LoadedCheckpoint checkpoint =
      eso::load_checkpoint(from / "checkpoints" / fmt::format("step-{}", step));
  checkpoint.counters["settings"] = settings_record(flags);  // they differ in what these steps do not read
  eso::save_checkpoint(to / "checkpoints", step, checkpoint.model.tensors(), checkpoint.optimizer.tensors(),
                       checkpoint.counters);
  for (const auto& [file, counter] :
       {std::pair("metrics.jsonl", "metrics_bytes"), std::pair("completions.jsonl", "completions_bytes")}) {
    const std::string records = eso::read_file(from / file);
    eso::write_durably(
        to / file, std::string_view(records).substr(0, checkpoint.counters.at(counter).get<std::size_t>()));
  }
  const std::string config = eso::read_file(from / "config.toml");
  const std::size_t comment = std::min(config.rfind("# data: "), config.size());  // the data are the same
  eso::write_durably(to / "config.toml", config_of(flags) + config.substr(comment));
}

}  // namespace

std::vector<ComparedArm> arms_of(const CompareFlags& flags, const FlagSet& given) {
  std::vector<ComparedArm> arms;
  for (const std::string& method : flags.methods)
    arms.push_back(make_arm(flags, given, method, "--method " + method));
  for (const std::string& text : flags.arms) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos)
      throw eso::input_error("--arm", "has no colon", "\"" + text + "\"", "\"NAME: FLAGS\"");
    std::string differs = text.substr(colon + 1);
    differs.erase(0, differs.find_first_not_of(' '));
    arms.push_back(make_arm(flags, given, text.substr(0, colon), differs));
  }
  if (arms.empty())
    throw eso::input_error("--methods", "there is no arm to compare", {}, "--methods or --arm");
  std::set<std::string> names;
  for (const ComparedArm& arm : arms) {
    if (!names.insert(arm.name).second) throw eso::input_error("--arm", "two arms have one name", arm.name);
    if (arm.flags.method == "pretrain")
      throw eso::input_error("--arm", "pretrain cannot be compared", arm.name);
  }
  std::set<std::string> methods;
  for (const ComparedArm& arm : arms) methods.insert(arm.flags.method);
  advise_unread_flags(given, {methods.begin(), methods.end()});
  return arms;
}

std::filesystem::path ArmTrainer::run_of(const std::filesystem::path& directory, const std::string& arm,
                                         std::uint64_t seed) {
  return directory / arm / fmt::format("seed-{}", seed);
}

/// Epochs that the arms of this key have in common which begin with SFT; 0 if there is but one of them.
std::int64_t ArmTrainer::shared_epochs(const std::string& key, std::uint64_t seed) const {
  std::int64_t arms = 0, epochs = std::numeric_limits<std::int64_t>::max();
  for (const ComparedArm& arm : arms_) {
    const std::int64_t first = first_active(arm.flags);
    if (first == 0 || shared_key(arm.flags, seed) != key) continue;
    ++arms;
    epochs = std::min(epochs, first);
  }
  return arms > 1 ? epochs : 0;
}

TrainResult ArmTrainer::train(const ComparedArm& arm, std::uint64_t seed, const std::string& title) {
  TrainFlags flags = arm.flags;
  flags.seed = seed;
  flags.output = run_of(directory_, arm.name, seed).string();
  flags.keep_checkpoints = 0;
  TrainHooks hooks{.save_after_epochs = 0, .title = title, .resumable = false, .inputs = &inputs_};
  if (first_active(flags) == 0) return eso_program::train(flags, hooks);
  const std::string key = shared_key(flags, seed);
  if (const auto known = shared_.find(key); known != shared_.end()) {
    copy_shared_steps(known->second.run, known->second.step, flags);
    TrainResult result = eso_program::resume(flags.output, hooks);
    result.seconds += known->second.seconds;
    return result;
  }
  hooks.save_after_epochs = shared_epochs(key, seed);
  const TrainResult result = eso_program::train(flags, hooks);
  if (result.saved_step > 0) shared_[key] = {flags.output, result.saved_step, result.saved_seconds};
  return result;
}

}  // namespace eso_program
