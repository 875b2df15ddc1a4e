// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/data/formats.hpp"

// Short ways to read lines of a format.

namespace format_reading {

struct Folder : TemporaryFolder {
  /// The path of a new file.
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    write_file(*this / name, bytes);
    return *this / name;
  }
};

inline std::vector<eso::TextExample> read(const std::vector<std::filesystem::path>& files, eso::Format format,
                                          const eso::FormatOptions& options = {}) {
  return eso::read_examples(files, format, options).examples;
}

/// The one example of a line.
inline eso::TextExample only(const std::string& line, eso::Format format,
                             const eso::FormatOptions& options = {}) {
  const Folder folder;
  const auto examples = read({folder.write("one.jsonl", line + "\n")}, format, options);
  REQUIRE(examples.size() == 1);
  return examples[0];
}

inline std::string failure(const std::string& line, eso::Format format,
                           const eso::FormatOptions& options = {}) {
  try {
    only(line, format, options);
  } catch (const eso::Error& error) {
    CHECK(error.fault() == eso::Fault::input);
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace format_reading
