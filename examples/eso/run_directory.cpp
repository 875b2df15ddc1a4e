// SPDX-License-Identifier: MIT
#include "run_directory.hpp"

#include <algorithm>

#include "eso/text/json_file.hpp"
#include "eso/train/durable_file.hpp"
#include "program.hpp"

namespace eso_program {

namespace {

const char* const lock_name = ".lock";

/// Whether a name is one under which a run writes a file or its model: `NAME.tmp-PID`, `.tmp-PID-model`.
bool is_temporary(std::string_view name) {
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  for (const char* file : {"config.toml", "report.html"}) {
    const std::string prefix = std::string(file) + ".tmp-";
    if (name.starts_with(prefix) && is_number(name.substr(prefix.size()))) return true;
  }
  const std::string_view prefix = ".tmp-", suffix = "-model";
  return name.starts_with(prefix) && name.ends_with(suffix) && name.size() > prefix.size() + suffix.size() &&
         is_number(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
}

/// Whether a process that was killed before the run began may have left this: its lock, an unfinished
/// config.toml.
bool is_left_by_start(const std::filesystem::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return (name == lock_name || (name.starts_with("config.toml") && is_temporary(name))) &&
         entry.is_regular_file() && !entry.is_symlink();
}

bool has_temporaries(const std::filesystem::path& path) {
  for (const auto& entry : eso::entries_of(path))
    if (is_temporary(entry.filename().string())) return true;
  for (const auto& entry : eso::entries_of(path / "checkpoints"))
    if (eso::is_unfinished_checkpoint(entry.filename().string())) return true;
  return false;
}

/// Removes what a killed process was writing; only the holder of the lock writes here.
void remove_temporaries(const std::filesystem::path& path) {
  for (const auto& entry : eso::entries_of(path))
    if (is_temporary(entry.filename().string())) eso::remove_folder(entry);
  eso::remove_unfinished_checkpoints(path / "checkpoints");
}

/// Whether a counter is a number of steps; it is one too where an older checkpoint lacks it.
bool counts(const nlohmann::json& counters, const char* name) {
  return !counters.contains(name) || counters.at(name).is_number_unsigned();
}

/// Whether a counter is a number; older checkpoints lack it.
bool measures(const nlohmann::json& counters, const char* name) {
  return !counters.contains(name) || counters.at(name).is_number();
}

/// The records must be as long as they were when the checkpoint was made: only a person can have cut them.
void check_records(const std::filesystem::path& checkpoint, const std::filesystem::path& file,
                   const eso::AppendFile& records, const nlohmann::json& bytes) {
  if (bytes.get<std::uint64_t>() <= records.size()) return;
  throw eso::input_error(file.string(), fmt::format("is shorter than {} says", checkpoint.string()),
                         fmt::format("{} bytes", records.size()), fmt::format("at least {}", bytes.dump()));
}

}  // namespace

RunDirectory::RunDirectory(std::filesystem::path path, std::unique_ptr<eso::DirectoryLock> lock)
    : path_(std::move(path)),
      lock_(std::move(lock)),
      metrics_(eso::AppendFile::open(path_ / "metrics.jsonl")),
      completions_(eso::AppendFile::open(path_ / "completions.jsonl")) {}

void RunDirectory::check_new(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path place = path;  // or the folder above that is there: those between are made
  while (!eso::is_named(place) && place != eso::parent_folder(place)) place = eso::parent_folder(place);
  if (!std::filesystem::is_directory(place, error))
    throw eso::input_error(place.string(), "is not a directory");
  if (place != path) return;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (is_left_by_start(entry)) continue;  // whether its process is at work shows when it is locked
    throw eso::input_error(path.string(), "the output directory is not empty; --resume goes on with a run");
  }
}

RunDirectory RunDirectory::create(const std::filesystem::path& path, const std::string& config) {
  check_new(path);
  eso::make_folders_durably(path);
  auto lock = std::make_unique<eso::DirectoryLock>(path);
  check_new(path);  // another process may have been faster
  remove_temporaries(path);
  eso::write_durably(path / "config.toml", config);
  return RunDirectory(path, std::move(lock));
}

bool RunDirectory::finished(const std::filesystem::path& path) {
  std::error_code error;
  const bool there = std::filesystem::exists(path / "model" / "config.json", error);
  if (error) throw eso::system_error((path / "model").string(), "cannot be looked into", error.value());
  return there;
}

std::optional<nlohmann::json> RunDirectory::recorded(const std::filesystem::path& path) {
  for (const auto& [step, checkpoint] : eso::list_checkpoints(path / "checkpoints")) {
    const std::filesystem::path manifest = checkpoint / "checkpoint.json";
    try {
      nlohmann::json counters = eso::read_manifest(manifest).value("counters", nlohmann::json());
      for (const char* name : {"settings", "files"}) {
        if (counters.is_object() && counters.contains(name) && counters[name].is_object()) continue;
        throw eso::OtherVersion(eso::Fault::input, manifest.string(),
                                fmt::format("does not record the {} of the run: another version of eso wrote "
                                            "it, and the run must be begun anew",
                                            name));
      }
      return counters;
    } catch (const eso::Error& error) {
      if (!eso::is_damage(error)) throw;  // `restore` tells of it
    }
  }
  return std::nullopt;
}

void RunDirectory::check_began(const std::filesystem::path& path) {
  std::error_code code;
  if (!eso::is_named(path / "config.toml") && std::filesystem::is_directory(path, code)) {
    const bool began = std::any_of(std::filesystem::directory_iterator(path), {},
                                   [](const auto& entry) { return is_left_by_start(entry); });
    throw eso::input_error(path.string(),
                           began ? "the run was killed before it began: begin it anew, without --resume"
                                 : "holds no run: it has no config.toml");
  }
}

void RunDirectory::check_file(const std::filesystem::path& path) {
  std::error_code error;
  const auto type = std::filesystem::symlink_status(path, error).type();
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular)
    throw eso::input_error(path.string(), "is not a regular file");
}

void RunDirectory::check_entries(const std::filesystem::path& path) {
  std::error_code error;
  for (const char* name : {"config.toml", "metrics.jsonl", "completions.jsonl", "report.html", lock_name})
    check_file(path / name);
  for (const char* name : {"metrics.jsonl", "completions.jsonl"}) {  // cut and appended to where they are
    if (eso::is_named(path / name) && std::filesystem::hard_link_count(path / name, error) > 1 && !error)
      throw eso::input_error((path / name).string(), "is a file of another name, too: a hard link");
  }
  for (const char* name : {"checkpoints", "model", "adapter"}) {
    const auto type = std::filesystem::symlink_status(path / name, error).type();
    if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::directory)
      throw eso::input_error((path / name).string(), "is not a directory of its own");
  }
}

void RunDirectory::tidy(const std::filesystem::path& path) {
  if (!eso::is_named(path / lock_name) && !has_temporaries(path)) return;
  const eso::DirectoryLock lock(path);
  remove_temporaries(path);
}

RunDirectory RunDirectory::reopen(const std::filesystem::path& path) {
  check_began(path);
  check_entries(path);
  auto lock = std::make_unique<eso::DirectoryLock>(path);
  remove_temporaries(path);
  RunDirectory directory(path, std::move(lock));
  directory.resumed_ = true;
  return directory;
}

void RunDirectory::save(std::int64_t step, nlohmann::json counters, const std::vector<eso::TensorView>& model,
                        const std::vector<eso::TensorView>& optimizer, int keep) {
  metrics_->sync();
  completions_->sync();
  counters["metrics_bytes"] = metrics_->size();
  counters["completions_bytes"] = completions_->size();
  eso::save_checkpoint(checkpoints(), step, model, optimizer, counters, keep);
}

eso::LoadedCheckpoint RunDirectory::read(std::int64_t step) const {
  for (const auto& [number, path] : eso::list_checkpoints(checkpoints())) {
    if (number == step) return eso::load_checkpoint(path);
  }
  throw eso::input_error(checkpoints().string(), fmt::format("has no checkpoint of step {}", step));
}

std::optional<eso::LoadedCheckpoint> RunDirectory::restore(
    const std::function<void(const nlohmann::json&)>& check) {
  std::optional<eso::LoadedCheckpoint> newest;
  for (const auto& [step, path] : eso::list_checkpoints(checkpoints())) {
    try {
      newest = eso::load_checkpoint(path);
      const nlohmann::json &metrics = newest->counters.at("metrics_bytes"),
                           &completions = newest->counters.at("completions_bytes");
      if (!metrics.is_number_unsigned() || !completions.is_number_unsigned() ||
          !newest->counters.at("data").is_string() || !newest->counters.at("tokens").is_number_unsigned() ||
          !newest->counters.at("processes").is_number_unsigned() || !counts(newest->counters, "left_out") ||
          !counts(newest->counters, "left_out_last") || !measures(newest->counters, "first_nll") ||
          !measures(newest->counters, "last_nll"))
        throw eso::input_error("checkpoint.json", "its counters are unreadable");
      break;
    } catch (const eso::Error& error) {
      if (!eso::is_damage(error)) throw;
      say("{}: skipped, {}", path.string(), error.what());
    } catch (const nlohmann::json::exception&) {
      say("{}: skipped, its counters are unreadable", path.string());
    }
    newest.reset();
  }
  if (newest) {
    check(newest->counters);
    check_records(newest->path, path_ / "metrics.jsonl", *metrics_, newest->counters["metrics_bytes"]);
    check_records(newest->path, path_ / "completions.jsonl", *completions_,
                  newest->counters["completions_bytes"]);
  }
  metrics_->truncate(newest ? newest->counters.at("metrics_bytes").get<std::uint64_t>() : 0);
  completions_->truncate(newest ? newest->counters.at("completions_bytes").get<std::uint64_t>() : 0);
  return newest;
}

}  // namespace eso_program
