// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "eso/error.hpp"

namespace eso {

/// A file seen as an array in memory, private to this process: writing to it changes the array, never the
/// file.
///
/// Opening costs the same for every size; a page is read from disk when it is first touched, and a page that
/// is written gets a copy of its own. The file must not shrink while it is mapped.
class MappedFile {
 public:
  /// Throws an input `Error` where there is no such regular file, a system `Error` where it cannot be read.
  explicit MappedFile(const std::filesystem::path& path) {
    const std::string where = path.string();
    // Not blocking: a pipe without a writer must be refused, not waited for.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
      throw input_error(where, "no such file");
    if (file < 0) throw system_error(where, "cannot open");
    try {
      map(file, where);
    } catch (...) {
      ::close(file);
      throw;
    }
    ::close(file);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (size_ > 0) ::munmap(data_, size_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::span<std::byte> writable() { return {data_, size_}; }

 private:
  void map(int file, const std::string& where) {
    struct stat status{};
    if (::fstat(file, &status) != 0) throw system_error(where, "cannot read the size");
    if (!S_ISREG(status.st_mode)) throw input_error(where, "is not a regular file");
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0) return;
    // No reservation: the pages of a model that is only read never need memory of their own.
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) throw system_error(where, "cannot map into memory");
    data_ = static_cast<std::byte*>(memory);
    size_ = size;
  }

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace eso
