// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/mapped_file.hpp"
#include "eso/model/safetensors.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "eso/text/json_file.hpp"
#include "eso/train/durable_file.hpp"

namespace eso {

// The folder of a run's checkpoints holds one folder each:
//
//   step-K/model.safetensors       the parameters, as they are in memory
//   step-K/optimizer.safetensors   what the optimizer remembers
//   step-K/checkpoint.json         {"crc32":"xxxxxxxx","version":1,"step":K,"counters":{...},"files":[...]}
//
// crc32 is that of everything in checkpoint.json after the comma that follows it; files have a size and a
// CRC-32 each. There is no file that points to the newest: it is found, by trying from the highest step down.

/// A checkpoint that was read back, its checksums verified.
struct LoadedCheckpoint {
  std::filesystem::path path;
  std::int64_t step = 0;
  nlohmann::json counters;  ///< what the trainer gave to `save_checkpoint`
  Safetensors model;
  Safetensors optimizer;
};

/// Told of every checkpoint that is passed over: its path and, in one line, why.
using OnSkippedCheckpoint = std::function<void(const std::filesystem::path& path, const std::string& reason)>;

/// The input `Error` of a checkpoint that is whole and of another version of its format: to pass over it
/// would be to lose what a newer program made.
class OtherVersion : public Error {
 public:
  using Error::Error;
};

/// Whether the error says that a checkpoint is damaged: it is passed over. Else it may be readable later, or
/// by another program, and who resumes must stop.
inline bool is_damage(const Error& error) {
  return error.fault() == Fault::input && dynamic_cast<const OtherVersion*>(&error) == nullptr;
}

/// The text of `checkpoint.json`.
inline std::string make_manifest(std::int64_t step, const nlohmann::json& counters, const FileDigest& model,
                                 const FileDigest& optimizer) {
  const auto file = [](const char* name, const FileDigest& digest) {
    return fmt::format(R"({{"name":"{}","size":{},"crc32":"{:08x}"}})", name, digest.size, digest.crc32);
  };
  const std::string rest =
      fmt::format(R"("version":1,"step":{},"counters":{},"files":[{},{}]}})", step, counters.dump(),
                  file("model.safetensors", model), file("optimizer.safetensors", optimizer)) +
      "\n";
  FileDigest digest;
  digest.add(std::as_bytes(std::span(rest)));
  return fmt::format("{{\"crc32\":\"{:08x}\",{}", digest.crc32, rest);
}

/// The content of `checkpoint.json` after its own checksum agreed. Throws an input `Error` that names the
/// file, `OtherVersion` for one of another version.
inline nlohmann::json read_manifest(const std::filesystem::path& path) {
  constexpr std::size_t prefix = std::string_view("{\"crc32\":\"xxxxxxxx\",").size();
  const std::string where = path.string();
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < prefix || bytes.size() > (std::size_t{1} << 26)) {
    throw input_error(where, "is not a manifest", fmt::format("{} bytes", bytes.size()));
  }
  FileDigest digest;
  digest.add(bytes.subspan(prefix));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.substr(0, prefix) != fmt::format("{{\"crc32\":\"{:08x}\",", digest.crc32)) {
    throw input_error(where, "the checksum of the manifest is wrong");
  }
  // What a hostile file nests deeply would exhaust the stack where it is copied or printed.
  if (first_nested_beyond(64, text)) throw input_error(where, "is nested too deep");
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) throw input_error(where, "is not valid JSON");
  const auto version = json.find("version");
  if (version == json.end() || *version != 1) {
    const bool number = version != json.end() && version->is_number();
    throw OtherVersion(Fault::input, where, "is of another version", number ? version->dump() : std::string(),
                       "1");
  }
  return json;
}

/// A number of the manifest. Throws an input `Error` that names the file unless it is an integer from 0 to
/// 2^63 - 1.
inline std::int64_t manifest_number(const nlohmann::json& value, const std::filesystem::path& path) {
  constexpr auto largest = std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > largest) {
    throw input_error(path.string(), "has not the form of a manifest");
  }
  return value.get<std::int64_t>();
}

/// Opens a file of a checkpoint if size and checksum are those of the manifest.
inline Safetensors open_verified(const std::filesystem::path& folder, const char* name,
                                 const nlohmann::json& manifest) {
  const std::string where = (folder / name).string();
  for (const nlohmann::json& entry : manifest.at("files")) {
    if (entry.at("name") != name) continue;
    const auto size =
        static_cast<std::uint64_t>(manifest_number(entry.at("size"), folder / "checkpoint.json"));
    Safetensors file = Safetensors::open(folder / name);
    if (file.bytes().size() != size) {
      throw input_error(where, "has the wrong size", fmt::format("{} bytes", file.bytes().size()),
                        fmt::format("{} bytes", size));
    }
    FileDigest digest;
    digest.add(file.bytes());
    if (entry.at("crc32") != fmt::format("{:08x}", digest.crc32))
      throw input_error(where, "the checksum is wrong");
    return file;
  }
  throw input_error(where, "is not in the manifest");
}

/// Reads and verifies one checkpoint. Throws an `Error` that names what is wrong with it. Reads all its bytes
/// once.
inline LoadedCheckpoint load_checkpoint(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "checkpoint.json";
  nlohmann::json manifest = read_manifest(path);
  try {
    const std::int64_t step = manifest_number(manifest.at("step"), path);
    if (folder.filename() != fmt::format("step-{}", step)) {
      throw input_error(path.string(), "belongs to another step", fmt::format("step {}", step));
    }
    return {folder, step, std::move(manifest.at("counters")),
            open_verified(folder, "model.safetensors", manifest),
            open_verified(folder, "optimizer.safetensors", manifest)};
  } catch (const nlohmann::json::exception&) {
    throw input_error(path.string(), "has not the form of a manifest");
  }
}

/// K of a folder named `step-K`, written without leading zeros; nothing for any other name.
inline std::optional<std::int64_t> checkpoint_step(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  const std::string_view prefix = "step-";
  std::int64_t step = 0;
  if (!name.starts_with(prefix)) return std::nullopt;
  const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || name != fmt::format("step-{}", step)) return std::nullopt;
  return step;
}

/// Paths in a folder, none where it is missing. Throws a system `Error` if it cannot be read.
inline std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> paths;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw system_error(folder.string(), "cannot list", error.value());
  }
  return paths;
}

/// The checkpoints of a folder, the newest (highest step) first, valid or not.
inline std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(
    const std::filesystem::path& folder) {
  std::vector<std::pair<std::int64_t, std::filesystem::path>> found;
  for (const std::filesystem::path& path : entries_of(folder)) {
    if (const auto step = checkpoint_step(path)) found.emplace_back(*step, path);
  }
  std::sort(found.begin(), found.end(), std::greater<>());
  return found;
}

/// The newest checkpoint of `folder` whose manifest and checksums verify, opened; nothing if there is none.
/// Those that are newer and damaged are reported to `on_skipped`, which may be empty; other names are passed
/// over. Throws a system `Error` for one that cannot be read for the moment, `OtherVersion` for one of
/// another version.
inline std::optional<LoadedCheckpoint> load_newest_checkpoint(const std::filesystem::path& folder,
                                                              const OnSkippedCheckpoint& on_skipped = {}) {
  for (const auto& checkpoint : list_checkpoints(folder)) {
    try {
      return load_checkpoint(checkpoint.second);
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      if (on_skipped) on_skipped(checkpoint.second, error.what());
    }
  }
  return std::nullopt;
}

/// The path of that checkpoint.
inline std::optional<std::filesystem::path> find_newest_valid(const std::filesystem::path& folder,
                                                              const OnSkippedCheckpoint& on_skipped = {}) {
  const std::optional<LoadedCheckpoint> newest = load_newest_checkpoint(folder, on_skipped);
  return newest ? std::optional(newest->path) : std::nullopt;
}

/// Removes a folder with all it holds. Throws a system `Error` that names it.
inline void remove_folder(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw system_error(path.string(), "cannot remove", error.value());
}

/// Whether a name is `.tmp-PID-step-K` or `.tmp-PID-step-K-old`, which only `save_checkpoint` gives.
inline bool is_unfinished_checkpoint(std::string_view name) {
  const auto take = [&](std::string_view text) {
    if (!name.starts_with(text)) return false;
    name.remove_prefix(text.size());
    return true;
  };
  const auto take_digits = [&] {
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    name.remove_prefix(digits);
    return digits > 0;
  };
  if (!take(".tmp-") || !take_digits() || !take("-step-") || !take_digits()) return false;
  return name.empty() || name == "-old";
}

/// Removes what saves and removals that were cut off left behind. Only for the one process that writes there.
inline void remove_unfinished_checkpoints(const std::filesystem::path& folder) {
  for (const std::filesystem::path& path : entries_of(folder)) {
    if (is_unfinished_checkpoint(path.filename().string())) remove_folder(path);
  }
}

/// A folder under a name that no reader looks at, removed with all it holds unless it was moved away.
class UnfinishedCheckpoint {
 public:
  UnfinishedCheckpoint(const std::filesystem::path& folder, std::int64_t step)
      : path_(folder / fmt::format(".tmp-{}-step-{}", ::getpid(), step)) {}
  UnfinishedCheckpoint(const UnfinishedCheckpoint&) = delete;
  UnfinishedCheckpoint& operator=(const UnfinishedCheckpoint&) = delete;
  ~UnfinishedCheckpoint() {
    std::error_code error;  // it is removed again at the next start
    std::filesystem::remove_all(path_, error);
  }

  const std::filesystem::path& path() const { return path_; }

  void create() const {
    if (::mkdir(path_.c_str(), 0777) != 0) throw system_error(path_.string(), "cannot make the folder");
  }

  FileDigest write(const char* name, std::span<const TensorView> tensors) const {
    NewFile file(path_ / name);
    stream_safetensors(tensors, {}, {}, [&](std::span<const std::byte> bytes) { file.write(bytes); });
    return file.finish();
  }
  void write_manifest(std::string_view text) const {
    NewFile file(path_ / "checkpoint.json");
    file.write(text);
    file.finish();
  }

  /// Gives the folder its name in one instant, durably. What had the name before is removed.
  void publish(const std::filesystem::path& final_path) const {
    sync_directory(path_);
    if (::rename(path_.c_str(), final_path.c_str()) == 0) return sync_directory(parent_folder(final_path));
    if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) {
      throw system_error(final_path.string(), "cannot rename to");
    }
    // A checkpoint of this step is there already, damaged or of a run that was taken up before it.
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) != 0) {
      if (errno != EINVAL && errno != ENOSYS) throw system_error(final_path.string(), "cannot exchange");
      replace_in_two_steps(final_path);
    }
    sync_directory(parent_folder(final_path));
  }

 private:
  /// For file systems that cannot exchange. A process killed in between leaves no checkpoint of this step.
  void replace_in_two_steps(const std::filesystem::path& final_path) const {
    const std::filesystem::path old = path_.string() + "-old";
    if (::rename(final_path.c_str(), old.c_str()) != 0 || ::rename(path_.c_str(), final_path.c_str()) != 0) {
      throw system_error(final_path.string(), "cannot rename to");
    }
    remove_folder(old);
  }

  std::filesystem::path path_;
};

/// Removes the checkpoints before `step` beyond the newest `keep - 1` of them. Each leaves the sight of
/// readers in one instant.
inline void remove_old_checkpoints(const std::filesystem::path& folder, std::int64_t step, int keep) {
  int kept = 1;  // that of `step`; later ones belong to another run of events and are not counted
  for (const auto& checkpoint : list_checkpoints(folder)) {
    if (checkpoint.first >= step || ++kept <= keep) continue;
    const UnfinishedCheckpoint removed(folder, checkpoint.first);
    rename_durably(checkpoint.second, removed.path());
    remove_folder(removed.path());
  }
}

/// Writes the checkpoint `folder/step-K` whole or not at all, durably, then removes the oldest so that the
/// newest `keep` remain; `keep` 0 keeps all.
///
/// Whenever the process is killed or the power fails, the newest valid checkpoint is the one before or this
/// one. One process at a time may write to `folder` (see `DirectoryLock`), which is made if it is missing;
/// any number may read. `counters` is an object of the trainer's own. Cost: the bytes written once, and their
/// checksum.
///
/// \par Errors
/// System `Error` that names the file for a full disk and other failures: nothing new is there, nothing old
/// is gone. Input `Error` for tensors that `write_safetensors` refuses.
inline void save_checkpoint(const std::filesystem::path& folder, std::int64_t step,
                            std::span<const TensorView> model, std::span<const TensorView> optimizer,
                            const nlohmann::json& counters, int keep = 0) {
  require(step >= 0, "save_checkpoint", "the step is negative");
  require(keep >= 0, "save_checkpoint", "cannot keep a negative number of checkpoints");
  require(counters.is_object(), "save_checkpoint", "counters are not an object");
  make_folders_durably(folder);
  remove_unfinished_checkpoints(folder);
  {
    const UnfinishedCheckpoint unfinished(folder, step);
    unfinished.create();
    const FileDigest model_digest = unfinished.write("model.safetensors", model);
    const FileDigest optimizer_digest = unfinished.write("optimizer.safetensors", optimizer);
    unfinished.write_manifest(make_manifest(step, counters, model_digest, optimizer_digest));
    unfinished.publish(folder / fmt::format("step-{}", step));
  }
  if (keep > 0) remove_old_checkpoints(folder, step, keep);
}

}  // namespace eso
