// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/error.hpp"

namespace eso {

/// An open file of the system, closed at the end.
class FileDescriptor {
 public:
  /// Throws a system `Error` that names `path`. `flags` are those of open(2).
  FileDescriptor(std::filesystem::path path, int flags) : path_(std::move(path)) {
    do {
      number_ = ::open(path_.c_str(), flags | O_CLOEXEC, 0666);
    } while (number_ < 0 && errno == EINTR);
    if (number_ < 0) throw system_error(path_.string(), "cannot open");
  }
  FileDescriptor(FileDescriptor&& other) noexcept
      : path_(std::move(other.path_)), number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }

  int number() const { return number_; }
  const std::filesystem::path& path() const { return path_; }

  /// Writes all bytes, however many calls that takes.
  void write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t written = ::write(number_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw system_error(path_.string(), "cannot write");
      // Nothing written and no error: the disk takes no more, and asking again would never end.
      if (written == 0) throw system_error(path_.string(), "cannot write", ENOSPC);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  /// Returns once the content is on the disk. A failure is final: the system may have dropped the data.
  void sync() const {
    while (::fsync(number_) != 0) {
      if (errno != EINTR) throw system_error(path_.string(), "cannot sync to disk");
    }
  }

  /// Closes, reporting what the system kept for itself until now (EDQUOT or EIO on network file systems).
  void close() {
    if (::close(std::exchange(number_, -1)) != 0 && errno != EINTR)
      throw system_error(path_.string(), "cannot close");
  }

  std::uint64_t size() const {
    struct stat status{};
    if (::fstat(number_, &status) != 0) throw system_error(path_.string(), "cannot read the size");
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  std::filesystem::path path_;
  int number_ = -1;
};

/// The folder that `path` lies in.
inline std::filesystem::path parent_folder(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

/// Returns once the entries of the folder (new files, renames, removals) are on the disk.
inline void sync_directory(const std::filesystem::path& folder) {
  FileDescriptor(folder, O_RDONLY | O_DIRECTORY).sync();
}

/// Makes the folder and those above it that are missing, and returns once they are on the disk. Throws a
/// system `Error` that names it.
inline void make_folders_durably(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> parents;  // that get a new entry, the deepest first
  std::error_code error;
  for (std::filesystem::path folder = path; !std::filesystem::exists(folder, error);
       folder = parent_folder(folder)) {
    if (folder.has_filename()) parents.push_back(parent_folder(folder));  // "DIR/" has none
  }
  std::filesystem::create_directories(path, error);
  if (error) throw system_error(path.string(), "cannot make the folder", error.value());
  for (const std::filesystem::path& parent : parents) sync_directory(parent);
}

/// Renames within one folder, replacing a file `to` in one instant, and returns once that is on the disk.
inline void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw system_error(to.string(), "cannot rename to");
  sync_directory(parent_folder(to));
}

/// Size and CRC-32 (that of zlib and gzip) of a file's bytes.
struct FileDigest {
  std::uint64_t size = 0;
  std::uint32_t crc32 = 0;

  void add(std::span<const std::byte> bytes) {
    crc32 = static_cast<std::uint32_t>(
        ::crc32_z(crc32, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
    size += bytes.size();
  }
  bool operator==(const FileDigest&) const = default;
};

/// A new file that is on the disk once `finish` returns. A file of this name is replaced; a link is not
/// followed.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path) : file_(create(path)) {}
  /// A device or pipe that is open already: nothing to replace and nothing to sync.
  explicit NewFile(FileDescriptor stream) : file_(std::move(stream)), is_stream_(true) {}

  void write(std::span<const std::byte> bytes) {
    // Blocks, so that the checksum reads what the cache still holds.
    constexpr std::size_t block = std::size_t{1} << 20;
    for (std::size_t begin = 0; begin < bytes.size(); begin += block) {
      const auto part = bytes.subspan(begin, std::min(block, bytes.size() - begin));
      file_.write(part);
      digest_.add(part);
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Syncs and closes. Gives the size and checksum of what was written.
  FileDigest finish() {
    if (!is_stream_) file_.sync();
    file_.close();
    return digest_;
  }

 private:
  static FileDescriptor create(const std::filesystem::path& path) {
    ::unlink(path.c_str());
    return {path, O_WRONLY | O_CREAT | O_EXCL};
  }

  FileDescriptor file_;
  FileDigest digest_;
  bool is_stream_ = false;
};

/// A file that is there whole or not at all, also after a crash or a loss of power.
///
/// The bytes go to `PATH.tmp-PID`; `commit` syncs that, renames it to `PATH` and syncs the folder. Without a
/// `commit`, after an error or in a process that is killed, `PATH` is what it was before. A temporary file
/// that a killed process left behind is replaced. A link to a file is followed; a device or pipe
/// (`/dev/stdout`) is written as it is, never replaced.
///
/// \par Errors
/// A system `Error` that names the file, for a full disk, missing permission and every other failure; the
/// temporary file is removed.
class DurableFile {
 public:
  explicit DurableFile(const std::filesystem::path& path)
      : path_(followed(path)),
        temporary_(is_stream(path_) ? "" : path_.string() + fmt::format(".tmp-{}", ::getpid())),
        file_(temporary_.empty() ? NewFile(FileDescriptor(path_, O_WRONLY)) : NewFile(temporary_)),
        committed_(temporary_.empty()) {}
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;
  ~DurableFile() {
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) { file_.write(bytes); }
  void write(std::string_view text) { file_.write(text); }

  /// Makes what was written the content of the file. Gives its size and checksum.
  FileDigest commit() {
    const FileDigest digest = file_.finish();
    if (temporary_.empty()) return digest;
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
      throw system_error(path_.string(), "cannot rename to");
    committed_ = true;
    sync_directory(parent_folder(path_));
    return digest;
  }

 private:
  static std::filesystem::path followed(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::path target = std::filesystem::canonical(path, error);
    return !error && std::filesystem::is_symlink(path, error) ? target : path;
  }
  static bool is_stream(const std::filesystem::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
  }

  std::filesystem::path path_, temporary_;
  NewFile file_;
  bool committed_;
};

/// Writes a whole file durably: see `DurableFile`.
inline FileDigest write_durably(const std::filesystem::path& path, std::string_view content) {
  DurableFile file(path);
  file.write(content);
  return file.commit();
}

}  // namespace eso
