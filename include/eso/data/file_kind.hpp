// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>
#include <utility>

namespace eso {

/// What a file is that begins with these bytes, where it is none of lines of UTF-8 text and begins like a
/// kind of file that data often come in: "a Parquet file". Else empty.
inline std::string_view binary_kind(std::string_view head) {
  static constexpr std::pair<std::string_view, std::string_view> kinds[] = {
      {"\x1F\x8B", "gzip data, whose name must end in .gz"},
      {"PK\x03\x04", "a zip archive"},
      {"PAR1", "a Parquet file"},
      {"ARROW1", "an Arrow file"},
      {"\x28\xB5\x2F\xFD", "zstd data"},
      {"BZh9", "bzip2 data"},
      {"\xFD"
       "7zXZ",
       "xz data"},
      {"SQLite format 3", "an SQLite database"},
      {"\xFF\xFE", "text in UTF-16"},
      {"\xFE\xFF", "text in UTF-16"},
  };
  for (const auto& [magic, kind] : kinds) {
    if (head.starts_with(magic)) return kind;
  }
  // Without a byte order mark every other byte of English is 0.
  if (head.size() >= 4 && (head[0] == 0) != (head[1] == 0) && (head[0] == 0) == (head[2] == 0) &&
      (head[1] == 0) == (head[3] == 0)) {
    return "text in UTF-16";
  }
  return {};
}

}  // namespace eso
