// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eso/data/example.hpp"
#include "eso/threads.hpp"
#include "train.hpp"

namespace eso_program {

/// What a flag is to a run that is taken up again.
enum class FlagRole {
  counts,       ///< another value changes the model or the records: it must be what the run began with
  names_input,  ///< says where an input lies: its content must be what the run began with
  free,         ///< changes neither
};

/// A flag of a run: its name without dashes, its value as in config.toml, and its role.
struct Setting {
  std::string name, value;
  FlagRole role;
};

/// All flags of `eso train`.
std::vector<Setting> settings_of(TrainFlags flags);

/// The settings that count, `{"NAME": "VALUE"}`, as a checkpoint records them.
nlohmann::json settings_record(const TrainFlags& flags);

/// Throws an input `eso::Error` that names the file `config` and the first flag that is not as recorded.
void check_settings(const TrainFlags& flags, const nlohmann::json& recorded,
                    const std::filesystem::path& config);

/// The checksums of the files that a run reads beside its data: `{"model": {"NAME": "crc32"}, "reference":
/// {...}}`. Reads all their bytes once.
nlohmann::json files_record(const TrainFlags& flags, eso::Threads& threads);

/// Throws an input `eso::Error` that names the first file whose checksum is not as recorded.
void check_files(const TrainFlags& flags, const nlohmann::json& found, const nlohmann::json& recorded);

/// Number and checksum of the examples, with the numbers that decide what is drawn for each.
std::string data_record(const std::vector<eso::Example>& examples);

}  // namespace eso_program
