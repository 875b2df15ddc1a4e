// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "eso/train/append_file.hpp"
#include "eso/train/checkpoint.hpp"
#include "eso/train/directory_lock.hpp"

namespace eso_program {

/// The folder that a run writes: its records, checkpoints and, when it is finished, the model.
class RunDirectory {
 public:
  /// Makes the folder with `config.toml`. \throws eso::Error (input) if it is there and not empty, but for
  /// what a process killed at once left behind.
  static RunDirectory create(const std::filesystem::path& path, const std::string& config);
  /// The folder of a run that began before. \throws eso::Error (input) if it has no `config.toml`.
  static RunDirectory reopen(const std::filesystem::path& path);

  /// The folder of a run that another process writes, of several that train together: this one only reads
  /// its checkpoints.
  static RunDirectory follow(const std::filesystem::path& path) { return RunDirectory(path); }

  /// Throws unless `create` would take the path. Changes nothing.
  static void check_new(const std::filesystem::path& path);

  /// Throws an input `Error` that names the folder if it has no `config.toml`: no run began there.
  static void check_began(const std::filesystem::path& path);

  /// Throws an input `Error` that names the path if it is a link or anything else but a regular file.
  static void check_file(const std::filesystem::path& path);

  /// Throws an input `Error` that names what a run would not have put there: a link, a pipe.
  static void check_entries(const std::filesystem::path& path);

  /// Removes what a process killed at the end of its run left of its lock and temporaries.
  static void tidy(const std::filesystem::path& path);

  /// Whether the run in `path` ended. \throws eso::Error (system) if that cannot be told for the moment.
  static bool finished(const std::filesystem::path& path);

  /// The counters of the newest checkpoint whose manifest is whole, for what the run began with; nothing
  /// where there is none.
  ///
  /// \throws eso::Error (input) for one of another version of the program, (system) for one that cannot be
  /// read.
  static std::optional<nlohmann::json> recorded(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// Whether the run began before.
  bool resumed() const { return resumed_; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  /// Whether this process writes it.
  bool writes() const { return lock_ != nullptr; }

  void add_metrics(const nlohmann::ordered_json& record) { metrics_->append(record.dump()); }
  void add_completion(const nlohmann::ordered_json& record) { completions_->append(record.dump()); }

  /// Saves the state after `step` with the caller's counters; the records up to here belong to it.
  void save(std::int64_t step, nlohmann::json counters, const std::vector<eso::TensorView>& model,
            const std::vector<eso::TensorView>& optimizer, int keep);

  /// The newest valid checkpoint, the records cut back to it; skipped ones are reported on standard error.
  /// Without one the records are emptied. `check` is shown its counters first and may throw.
  ///
  /// \throws eso::Error (input) if records that belong to it are lost, or a checkpoint is of another version;
  /// (system) if one cannot be read for the moment: it may be the newest that is good. Nothing is changed.
  std::optional<eso::LoadedCheckpoint> restore(const std::function<void(const nlohmann::json&)>& check);
  /// The checkpoint of this step, which another process found valid.
  eso::LoadedCheckpoint read(std::int64_t step) const;

 private:
  explicit RunDirectory(std::filesystem::path path) : path_(std::move(path)) {}
  RunDirectory(std::filesystem::path path, std::unique_ptr<eso::DirectoryLock> lock);

  std::filesystem::path path_;
  bool resumed_ = false;
  std::unique_ptr<eso::DirectoryLock> lock_;
  std::optional<eso::AppendFile> metrics_, completions_;  ///< of the process that writes
};

}  // namespace eso_program
