// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "eso/error.hpp"
#include "eso/train/durable_file.hpp"

namespace eso {

/// A file of lines that only grows: the metrics and completions of a run.
///
/// A line is one call of write(2) at the end of the file, so a killed process leaves whole lines. What a
/// checkpoint remembers is `size()` after `sync()`; `truncate` goes back to it.
class AppendFile {
 public:
  /// Opens the file, making it if there is none. Throws a system `Error` that names it, also for a symbolic
  /// link.
  static AppendFile open(const std::filesystem::path& path) {
    // Not blocking: a pipe without a reader must be refused, not waited for.
    AppendFile opened{FileDescriptor(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOFOLLOW)};
    sync_directory(parent_folder(path));
    return opened;
  }

  /// Appends `line`, which has no line break, and a line break. After a system `Error` (a full disk) the file
  /// is as it was before the call.
  void append(std::string_view line) {
    require(line.find('\n') == std::string_view::npos, file_.path().string(),
            "a line to append has a line break");
    const std::uint64_t before = size();
    const std::string text = std::string(line) + '\n';
    try {
      file_.write(std::as_bytes(std::span(text)));
    } catch (const Error&) {
      // Part of the line may stand there. If even this fails, the first error is still the one to tell.
      [[maybe_unused]] const int result = ::ftruncate(file_.number(), static_cast<off_t>(before));
      throw;
    }
  }

  /// Returns once all lines are on the disk.
  void sync() const { file_.sync(); }

  /// Bytes of the file.
  std::uint64_t size() const { return file_.size(); }

  /// Cuts the file to its first `size` bytes. Throws an input `Error` if it has fewer.
  void truncate(std::uint64_t size) {
    const std::uint64_t found = this->size();
    if (found < size) {
      throw input_error(file_.path().string(), "is shorter than when the checkpoint was written",
                        fmt::format("{} bytes", found), fmt::format("at least {} bytes", size));
    }
    if (::ftruncate(file_.number(), static_cast<off_t>(size)) != 0) {
      throw system_error(file_.path().string(), "cannot truncate");
    }
    sync();
  }

 private:
  explicit AppendFile(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
};

}  // namespace eso
