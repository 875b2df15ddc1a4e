// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/tensor.hpp"
#include "eso/text/file_kind.hpp"

namespace eso {

/// A tensor of a type that holds no weights (integers, booleans, 8-bit floats): legal in a file, of no use
/// here.
struct IgnoredTensor {
  std::string name;
  std::string type;  ///< as the file spells it, "I64"
  std::vector<Index> shape;
};

/// What a safetensors file says about itself.
struct SafetensorsContent {
  std::vector<TensorView> tensors;  ///< in the order of their bytes; views into the file, without an owner
  std::vector<IgnoredTensor> ignored;
  std::map<std::string, std::string> metadata;
};

/// `name`, cut to a length that fits a message, between two characters.
inline std::string shortened(std::string_view name) {
  if (name.size() <= 200) return std::string(name);
  std::size_t length = 200;
  while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xC0U) == 0x80U) --length;
  return std::string(name.substr(0, length)) + "...";
}

/// The place that an `Error` about a tensor of a file names.
inline std::string tensor_place(std::string_view path, std::string_view name) {
  return fmt::format("{}: tensor {}", path, shortened(name));
}

/// Reads the JSON of a safetensors header event by event, so that a name that stands twice is seen and
/// nothing is built that the format does not have. The members are those of nlohmann's SAX interface.
class SafetensorsHeaderReader {
 public:
  struct Entry {
    std::string name, type;
    std::vector<std::uint64_t> shape, offsets;
    bool has_type = false, has_shape = false, has_offsets = false;
  };

  explicit SafetensorsHeaderReader(std::string where) : where_(std::move(where)) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() {
    if (place_ == Place::root && key_ == "__metadata__") {
      if (std::exchange(has_metadata_, true)) throw twice("__metadata__");
      return true;  // as the reference reader takes it
    }
    return other("null");
  }
  bool boolean(bool) { return other("a boolean"); }
  bool number_integer(std::int64_t) { return other("a negative number"); }
  bool number_float(double, const std::string&) { return other("a number that is not a plain integer"); }
  bool binary(std::vector<std::uint8_t>&) { return other("binary data"); }
  bool number_unsigned(std::uint64_t value) {
    if (place_ != Place::numbers) return other("a number");
    numbers_->push_back(value);
    return true;
  }
  bool string(std::string& text) {
    if (place_ == Place::metadata) {
      if (!metadata.emplace(key_, std::move(text)).second) throw twice("metadata key " + shortened(key_));
      return true;
    }
    if (place_ != Place::tensor || field_ != Field::type) return other("a string");
    entries.back().type = std::move(text);
    return true;
  }
  bool start_object(std::size_t) {
    if (place_ == Place::start) {
      place_ = Place::root;
    } else if (place_ == Place::root) {
      place_ = key_ == "__metadata__" ? Place::metadata : Place::tensor;
      if (place_ == Place::tensor) entries.emplace_back().name = key_;
      if (place_ == Place::metadata && std::exchange(has_metadata_, true)) throw twice("__metadata__");
    } else {
      return nested("an object");
    }
    return true;
  }
  bool key(std::string& name) {
    if (skipped_depth_ > 0) return true;
    key_ = std::move(name);
    if (place_ == Place::tensor) select_field();
    return true;
  }
  bool end_object() {
    if (skipped_depth_ > 0) return --skipped_depth_, true;
    place_ = place_ == Place::root ? Place::end : Place::root;
    return true;
  }
  bool start_array(std::size_t) {
    if (place_ != Place::tensor || (field_ != Field::shape && field_ != Field::offsets))
      return nested("an array");
    place_ = Place::numbers;
    numbers_ = field_ == Field::shape ? &entries.back().shape : &entries.back().offsets;
    return true;
  }
  bool end_array() {
    if (skipped_depth_ > 0) return --skipped_depth_, true;
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    throw input_error(where_, fmt::format("the header is not valid JSON at byte {}", position));
  }

 private:
  enum class Place { start, root, metadata, tensor, numbers, end };
  enum class Field { type, shape, offsets, unknown };

  void select_field() {
    Entry& entry = entries.back();
    const auto once = [&](bool& seen, Field field) {
      if (std::exchange(seen, true)) throw twice(fmt::format("{} of tensor {}", key_, shortened(entry.name)));
      field_ = field;
    };
    if (key_ == "dtype") return once(entry.has_type, Field::type);
    if (key_ == "shape") return once(entry.has_shape, Field::shape);
    if (key_ == "data_offsets") return once(entry.has_offsets, Field::offsets);
    field_ = Field::unknown;
  }

  /// A value that only an unknown field of a tensor may have.
  bool other(const char* found) const {
    if (place_ == Place::tensor && field_ == Field::unknown) return true;
    throw misplaced(found);
  }
  bool nested(const char* found) {
    if (place_ != Place::tensor || field_ != Field::unknown) throw misplaced(found);
    if (++skipped_depth_ > 100) throw input_error(where_, "the header is nested too deeply");
    return true;
  }
  Error misplaced(const char* found) const {
    const char* const expected[] = {"an object",
                                    "an object for each tensor",
                                    "strings as metadata",
                                    "dtype, shape and data_offsets",
                                    "non-negative integers",
                                    "the end"};
    std::string where = where_;
    if (place_ == Place::root) where = tensor_place(where_, key_);
    if (place_ == Place::tensor || place_ == Place::numbers)
      where = tensor_place(where_, entries.back().name);
    return input_error(where, "the header has the wrong form", found, expected[static_cast<int>(place_)]);
  }
  Error twice(const std::string& what) const {
    return input_error(where_, fmt::format("{} stands twice in the header", what));
  }

  std::string where_, key_;
  Place place_ = Place::start;
  Field field_ = Field::unknown;
  std::vector<std::uint64_t>* numbers_ = nullptr;
  int skipped_depth_ = 0;
  bool has_metadata_ = false;
};

/// Bits of one number of a type that the format knows; nothing for any other name.
inline std::optional<std::uint64_t> safetensors_bits(std::string_view type) {
  const std::pair<std::string_view, std::uint64_t> known[] = {
      {"F64", 64},        {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},    {"U64", 64},
      {"C64", 64},        {"I32", 32},    {"U32", 32},    {"I16", 16},    {"U16", 16},    {"I8", 8},
      {"U8", 8},          {"BOOL", 8},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};
  for (const auto& entry : known) {
    if (entry.first == type) return entry.second;
  }
  return std::nullopt;
}

/// The type of the numbers if they are ones to compute with.
inline std::optional<DataType> floating_point_type(std::string_view name) {
  if (name == "F64") return DataType::float64;
  if (name == "F32") return DataType::float32;
  if (name == "F16") return DataType::float16;
  if (name == "BF16") return DataType::bfloat16;
  return std::nullopt;
}

/// Checks one entry against the bytes it claims, out of `available`.
inline void check_entry(const SafetensorsHeaderReader::Entry& entry, std::uint64_t available,
                        const std::string& path) {
  const auto wrong = [&](std::string what, std::string found = {}, std::string expected = {}) {
    return input_error(tensor_place(path, entry.name), std::move(what), std::move(found),
                       std::move(expected));
  };
  if (!entry.has_type) throw wrong("the header gives no dtype");
  if (!entry.has_shape) throw wrong("the header gives no shape");
  if (!entry.has_offsets) throw wrong("the header gives no data_offsets");
  const std::optional<std::uint64_t> bits = safetensors_bits(entry.type);
  if (!bits) throw wrong("unknown dtype", shortened(entry.type));
  std::uint64_t size = 1;
  for (const std::uint64_t dimension : entry.shape) {
    if (dimension > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()) ||
        __builtin_mul_overflow(size, dimension, &size)) {
      throw wrong("the shape is too large");
    }
  }
  if (__builtin_mul_overflow(size, *bits, &size)) throw wrong("the shape is too large");
  if (size % 8 != 0) throw wrong("the values do not fill whole bytes");
  if (entry.offsets.size() != 2) {
    throw wrong("data_offsets are wrong", fmt::format("{} numbers", entry.offsets.size()), "begin and end");
  }
  const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  if (begin > end) throw wrong("data_offsets end before they begin", fmt::format("[{}, {}]", begin, end));
  if (end > available) {
    throw wrong("data_offsets lie outside the file", fmt::format("[{}, {}]", begin, end),
                fmt::format("at most {}", available));
  }
  if (end - begin != size / 8) {
    throw wrong("shape and data_offsets disagree", fmt::format("{} bytes", end - begin),
                fmt::format("{} bytes", size / 8));
  }
}

/// Checks that the tensors, sorted by their place, cover the `available` bytes without overlap or hole.
inline void check_coverage(const std::vector<SafetensorsHeaderReader::Entry>& entries,
                           std::uint64_t available, const std::string& path) {
  std::uint64_t covered = 0;
  for (const auto& entry : entries) {
    if (entry.offsets[0] != covered) {
      throw input_error(
          tensor_place(path, entry.name),
          entry.offsets[0] < covered ? "overlaps the tensor before it" : "leaves a hole before it",
          fmt::format("offset {}", entry.offsets[0]), fmt::format("offset {}", covered));
    }
    covered = entry.offsets[1];
  }
  if (covered != available) {
    throw input_error(path, "the tensors do not cover the file", fmt::format("{} bytes of values", available),
                      fmt::format("{} bytes", covered));
  }
}

/// The longest header that is read, in bytes.
inline constexpr std::uint64_t largest_safetensors_header = 100'000'000;

/// How much of a file that begins with these bytes `safetensors_header` needs: up to the end of the header, or
/// what tells mistaken content where the length would be refused.
inline std::size_t safetensors_header_end(std::span<const std::byte> start) {
  std::uint64_t length = 0;
  if (start.size() >= 8) std::memcpy(&length, start.data(), 8);
  return 8 + static_cast<std::size_t>(length > largest_safetensors_header ? 504 : length);
}

/// The JSON text of the header, after the checks of its length.
inline std::string_view safetensors_header(std::span<const std::byte> file, const std::string& path) {
  constexpr std::uint64_t largest = largest_safetensors_header;
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  const auto refuse = [&](std::string what, std::string found = {}, std::string expected = {}) {
    const std::string_view mistaken = mistaken_content(bytes);
    if (!mistaken.empty()) return input_error(path, std::string(mistaken), {}, "safetensors");
    return input_error(path, std::move(what), std::move(found), std::move(expected));
  };
  if (file.size() < 8) throw refuse("too short for safetensors", fmt::format("{} bytes", file.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > largest) {
    throw refuse("the header is too long", fmt::format("{} bytes", length),
                 fmt::format("at most {}", largest));
  }
  if (length > file.size() - 8) {
    throw refuse("the file ends inside its header", fmt::format("{} bytes", file.size()),
                 fmt::format("at least {}", length + 8));
  }
  const std::string_view header = bytes.substr(8, static_cast<std::size_t>(length));
  if (header.empty() || header.front() != '{') throw refuse("the header does not begin with {");
  // The JSON parser would take a zero byte as the end and never see what follows.
  if (header.find('\0') != std::string_view::npos) throw input_error(path, "the header has a zero byte");
  return header;
}

/// `read_safetensors_header` below for a header that was read before: `header` is its text, `file` is only
/// pointed at.
inline SafetensorsContent read_safetensors_header(std::string_view header, std::span<const std::byte> file,
                                                  const std::string& path) {
  SafetensorsHeaderReader reader(path);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);
  std::sort(reader.entries.begin(), reader.entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < reader.entries.size(); ++i) {
    if (reader.entries[i].name == reader.entries[i - 1].name) {
      throw input_error(tensor_place(path, reader.entries[i].name), "stands twice in the header");
    }
  }
  const std::span<const std::byte> values = file.subspan(8 + header.size());
  for (const auto& entry : reader.entries) check_entry(entry, values.size(), path);
  std::stable_sort(reader.entries.begin(), reader.entries.end(),
                   [](const auto& a, const auto& b) { return a.offsets < b.offsets; });
  check_coverage(reader.entries, values.size(), path);
  SafetensorsContent content;
  content.metadata = std::move(reader.metadata);
  for (auto& entry : reader.entries) {
    std::vector<Index> shape(entry.shape.begin(), entry.shape.end());
    if (const std::optional<DataType> type = floating_point_type(entry.type)) {
      content.tensors.push_back({std::move(entry.name), *type, std::move(shape),
                                 values.subspan(entry.offsets[0], entry.offsets[1] - entry.offsets[0]),
                                 nullptr});
    } else {
      content.ignored.push_back({std::move(entry.name), std::move(entry.type), std::move(shape)});
    }
  }
  return content;
}

/// Reads and checks the header of a safetensors file that lies in memory; `path` is what errors name.
///
/// Everything the format demands is checked before a single view is handed out: the length of the header (at
/// most 100 MB and inside the file), JSON in UTF-8 without names that stand twice, known types, shapes of
/// non-negative integers whose product does not overflow, and offsets that agree with type and shape and
/// together cover the file without overlap or hole. Memory is bounded by a multiple of the header's length.
/// O(n log n) for n tensors.
///
/// Source: the format section of the safetensors README. Fields of a tensor that it does not name are passed
/// over, as the reference reader does; names that stand twice are refused, where that reader takes the last.
inline SafetensorsContent read_safetensors_header(std::span<const std::byte> file, const std::string& path) {
  return read_safetensors_header(safetensors_header(file, path), file, path);
}

}  // namespace eso
