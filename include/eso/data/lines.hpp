// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <ios>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/data/file_kind.hpp"
#include "eso/data/gzip.hpp"
#include "eso/error.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// Reads UTF-8 text line by line from a file, a gzip file (a name that ends in `.gz`) or a stream.
///
/// Lines end with "\n" or "\r\n", which are not part of them; a last line without an end counts. A byte order
/// mark at the start is skipped. Memory is bounded by twice `limit`, whatever the data hold. A stream is
/// never asked for more than it has ready, so lines can be answered as they come.
class LineReader {
 public:
  std::size_t limit = std::size_t{64} << 20;  ///< bytes of the longest line that is read

  /// \throws Error (input) if there is no such file, it is a directory or may not be read.
  explicit LineReader(const std::filesystem::path& path)
      : name_(path.string()), file_(open(path)), in_(file_.get()) {
    if (name_.ends_with(".gz")) gunzip_ = std::make_unique<Gunzip>(name_);
  }

  /// Reads from `in`, which must outlive the reader; `name` is what errors call it.
  explicit LineReader(std::istream& in, std::string name = "<stdin>") : name_(std::move(name)), in_(&in) {}

  /// The next line, blank ones too, or nothing at the end. It is valid until the next call.
  ///
  /// \throws Error (input) if the line is too long, is not UTF-8 or holds a NUL, the data begin like a file of
  ///         another kind, or the gzip data are damaged; (system) if reading fails.
  std::optional<std::string_view> next() {
    carried_.clear();
    bool any = false;
    while (position_ < size_ || fill()) {
      if (!any) ++number_;
      any = true;
      const std::string_view rest(chunk_.data() + position_, size_ - position_);
      const std::size_t end = rest.find('\n');
      const std::string_view piece = rest.substr(0, end);
      position_ += piece.size() + (end == std::string_view::npos ? 0 : 1);
      if (piece.size() > limit - std::min(limit, carried_.size())) {
        throw input_error(where(), fmt::format("the line is longer than {} bytes", limit));
      }
      if (end != std::string_view::npos && carried_.empty()) return checked(piece);
      carried_ += piece;
      if (end != std::string_view::npos) break;
    }
    if (!any) return std::nullopt;
    return checked(carried_);
  }

  /// Whether `next` has a line at hand and need not wait for more of the stream.
  bool ready() const {
    return std::string_view(chunk_.data() + position_, size_ - position_).find('\n') !=
           std::string_view::npos;
  }

  /// The 1-based number of the line that `next` returned last, 0 before the first.
  std::size_t number() const { return number_; }

  /// The place of that line: `PATH:LINE`.
  std::string where() const { return fmt::format("{}:{}", name_, number_); }

  /// The path or the stream's name.
  const std::string& name() const { return name_; }

 private:
  static std::unique_ptr<std::ifstream> open(const std::filesystem::path& path) {
    std::error_code code;
    const auto status = std::filesystem::status(path, code);
    if (std::filesystem::is_directory(status))
      throw input_error(path.string(), "is a directory", {}, "a file");
    if (std::filesystem::exists(status)) {
      errno = 0;
      auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
      if (file->is_open()) return file;
      code.assign(errno, std::generic_category());
    }
    throw open_error(path.string(), code.value());
  }

  bool fill() {
    const std::span<char> whole(chunk_);
    const auto source = [this](std::span<char> to) { return read_some(to); };
    position_ = 0;
    size_ = gunzip_ ? gunzip_->read(whole, source) : read_some(whole);
    if (number_ == 0) {
      const std::string_view kind = binary_kind(std::string_view(chunk_.data(), size_));
      if (!kind.empty()) throw input_error(name_, "is not a text file", std::string(kind), "lines in UTF-8");
    }
    return size_ > 0;
  }

  /// Fills `to` with what the stream has ready, one byte at least; 0 at the end.
  std::size_t read_some(std::span<char> to) {
    std::streambuf& bytes = *in_->rdbuf();
    try {
      if (bytes.sgetc() != std::streambuf::traits_type::eof()) {
        const auto ready =
            std::clamp<std::streamsize>(bytes.in_avail(), 1, static_cast<std::streamsize>(to.size()));
        return static_cast<std::size_t>(bytes.sgetn(to.data(), ready));
      }
    } catch (const std::ios_base::failure& failure) {
      const bool named = failure.code().category() == std::system_category();
      throw system_error(name_, "cannot be read", named ? failure.code().value() : EIO);
    }
    // Standard input that shares its buffer with the C library shows a failure as an end.
    if (in_ == &std::cin && std::ferror(stdin) != 0) throw system_error(name_, "cannot be read");
    return 0;
  }

  std::string_view checked(std::string_view line) const {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (const auto at = first_invalid_utf8(line)) {
      throw input_error(where(), fmt::format("malformed UTF-8 at byte {}", *at + 1));
    }
    if (const std::size_t at = line.find('\0'); at != std::string_view::npos) {
      throw input_error(where(), fmt::format("a NUL at byte {}", at + 1));
    }
    return line;
  }

  std::string name_;
  std::unique_ptr<std::ifstream> file_;
  std::istream* in_;
  std::unique_ptr<Gunzip> gunzip_;
  std::vector<char> chunk_ = std::vector<char>(256 * 1024);
  std::size_t position_ = 0, size_ = 0;  // what is left of the chunk
  std::string carried_;                  // the start of a line that reaches into another chunk
  std::size_t number_ = 0;
};

}  // namespace eso
