// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eso/model/decoder.hpp"
#include "eso/model/model_files.hpp"
#include "eso/model/safetensors_writer.hpp"

namespace eso {

/// A model read from a Hugging Face folder.
template <class Scalar>
struct LoadedModel {
  Decoder<Scalar> decoder;
  nlohmann::json config;             ///< of the folder
  std::vector<std::string> ignored;  ///< tensors of the files that the model has no use for
  /// Where weights are used in the mapped files, these: ask them with `check_unchanged` whether what was
  /// computed is of the weights that were loaded.
  std::shared_ptr<const WeightFiles> files = nullptr;
};

/// Where the weights of a loaded model lie.
enum class WeightMemory : std::uint8_t {
  copied,  ///< in memory of the model: what happens to the files later does not touch it
  /// float32 where the files are mapped: processes share them, loading copies nothing. Who cuts a file in use
  /// ends the process by SIGBUS, who writes into it changes the weights, which `check_unchanged` tells.
  mapped
};

/// \throws Error (input) naming the tensor if any has a value that is not finite.
template <class Scalar>
void check_finite(const std::vector<StoredArray<Scalar>>& stored, const std::filesystem::path& folder,
                  Threads& threads) {
  threads.for_each(static_cast<Index>(stored.size()), [&](Index i) {
    const auto& array = stored[static_cast<std::size_t>(i)];
    for (std::size_t t = 0; t < array.names.size(); ++t) {
      const Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>> values(array.tensor(t),
                                                                             array.tensor_size());
      if (values.isFinite().all()) continue;
      throw input_error(folder.string(),
                        fmt::format("the tensor {} has a value that is not finite", array.names[t]));
    }
  });
}

/// Loads a folder: `config.json` and `model.safetensors`, or shards with their index, in float32, float16 or
/// bfloat16. Weights of another type than `Scalar` are converted, and those of several tensors put together:
/// they are copied always. Names may lack the prefix `transformer.`, `model.` or `gpt_neox.`.
///
/// \throws Error (input) naming the file and the tensor for a missing one, a wrong shape, a value that is not
/// finite; (system) for a file that cannot be read, or was changed meanwhile.
template <class Scalar>
LoadedModel<Scalar> load_model(const std::filesystem::path& folder, std::shared_ptr<Threads> threads,
                               WeightMemory where = WeightMemory::copied) {
  struct Memory {
    std::shared_ptr<const WeightFiles> files;
    std::vector<Eigen::Array<Scalar, Eigen::Dynamic, 1>> converted;  // or copied
  };
  ModelFiles opened = open_model_files(folder);
  auto memory = std::make_shared<Memory>();
  std::vector<StoredArray<Scalar>> stored;
  std::vector<std::pair<std::size_t, const FileArray*>> copied;
  for (const FileArray& array : opened.arrays) {
    stored.push_back({array.spec, array.names, nullptr});
    const TensorView& first = array.tensors.front();
    if (where == WeightMemory::mapped && std::is_same_v<Scalar, float> && array.tensors.size() == 1 &&
        is_aligned_float32(first)) {
      memory->files = opened.files;
      // The mapping is private and writable; only the view of it is constant.
      stored.back().value = reinterpret_cast<Scalar*>(const_cast<std::byte*>(first.bytes.data()));
      continue;
    }
    memory->converted.emplace_back(array.spec.size());
    stored.back().value = memory->converted.back().data();
    copied.emplace_back(stored.size() - 1, &array);
  }
  threads->for_each(static_cast<Index>(copied.size()), [&](Index i) {
    const auto& [at, array] = copied[static_cast<std::size_t>(i)];
    for (std::size_t t = 0; t < array->tensors.size(); ++t)
      opened.files->read_values(array->tensors[t], stored[at].tensor(t));
  });
  check_finite(stored, folder, *threads);
  opened.files->check_unchanged();
  return {Decoder<Scalar>(opened.settings.architecture, std::move(stored), memory, std::move(threads)),
          std::move(opened.settings.config), std::move(opened.ignored), memory->files};
}

/// A model with random weights, for training from scratch; see `fill_random`.
template <class Scalar>
Decoder<Scalar> random_model(const Architecture& a, std::uint64_t seed, std::shared_ptr<Threads> threads) {
  parameter_count(a);
  auto memory = std::make_shared<std::vector<Eigen::Array<Scalar, Eigen::Dynamic, 1>>>();
  std::vector<StoredArray<Scalar>> stored;
  std::uint32_t number = 0;
  for (const ArraySpec& spec : arrays(a)) {
    Eigen::Array<Scalar, Eigen::Dynamic, 1>& values = memory->emplace_back(spec.size());
    fill_random(a, spec, number++, seed, values.data());
    stored.push_back({spec, written_names(a, spec), values.data()});
  }
  return Decoder<Scalar>(a, std::move(stored), memory, std::move(threads));
}

/// Writes `model.safetensors` and `config.json` into the existing `folder`, as transformers names and lays
/// them out.
///
/// `config` is that of the folder the model came from; its type is set to that of the weights.
///
/// \throws Error (system) if the disk is full or the folder cannot be written, (input) naming the tensor for
/// a number that `store_as` cannot hold; nothing is written then.
template <class Scalar>
void write_model(const std::filesystem::path& folder, const Decoder<Scalar>& decoder, nlohmann::json config,
                 std::optional<DataType> store_as = std::nullopt) {
  write_safetensors(folder / "model.safetensors", decoder.state(), {{"format", "pt"}}, store_as);
  write_config(folder, std::move(config), decoder.architecture().family,
               store_as.value_or(data_type_of<Scalar>));
}

}  // namespace eso
