// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/mapped_file.hpp"
#include "eso/model/safetensors_header.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/tensor.hpp"

namespace eso {

/// A safetensors file, mapped into memory: named arrays without a copy.
///
/// A cheap handle: copies share the mapping, and every view keeps it alive. The mapping is private, so a
/// float32 model can be trained in the very bytes (`writable`) while the file stays what it is.
class Safetensors {
 public:
  /// Maps the file and checks its header (see `read_safetensors_header`), reading none of the values.
  ///
  /// \par Errors
  /// Input `Error` that names `path` and where there is one the tensor, for a missing file and for content
  /// that the format does not allow; a system `Error` if the file cannot be read.
  static Safetensors open(const std::filesystem::path& path) {
    Safetensors opened;
    auto content = std::make_shared<Content>(path);
    opened.content_ = content;
    // Read, not looked at where it is mapped: of a file that is cut meanwhile too little comes, and no
    // SIGBUS.
    const std::vector<std::byte> start = header_of(content->file);
    static_cast<SafetensorsContent&>(*content) = read_safetensors_header(
        safetensors_header(start, path.string()), content->file.bytes(), path.string());
    for (std::size_t i = 0; i < content->tensors.size(); ++i) content->by_name.push_back(i);
    std::sort(content->by_name.begin(), content->by_name.end(), [&](std::size_t a, std::size_t b) {
      return content->tensors[a].name < content->tensors[b].name;
    });
    return opened;
  }

  /// The tensor of this name; nothing where there is none. Throws an input `Error` if the name is that of a
  /// tensor whose type holds no weights. O(log n).
  std::optional<TensorView> find(std::string_view name) const {
    const auto& order = content_->by_name;
    const auto found = std::lower_bound(
        order.begin(), order.end(), name,
        [&](std::size_t i, std::string_view wanted) { return content_->tensors[i].name < wanted; });
    if (found != order.end() && content_->tensors[*found].name == name)
      return owned(content_->tensors[*found]);
    for (const IgnoredTensor& tensor : content_->ignored) {
      if (tensor.name == name) {
        throw input_error(tensor_place(path().string(), name), "holds no weights", "dtype " + tensor.type,
                          "F64, F32, F16 or BF16");
      }
    }
    return std::nullopt;
  }

  /// `find` as a function, which keeps the mapping alive.
  TensorLookup lookup() const {
    return [file = *this](std::string_view name) { return file.find(name); };
  }

  /// All tensors of floating-point numbers in the order of their bytes. These views live as long as the file
  /// does; those of `find` keep it alive.
  const std::vector<TensorView>& tensors() const { return content_->tensors; }
  /// The tensors of other types.
  const std::vector<IgnoredTensor>& ignored() const { return content_->ignored; }
  const std::map<std::string, std::string>& metadata() const { return content_->metadata; }
  const std::filesystem::path& path() const { return content_->path; }
  /// The whole file as it lies in memory, for checksums.
  std::span<const std::byte> bytes() const { return content_->file.bytes(); }

  /// The bytes of a tensor of this file to write to: in memory, never in the file.
  std::span<std::byte> writable(const TensorView& tensor) const {
    return content_->file.writable().subspan(offset_of(tensor), tensor.bytes.size());
  }

  /// Whether the tensor lies in this file.
  bool holds(const TensorView& tensor) const {
    const std::less_equal<const std::byte*> not_after;
    return not_after(bytes().data(), tensor.bytes.data()) &&
           not_after(tensor.bytes.data() + tensor.bytes.size(), bytes().data() + bytes().size());
  }

  /// Reads bytes of a tensor of this file, from its byte `first` on, past the mapping: what was read cannot
  /// change any more. \throws Error (system) if the file was cut or cannot be read.
  void read(const TensorView& tensor, std::size_t first, std::span<std::byte> to) const {
    require(first <= tensor.bytes.size() && to.size() <= tensor.bytes.size() - first,
            tensor_place(path().string(), tensor.name), "read beyond the end of the tensor");
    content_->file.read(offset_of(tensor) + first, to);
  }

  /// \throws Error (system) naming the file if it was written or cut since it was opened.
  void check_unchanged() const { content_->file.check_unchanged(); }

 private:
  struct Content : SafetensorsContent {
    explicit Content(const std::filesystem::path& where) : path(where), file(where) {}
    std::filesystem::path path;
    MappedFile file;
    std::vector<std::size_t> by_name;  ///< positions in `tensors`, sorted by name
  };

  Safetensors() = default;

  static std::vector<std::byte> header_of(const MappedFile& file) {
    std::vector<std::byte> start(std::min<std::size_t>(file.bytes().size(), 8));
    file.read(0, start);
    start.resize(std::min(file.bytes().size(), safetensors_header_end(start)));
    file.read(0, start);
    return start;
  }

  std::size_t offset_of(const TensorView& tensor) const {
    require(holds(tensor), tensor_place(path().string(), tensor.name), "is not a tensor of this file");
    return static_cast<std::size_t>(tensor.bytes.data() - bytes().data());
  }

  TensorView owned(TensorView tensor) const {
    tensor.owner = content_;
    return tensor;
  }

  std::shared_ptr<Content> content_;
};

}  // namespace eso
