// SPDX-License-Identifier: MIT
// The header of a safetensors file. An input that begins with { is the JSON and, behind a byte 0xFF, the
// values; its length is put before it here. Any other input is the whole file.

#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "eso/model/safetensors_header.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "eso/model/tensor_values.hpp"
#include "fuzz.hpp"

namespace {

std::string with_length(std::string_view json, std::string_view values) {
  const std::uint64_t size = json.size();
  return std::string(reinterpret_cast<const char*>(&size), 8).append(json).append(values);
}

/// As many zero bytes as the largest number in data_offsets asks for, where that is not too many.
std::string wanted_values(std::string_view json) {
  std::uint64_t end = 0;
  const auto header = nlohmann::json::parse(json, nullptr, false);
  if (!header.is_object()) return {};
  for (const auto& entry : header) {
    if (!entry.is_object() || !entry.contains("data_offsets") || !entry["data_offsets"].is_array()) continue;
    for (const auto& offset : entry["data_offsets"]) {
      if (offset.is_number_unsigned()) end = std::max(end, offset.get<std::uint64_t>());
    }
  }
  return std::string(end <= 4096 ? end : 0, '\0');
}

/// What every accepted file obeys.
void check_content(const eso::SafetensorsContent& content, std::span<const std::byte> file) {
  const nlohmann::json header = nlohmann::json::parse(eso::safetensors_header(file, "file"));
  std::set<std::string> names;
  const std::byte* covered = file.data() + 8;
  for (const eso::TensorView& tensor : content.tensors) {
    fuzz::check(names.insert(tensor.name).second, "no name stands twice");
    const std::byte* end = tensor.bytes.data() + tensor.bytes.size();
    fuzz::check(tensor.bytes.data() >= covered, "tensors do not overlap and are in order");
    fuzz::check(end <= file.data() + file.size(), "tensors lie inside the file");
    covered = end;
    std::size_t count = 1;
    for (const eso::Index dimension : tensor.shape) {
      fuzz::check(dimension >= 0, "no dimension is negative");
      count *= static_cast<std::size_t>(dimension);
    }
    fuzz::check(count * eso::size_of(tensor.type) == tensor.bytes.size(), "shape and bytes agree");
    std::vector<double> doubles(count);
    std::vector<float> floats(count);
    eso::read_values(tensor, doubles.data());
    eso::read_values(tensor, floats.data());
    const auto values = file.data() + 8 + eso::safetensors_header(file, "file").size();
    fuzz::check(header.at(tensor.name).at("data_offsets").at(0) == tensor.bytes.data() - values,
                "a tensor lies where the header says");
  }
  for (const eso::IgnoredTensor& tensor : content.ignored) names.insert(tensor.name);
  fuzz::check(names.size() == content.tensors.size() + content.ignored.size(), "no name stands twice");
  fuzz::check(names.size() + header.contains("__metadata__") == header.size(), "every tensor is reported");
}

/// What was read can be written, and is then read as the same.
void check_written_again(const eso::SafetensorsContent& content) {
  std::vector<std::byte> file;
  eso::stream_safetensors(content.tensors, content.metadata, {}, [&](std::span<const std::byte> bytes) {
    file.insert(file.end(), bytes.begin(), bytes.end());
  });
  const eso::SafetensorsContent again = eso::read_safetensors_header(file, "file");
  fuzz::check(again.metadata == content.metadata, "metadata survive writing");
  fuzz::check(again.tensors.size() == content.tensors.size(), "tensors survive writing");
  for (std::size_t i = 0; i < again.tensors.size(); ++i) {
    const eso::TensorView &a = content.tensors[i], &b = again.tensors[i];
    const bool same = std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end());
    fuzz::check(a.name == b.name && a.type == b.type && a.shape == b.shape && same,
                "a tensor survives writing");
  }
}

bool accepts(std::string_view bytes) {
  const std::span<const std::byte> file = std::as_bytes(std::span(bytes));
  const auto content = fuzz::attempt([&] { return eso::read_safetensors_header(file, "file"); });
  if (!content) return false;
  check_content(*content, file);
  check_written_again(*content);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::QuickEnough quick;
  const std::string_view input = fuzz::text_of(data, size);
  if (!input.starts_with('{')) return accepts(input), 0;
  const auto parts = fuzz::parts_of(input, 2);
  if (!accepts(with_length(parts[0], parts[1]))) accepts(with_length(parts[0], wanted_values(parts[0])));
  return 0;
}
