// SPDX-License-Identifier: MIT
#include "run_directory.hpp"

#include "eso/text/json_file.hpp"
#include "eso/train/durable_file.hpp"
#include "program.hpp"

namespace eso_program {

namespace {

const char* const lock_name = ".lock";

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
  if (!std::filesystem::is_empty(path, error)) {
    throw eso::input_error(path.string(), "the output directory is not empty; --resume goes on with a run");
  }
}

RunDirectory RunDirectory::create(const std::filesystem::path& path, const std::string& config) {
  check_new(path);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw eso::system_error(path.string(), "cannot make the directory", error.value());
  auto lock = std::make_unique<eso::DirectoryLock>(path);
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().filename() != lock_name) check_new(path);  // another process was faster
  }
  eso::write_durably(path / "config.toml", config);
  return RunDirectory(path, std::move(lock));
}

RunDirectory RunDirectory::reopen(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path / "config.toml", error)) {
    throw eso::input_error(path.string(), "holds no run: it has no config.toml");
  }
  auto lock = std::make_unique<eso::DirectoryLock>(path);
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    // What a killed process was writing; only the holder of the lock writes here.
    if (entry.path().filename().string().find(".tmp-") != std::string::npos) {
      std::filesystem::remove_all(entry.path(), error);
    }
  }
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
          !counts(newest->counters, "left_out") || !counts(newest->counters, "left_out_last") ||
          !measures(newest->counters, "first_nll") || !measures(newest->counters, "last_nll"))
        throw eso::input_error("checkpoint.json", "its counters are unreadable");
      break;
    } catch (const eso::Error& error) {
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
