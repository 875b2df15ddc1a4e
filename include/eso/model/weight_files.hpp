// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/safetensors.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// The weights of a Hugging Face folder: one `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names.
class WeightFiles {
 public:
  /// Opens all files and checks all headers; reads no weights.
  ///
  /// \par Errors
  /// Input `Error` for a folder that is missing or has no safetensors, a damaged index, and a shard that is
  /// missing or lies outside the folder.
  static WeightFiles open(const std::filesystem::path& folder) {
    std::error_code ignored_code;
    if (!std::filesystem::is_directory(folder, ignored_code))
      throw input_error(folder.string(), "no such folder");
    WeightFiles opened;
    const std::filesystem::path single = folder / "model.safetensors";
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (is_named(single)) {
      opened.files_.push_back(Safetensors::open(single));
      opened.add_tensors(0);
    } else if (is_named(index)) {
      opened.add_shards(folder, index);
    } else {
      throw without_safetensors(folder);
    }
    return opened;
  }

  /// The tensor of this name; nothing where there is none. Throws for one whose type holds no weights.
  std::optional<TensorView> find(std::string_view name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) return std::nullopt;
    return files_[found->second].find(name);
  }

  /// `find` as a function, which keeps the mappings alive.
  TensorLookup lookup() const {
    return [files = *this](std::string_view name) { return files.find(name); };
  }

  /// The names of all tensors that hold weights, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& [name, file] : places_) {
      if (!ignored_.contains(name)) result.push_back(name);
    }
    return result;
  }

  /// `PATH: tensor NAME` for an `Error` about a tensor: the file that has it, or the first where none has.
  std::string place_of(std::string_view name) const {
    const auto found = places_.find(name);
    return tensor_place(files_[found == places_.end() ? 0 : found->second].path().string(), name);
  }

  /// The bytes of a tensor to write to: in memory, never in the file.
  std::span<std::byte> writable(const TensorView& tensor) const {
    const auto found = places_.find(tensor.name);
    require(found != places_.end(), tensor.name, "is not a tensor of these files");
    return files_[found->second].writable(tensor);
  }

  /// Reads bytes of a tensor of these files past the mappings, see `Safetensors::read`.
  void read(const TensorView& tensor, std::size_t first, std::span<std::byte> to) const {
    for (const Safetensors& file : files_) {
      if (file.holds(tensor)) return file.read(tensor, first, to);
    }
    throw input_error(tensor.name, "is not a tensor of these files");
  }

  /// The values of a tensor of these files, converted as `eso::read_values` does, read past the mappings.
  template <std::floating_point Scalar>
  void read_values(const TensorView& tensor, Scalar* out) const {
    const auto count = static_cast<std::size_t>(value_count(tensor));
    if (tensor.type == data_type_of<Scalar>)
      return read(tensor, 0, std::as_writable_bytes(std::span(out, count)));
    const std::size_t size = size_of(tensor.type), most = std::min<std::size_t>(count, std::size_t{1} << 18);
    std::vector<std::byte> stored(most * size);
    for (std::size_t done = 0; done < count; done += most) {
      const std::span<std::byte> some = std::span(stored).first(std::min(most, count - done) * size);
      read(tensor, done * size, some);
      eso::read_values({tensor.name, tensor.type, {}, some, nullptr}, out + done);
    }
  }

  /// \throws Error (system) naming a file that was written or cut since it was opened.
  void check_unchanged() const {
    for (const Safetensors& file : files_) file.check_unchanged();
  }

  /// The files, each once.
  const std::vector<Safetensors>& files() const { return files_; }

 private:
  using Places = std::map<std::string, std::size_t, std::less<>>;  // name of a tensor -> number of its file

  /// Adds what the shards hold, whatever the index says of it: it only tells which files there are. Of a
  /// tensor that lies in several the last counts, by the shards' names, as in transformers.
  void add_shards(const std::filesystem::path& folder, const std::filesystem::path& index) {
    std::map<std::string, std::size_t> numbers;
    for (const std::string& name : shard_names(index)) {
      const std::string shard = std::filesystem::path(name).lexically_normal().string();
      const auto [entry, is_new] = numbers.emplace(shard, files_.size());
      if (is_new) files_.push_back(open_shard(folder / shard, index));
      add_tensors(entry->second);
    }
  }

  void add_tensors(std::size_t number) {
    for (const TensorView& tensor : files_[number].tensors()) {
      places_.insert_or_assign(tensor.name, number);
      ignored_.erase(tensor.name);
    }
    for (const IgnoredTensor& tensor : files_[number].ignored()) {
      places_.insert_or_assign(tensor.name, number);
      ignored_.insert_or_assign(tensor.name, number);
    }
  }

  static Safetensors open_shard(const std::filesystem::path& path, const std::filesystem::path& index) {
    std::error_code ignored_code;
    if (!std::filesystem::exists(path, ignored_code)) {
      throw input_error(path.string(), fmt::format("is missing, named by {}", index.filename().string()));
    }
    return Safetensors::open(path);
  }

  /// The shards' names as the index spells them, sorted.
  static std::set<std::string> shard_names(const std::filesystem::path& index) {
    const std::string where = index.string();
    const nlohmann::json json = read_json_file(index);
    if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
      throw input_error(where, "has no weight_map");
    }
    std::set<std::string> result;
    for (const auto& [name, shard] : json["weight_map"].items()) {
      if (!shard.is_string())
        throw input_error(where, "the shard of " + shortened(name) + " is not a string");
      const auto& shard_name = shard.get_ref<const std::string&>();
      if (!leads_into_folder(shard_name)) {
        throw input_error(where, "the shard of " + shortened(name) + " is not a file of this folder",
                          shortened(shard_name));
      }
      result.insert(shard_name);
    }
    if (result.empty()) throw input_error(where, "has an empty weight_map");
    return result;
  }

  /// Whether the name is that of a file in the folder, or in one below it: it must not lead anywhere else.
  static bool leads_into_folder(const std::string& name) {
    if (name.size() > 255 || name.find_first_of(std::string_view("\\\0", 2)) != std::string::npos)
      return false;
    const std::filesystem::path path = std::filesystem::path(name).lexically_normal();
    return path.has_filename() && path.is_relative() && path != "." && *path.begin() != "..";
  }

  static Error without_safetensors(const std::filesystem::path& folder) {
    std::error_code ignored_code;
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored_code)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("pytorch_model") &&
          (name.ends_with(".bin") || name.ends_with(".bin.index.json"))) {
        return input_error(folder.string(), "weights must be safetensors", name, "model.safetensors");
      }
    }
    return input_error(folder.string(), "has no weights", {},
                       "model.safetensors or model.safetensors.index.json");
  }

  std::vector<Safetensors> files_;
  Places places_, ignored_;
};

}  // namespace eso
