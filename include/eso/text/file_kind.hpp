// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace eso {

/// What a file is that a download left in place of the wanted one, for an `Error`: "is a Git LFS pointer,
/// ..." and its like. Empty where the beginning of the file tells nothing. `bytes` is all of the file, or at
/// least its first 512 bytes. O(1).
inline std::string_view mistaken_content(std::string_view bytes) {
  const auto starts = [&](std::string_view mark) { return bytes.starts_with(mark); };
  if (starts("version https://git-lfs.github.com/spec/") || starts("version https://hawser.github.com/spec/"))
    return "is a Git LFS pointer, not the file itself: git lfs pull fetches it";
  if (starts("PK\x03\x04") || starts("PK\x05\x06")) return "is a zip archive, as torch.save writes";
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= '\x02' && bytes[1] <= '\x05')
    return "is a Python pickle, which is never read";
  if (starts("\x1f\x8b")) return "is compressed by gzip";
  if (starts("GGUF")) return "is a GGUF file";
  std::string_view text = bytes.substr(0, 512);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.size() > 1 && text[0] == '<' && (text[1] == '!' || text[1] == '?' || letter(text[1])))
    return "is a web page (HTML or XML)";
  return {};
}

}  // namespace eso
