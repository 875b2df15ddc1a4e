// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/safetensors_header.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/tensor.hpp"
#include "eso/train/durable_file.hpp"

namespace eso {

/// Throws an input `Error` unless `tensor` can be stored as `type`. Refused: bfloat16 from float64 (it would
/// be rounded twice) and float16 from anything else.
inline void check_storable(const TensorView& tensor, DataType type) {
  if (tensor.type == type) return;
  if (type == DataType::float16 || (type == DataType::bfloat16 && tensor.type == DataType::float64)) {
    throw input_error(tensor.name, "cannot be stored in another type", std::string(name_of(tensor.type)),
                      std::string(name_of(type)));
  }
}

/// \throws Error (input) naming the tensor for a finite number that rounds to infinity in the type it is
/// stored as.
template <class Read, class Stored>
void check_still_finite(const TensorView& tensor, DataType type, Read value, Stored rounded) {
  if (!std::isinf(rounded) || std::isinf(value)) return;
  throw input_error(tensor.name, fmt::format("a value becomes infinite as {}", name_of(type)),
                    fmt::format("{}", value));
}

/// Calls `sink(bytes)` with the values of `tensor` as `type`, in blocks. float32 from float64 and bfloat16
/// round to nearest, ties to even. Throws as `check_storable` says, and an input `Error` that names the
/// tensor for a finite number that becomes infinite.
template <class Sink>
void convert_values(const TensorView& tensor, DataType type, Sink&& sink) {
  if (tensor.type == type) return sink(tensor.bytes);
  check_storable(tensor, type);
  constexpr Index block = 16384;
  const auto convert = [&]<class Read, class Stored>(Read, Stored, auto&& stored_of, auto&& value_of) {
    std::vector<Read> values(static_cast<std::size_t>(std::min(block, value_count(tensor))));
    std::vector<Stored> stored(values.size());
    for (Index begin = 0; begin < value_count(tensor); begin += block) {
      const auto count = static_cast<std::size_t>(std::min(block, value_count(tensor) - begin));
      read_values(tensor, begin, static_cast<Index>(count), values.data());
      for (std::size_t i = 0; i < count; ++i) {
        stored[i] = stored_of(values[i]);
        check_still_finite(tensor, type, values[i], value_of(stored[i]));
      }
      sink(std::as_bytes(std::span(stored).first(count)));
    }
  };
  const auto same = [](auto value) { return value; };
  switch (type) {
    case DataType::float64:
      return convert(double{}, double{}, same, same);
    case DataType::float32:
      if (tensor.type == DataType::float64)
        return convert(double{}, float{}, [](double value) { return static_cast<float>(value); }, same);
      return convert(float{}, float{}, same, same);
    default:
      return convert(float{}, std::uint16_t{}, float_to_bfloat16, bfloat16_to_float);
  }
}

/// The 8 bytes of length and the JSON of a safetensors file with these tensors, one after the other, padded
/// with spaces so that the values begin at a multiple of 8.
///
/// \par Errors
/// Input `Error` for names that stand twice or are `__metadata__`, text that is not UTF-8, a negative
/// dimension, bytes that do not fit the shape, and what `check_storable` refuses.
inline std::string make_safetensors_header(std::span<const TensorView> tensors,
                                           const std::map<std::string, std::string>& metadata,
                                           std::optional<DataType> store_as) {
  std::string json = "{";
  const auto quoted = [](const std::string& text) {
    try {
      return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
      throw input_error("write_safetensors", "a name is not valid UTF-8");
    }
  };
  for (const auto& [key, text] : metadata) {
    json += fmt::format("{}{}:{}", json.size() == 1 ? "\"__metadata__\":{" : ",", quoted(key), quoted(text));
  }
  if (!metadata.empty()) json += "}";
  std::set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const TensorView& tensor : tensors) {
    require(tensor.name != "__metadata__", "write_safetensors", "a tensor cannot be called __metadata__");
    require(names.insert(tensor.name).second, tensor.name, "write_safetensors has two tensors of this name");
    std::uint64_t count = 1;
    for (const Index dimension : tensor.shape) {
      require(dimension >= 0 && !__builtin_mul_overflow(count, static_cast<std::uint64_t>(dimension), &count),
              tensor.name, "write_safetensors got an impossible shape");
    }
    if (tensor.bytes.size() % size_of(tensor.type) != 0 ||
        tensor.bytes.size() / size_of(tensor.type) != count) {
      throw input_error(tensor.name, "bytes do not fit the shape",
                        fmt::format("{} bytes", tensor.bytes.size()),
                        fmt::format("{} numbers of {} bytes", count, size_of(tensor.type)));
    }
    const DataType type = store_as.value_or(tensor.type);
    check_storable(tensor, type);
    json += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},",
                        json.size() == 1 ? "" : ",", quoted(tensor.name), name_of(type),
                        fmt::join(tensor.shape, ","), offset);
    offset += count * size_of(type);
    json += fmt::format("{}]}}", offset);
  }
  json += "}";
  json.append((8 - json.size() % 8) % 8, ' ');
  const auto length = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(json.size()));
  return std::string(length.data(), length.size()) + json;
}

/// Gives the bytes of a safetensors file to `sink(bytes)`, from the first to the last.
///
/// The tensors stand in the order given and the bytes depend on nothing else. `store_as` converts all of them
/// (see `convert_values`); without it each keeps its type. Nothing is copied but a block at a time. Throws as
/// `make_safetensors_header` says, before the first byte.
template <class Sink>
void stream_safetensors(std::span<const TensorView> tensors,
                        const std::map<std::string, std::string>& metadata, std::optional<DataType> store_as,
                        Sink&& sink) {
  const std::string header = make_safetensors_header(tensors, metadata, store_as);
  sink(std::as_bytes(std::span(header)));
  for (const TensorView& tensor : tensors) convert_values(tensor, store_as.value_or(tensor.type), sink);
}

/// Writes a safetensors file (see `stream_safetensors`), durably: after a failure or a crash there is the
/// whole file or what was there before. Gives the size and checksum of the file.
///
/// \par Errors
/// Input `Error` as `make_safetensors_header` says, before anything is written; system `Error` that names
/// `path`.
inline FileDigest write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                                    const std::map<std::string, std::string>& metadata = {},
                                    std::optional<DataType> store_as = {}) {
  DurableFile file(path);
  stream_safetensors(tensors, metadata, store_as,
                     [&](std::span<const std::byte> bytes) { file.write(bytes); });
  return file.commit();
}

}  // namespace eso
