// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flags.hpp"
#include "model_folder.hpp"

namespace eso_program {

/// Adds the flags of which backend computes, and how.
void add_backend_flags(FlagSet& set, BackendOptions& options);

/// The flags of every command that computes with a model.
struct ModelFlags : BackendOptions {
  std::string model;
  std::int64_t threads = 0;

  void add_to(FlagSet& set);

  /// Loads the model. \throws eso::Error (input) for a flag that the backend cannot honour, and as
  /// `open_model_folder`.
  ModelFolder open() const;
};

/// Throws an input `eso::Error` naming the flag unless least <= value <= most.
void check_range(const char* flag, std::int64_t value, std::int64_t least, std::int64_t most);

/// Throws an input `eso::Error` naming the flag unless the value is finite and at least 0.
void check_temperature(const char* flag, double value);

/// Throws an input `eso::Error` naming the flag unless the value lies in (0, 1].
void check_share(const char* flag, double value);

/// Throws an input `eso::Error` naming the flag if the text is empty.
void check_given(const char* flag, const std::string& value);

/// Throws a system `eso::Error` if the path needs the working directory and that was deleted.
void check_working_directory(const char* flag, const std::string& path);
/// Throws an input `eso::Error` if no file could be written at `path`: its folder is missing, or it is a
/// folder.
void check_output_file(const char* flag, const std::string& path);
/// Throws an input `eso::Error` if what `flag` is to write is one of these files of `input`, be it by links;
/// empty paths are none.
void check_spares(const char* flag, const std::string& path, const char* input,
                  const std::vector<std::string>& files);
/// The same of the files of a model: another file may lie in its folder.
void check_spares_model(const char* flag, const std::string& path, const std::string& folder);

}  // namespace eso_program
