// SPDX-License-Identifier: MIT
#pragma once

#include <zlib.h>

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/error.hpp"

namespace eso {

/// Inflates gzip data piece by piece; several members, one after the other, are one text.
///
/// Stricter than zlib's `gzread`: data that are not gzip are refused rather than passed through, and so is
/// anything but zero padding behind the last member. Holds 64 KiB of input and zlib's window of 32 KiB,
/// however much the data promise to be. More than 128 MiB of text that is over 100 times as large as its gzip
/// data is refused: texts to learn from shrink to a third or a tenth, and a small file shall not take all memory.
///
/// Source: RFC 1952; zlib's `inflate` checks the checksum and the length of each member.
class Gunzip {
 public:
  /// `name` is what errors call the data: the path.
  explicit Gunzip(std::string name) : name_(std::move(name)), input_(64 * 1024) {
    const int gzip_alone = 16;  // added to the window's bits: see zlib's inflateInit2
    if (inflateInit2(&stream_, MAX_WBITS + gzip_alone) != Z_OK) throw std::bad_alloc();
  }
  Gunzip(const Gunzip&) = delete;  // zlib's state points back at the stream
  Gunzip& operator=(const Gunzip&) = delete;
  ~Gunzip() { inflateEnd(&stream_); }

  /// Inflates into `to`, which must not be empty, and returns how many bytes, 0 at the end of the data.
  /// `source` gives the compressed bytes: called with a `std::span<char>` to fill, it returns how many it
  /// wrote, 0 at the end.
  ///
  /// \throws Error (input) if the data are not gzip, are damaged, end too early or grow as said above.
  template <class Source>
  std::size_t read(std::span<char> to, Source&& source) {
    stream_.next_out = reinterpret_cast<Bytef*>(to.data());
    stream_.avail_out = static_cast<uInt>(to.size());
    while (stream_.avail_out == to.size()) {
      if (stream_.avail_in == 0 && !refill(source)) return 0;
      if (between_members_ && !begin_member()) continue;
      inflate_some();
    }
    return to.size() - stream_.avail_out;
  }

 private:
  template <class Source>
  bool refill(Source&& source) {
    const std::size_t size = source(std::span<char>(input_));
    if (size == 0 && members_ == 0 && between_members_)
      throw input_error(name_, "is not gzip data: it is empty");
    if (size == 0 && !between_members_) throw input_error(name_, "gzip data end too early");
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(size);
    return size > 0;
  }

  /// False if there is only padding so far.
  bool begin_member() {
    while (members_ > 0 && stream_.avail_in > 0 && *stream_.next_in == 0)
      ++stream_.next_in, --stream_.avail_in;
    if (stream_.avail_in == 0) return false;
    inflateReset(&stream_);
    between_members_ = false;
    return true;
  }

  void inflate_some() {
    const uInt in_before = stream_.avail_in, out_before = stream_.avail_out;
    const int code = inflate(&stream_, Z_NO_FLUSH);
    taken_ += in_before - stream_.avail_in;
    given_ += out_before - stream_.avail_out;
    if (given_ > bomb_size && given_ / bomb_ratio > taken_) {
      throw input_error(name_, "gzip data grow suspiciously", fmt::format("{} bytes from {}", given_, taken_),
                        fmt::format("at most {} times as many", bomb_ratio));
    }
    if (code == Z_STREAM_END) {
      ++members_;
      between_members_ = true;
    } else if (code == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      const std::string reason = stream_.msg != nullptr ? stream_.msg : "damaged";
      if (reason != "incorrect header check") throw input_error(name_, "broken gzip data: " + reason);
      throw input_error(name_, members_ == 0 ? "is not gzip data" : "other data follow the gzip data");
    }
  }

  static constexpr std::uint64_t bomb_size = std::uint64_t{128} << 20, bomb_ratio = 100;

  std::string name_;
  std::vector<char> input_;
  std::uint64_t taken_ = 0, given_ = 0;  // bytes of all members
  z_stream stream_{};
  std::size_t members_ = 0;
  bool between_members_ = true;
};

}  // namespace eso
