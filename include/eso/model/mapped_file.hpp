// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <ctime>
#include <filesystem>
#include <span>
#include <string>

#include "eso/error.hpp"

namespace eso {

/// A file seen as an array in memory, private to this process: writing to it changes the array, never the
/// file.
///
/// Opening costs the same for every size; a page is read from disk when it is first touched, and a page that
/// is written gets a copy of its own. The file must not change while the array is in use: where it is cut,
/// the array ends in SIGBUS, where it is written, in other numbers. `check_unchanged` tells, and `read` does
/// not depend on the array.
class MappedFile {
 public:
  /// Throws an input `Error` where there is no such regular file, a system `Error` where it cannot be read.
  explicit MappedFile(const std::filesystem::path& path) {
    const std::string where = path.string();
    // Not blocking: a pipe without a writer must be refused, not waited for.
    file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file_ < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      throw input_error(where, "no such file");
    if (file_ < 0) throw system_error(where, "cannot open");
    try {
      map(where);
    } catch (...) {
      ::close(file_);
      throw;
    }
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (size_ > 0) ::munmap(data_, size_);
    ::close(file_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::span<std::byte> writable() { return {data_, size_}; }

  /// Reads the bytes of the file from `first` on. \throws Error (system) if it has them no more.
  void read(std::size_t first, std::span<std::byte> to) const {
    while (!to.empty()) {
      const ssize_t count = ::pread(file_, to.data(), to.size(), static_cast<off_t>(first));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw system_error(where_, "cannot be read");
      if (count == 0) throw changed();
      first += static_cast<std::size_t>(count);
      to = to.subspan(static_cast<std::size_t>(count));
    }
  }

  /// \throws Error (system) if the file was written or cut since it was opened, which its size and the time
  /// of its last change tell. Costs a call of the system.
  void check_unchanged() const {
    struct stat status{};
    if (::fstat(file_, &status) != 0) throw system_error(where_, "cannot read the size");
    if (static_cast<std::size_t>(status.st_size) != size_ || status.st_mtim.tv_sec != written_.tv_sec ||
        status.st_mtim.tv_nsec != written_.tv_nsec)
      throw changed();
  }

 private:
  Error changed() const { return {Fault::system, where_, "was changed while it was in use"}; }

  void map(const std::string& where) {
    struct stat status{};
    if (::fstat(file_, &status) != 0) throw system_error(where, "cannot read the size");
    if (!S_ISREG(status.st_mode)) throw input_error(where, "is not a regular file");
    where_ = where;
    written_ = status.st_mtim;
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0) return;
    // No reservation: the pages of a model that is only read never need memory of their own.
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file_, 0);
    if (memory == MAP_FAILED) throw system_error(where, "cannot map into memory");
    data_ = static_cast<std::byte*>(memory);
    size_ = size;
  }

  int file_ = -1;
  std::string where_;
  timespec written_{};
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace eso
