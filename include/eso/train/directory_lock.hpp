// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "eso/error.hpp"
#include "eso/train/durable_file.hpp"

namespace eso {

/// The right to write into a folder, held by one process at a time.
///
/// A lock on the file `.lock` inside, which the system takes back however the process ends; the file itself
/// goes when the lock is given up in order.
class DirectoryLock {
 public:
  /// Throws an input `Error` that names the folder if another process holds it, at once; a system `Error` if
  /// it cannot be locked.
  explicit DirectoryLock(std::filesystem::path folder) : folder_(std::move(folder)) {
    while (!file_) {
      FileDescriptor file(folder_ / ".lock", O_RDWR | O_CREAT | O_NOFOLLOW);
      lock(file);
      // The one who held it may have removed the file after it was opened here: then the lock is on nothing.
      if (is_current(file)) file_.emplace(std::move(file));
    }
    if (::ftruncate(file_->number(), 0) != 0) throw system_error(file_->path().string(), "cannot write");
    const std::string process = fmt::format("{}\n", ::getpid());
    file_->write(std::as_bytes(std::span(process)));
  }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock() { ::unlink((folder_ / ".lock").c_str()); }

 private:
  void lock(const FileDescriptor& file) const {
    while (::flock(file.number(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK)
        throw input_error(folder_.string(), "is in use by another process", holder(file));
      throw system_error(folder_.string(), "cannot lock");
    }
  }

  static std::string holder(const FileDescriptor& file) {
    char text[32] = {};
    const ssize_t length = ::pread(file.number(), text, sizeof(text) - 1, 0);
    std::string number;
    for (ssize_t i = 0; i < length && std::isdigit(static_cast<unsigned char>(text[i])) != 0; ++i)
      number += text[i];
    return number.empty() ? std::string() : "process " + number;
  }

  static bool is_current(const FileDescriptor& file) {
    struct stat locked{}, named{};
    if (::fstat(file.number(), &locked) != 0) throw system_error(file.path().string(), "cannot lock");
    return ::stat(file.path().c_str(), &named) == 0 && named.st_ino == locked.st_ino &&
           named.st_dev == locked.st_dev;
  }

  std::filesystem::path folder_;
  std::optional<FileDescriptor> file_;
};

}  // namespace eso
