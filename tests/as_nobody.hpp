// SPDX-License-Identifier: MIT
#pragma once

#include <sys/fsuid.h>
#include <unistd.h>

#include <filesystem>

/// While it lives, files are opened with the rights of an ordinary user, to whom `folder` and all in it
/// belong: what nobody may read is refused, to a test that root runs too.
class AsNobody {
 public:
  explicit AsNobody(const std::filesystem::path& folder) : is_root_(::geteuid() == 0) {
    if (!is_root_) return;
    give(folder);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) give(entry.path());
    ::setfsuid(nobody);
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  ~AsNobody() {
    if (is_root_) ::setfsuid(0);
  }

 private:
  static constexpr unsigned nobody = 65534;

  static void give(const std::filesystem::path& path) {
    if (::lchown(path.c_str(), nobody, nobody) != 0)
      throw std::filesystem::filesystem_error("chown", path, {});
  }

  bool is_root_;
};
