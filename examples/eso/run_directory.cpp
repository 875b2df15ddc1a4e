// SPDX-License-Identifier: MIT
#include "run_directory.hpp"

#include "eso/train/durable_file.hpp"
#include "program.hpp"

namespace eso_program {

RunDirectory::RunDirectory(std::filesystem::path path)
    : path_(std::move(path)),
      lock_(path_),
      metrics_(eso::AppendFile::open(path_ / "metrics.jsonl")),
      completions_(eso::AppendFile::open(path_ / "completions.jsonl")) {}

void RunDirectory::check_new(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;
  if (!std::filesystem::is_directory(path, error))
    throw eso::input_error(path.string(), "is not a directory");
  if (!std::filesystem::is_empty(path, error)) {
    throw eso::input_error(path.string(), "the output directory is not empty; --resume goes on with a run");
  }
}

RunDirectory RunDirectory::create(const std::filesystem::path& path, const std::string& config) {
  check_new(path);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw eso::system_error(path.string(), "cannot make the directory", error.value());
  eso::write_durably(path / "config.toml", config);
  return RunDirectory(path);
}

RunDirectory RunDirectory::reopen(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path / "config.toml")) {
    throw eso::input_error(path.string(), "holds no run: it has no config.toml");
  }
  return RunDirectory(path);
}

void RunDirectory::save(std::int64_t step, std::int64_t tokens, const std::vector<eso::TensorView>& model,
                        const std::vector<eso::TensorView>& optimizer, int keep) {
  metrics_.sync();
  completions_.sync();
  const nlohmann::json counters{
      {"tokens", tokens}, {"metrics_bytes", metrics_.size()}, {"completions_bytes", completions_.size()}};
  eso::save_checkpoint(checkpoints(), step, model, optimizer, counters, keep);
}

std::optional<eso::LoadedCheckpoint> RunDirectory::restore() {
  const auto fits = [&](const eso::LoadedCheckpoint& c) {
    return c.counters.at("metrics_bytes").get<std::uint64_t>() <= metrics_.size() &&
           c.counters.at("completions_bytes").get<std::uint64_t>() <= completions_.size();
  };
  std::optional<eso::LoadedCheckpoint> newest;
  for (const auto& [step, path] : eso::list_checkpoints(checkpoints())) {
    try {
      newest = eso::load_checkpoint(path);
      if (fits(*newest)) break;
      say("{}: skipped, its records are lost", path.string());
    } catch (const eso::Error& error) {
      say("{}: skipped, {}", path.string(), error.what());
    } catch (const nlohmann::json::exception&) {
      say("{}: skipped, its counters are unreadable", path.string());
    }
    newest.reset();
  }
  metrics_.truncate(newest ? newest->counters.at("metrics_bytes").get<std::uint64_t>() : 0);
  completions_.truncate(newest ? newest->counters.at("completions_bytes").get<std::uint64_t>() : 0);
  return newest;
}

}  // namespace eso_program
