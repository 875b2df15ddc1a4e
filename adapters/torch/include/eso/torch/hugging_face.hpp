// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eso/model/model_files.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "eso/torch/decoder.hpp"

namespace eso::torch {

/// A model read from a Hugging Face folder.
struct LoadedModel {
  Decoder decoder;
  nlohmann::json config;             ///< of the folder
  std::vector<std::string> ignored;  ///< tensors of the files that the model has no use for
};

/// The type that the weights are held in: what is trained is never rounded to what products are computed in.
inline at::ScalarType held_type(const DecoderOptions& options) {
  const bool trained = options.trains && !options.lora.on();
  return trained ? master_type(options.precision) : compute_type(options.precision);
}

/// Loads a folder as `eso::load_model` does, copied to the device, with eso's own reader: nothing is ever
/// unpickled.
///
/// \throws Error (input) naming the file and the tensor for a missing one, a wrong shape, a value that is not
/// finite; (system) for a file that cannot be read, or was changed meanwhile.
inline LoadedModel load_model(const std::filesystem::path& folder, const DecoderOptions& options) {
  ModelFiles opened = open_model_files(folder);
  std::vector<DeviceArray> taken;
  for (const FileArray& array : opened.arrays) {
    std::vector<at::Tensor> pieces;
    for (const TensorView& view : array.tensors) {
      const std::vector<std::int64_t> shape(view.shape.begin(), view.shape.end());
      const at::Tensor stored = at::empty(shape, at::TensorOptions(scalar_type(view.type)));
      opened.files->read(view, 0, {static_cast<std::byte*>(stored.data_ptr()), stored.nbytes()});
      pieces.push_back(stored.to(at::TensorOptions(held_type(options)).device(options.device)));
      if (at::isfinite(pieces.back()).all().item<bool>()) continue;
      throw input_error(folder.string(),
                        fmt::format("the tensor {} has a value that is not finite", view.name));
    }
    taken.push_back({array.spec, array.names, pieces.size() == 1 ? pieces.front() : at::cat(pieces)});
  }
  opened.files->check_unchanged();
  return {Decoder(opened.settings.architecture, std::move(taken), options), std::move(opened.settings.config),
          std::move(opened.ignored)};
}

/// A model with random weights, the same numbers as `eso::random_model` gives; see `fill_random`.
inline Decoder random_model(const Architecture& a, std::uint64_t seed, const DecoderOptions& options) {
  parameter_count(a);
  std::vector<DeviceArray> taken;
  std::uint32_t number = 0;
  for (const ArraySpec& spec : arrays(a)) {
    const std::vector<std::int64_t> shape(spec.shape.begin(), spec.shape.end());
    const at::Tensor values = at::empty(shape, at::kFloat);
    fill_random(a, spec, number++, seed, values.data_ptr<float>());
    taken.push_back({spec, written_names(a, spec), values.to(options.device, held_type(options))});
  }
  return Decoder(a, std::move(taken), options);
}

/// Writes `model.safetensors` and `config.json` into the existing `folder`, as transformers names and lays
/// them out, adapters merged into the weights.
///
/// `config` is that of the folder the model came from; its type is set to that of the weights: what products
/// are computed in, unless `store_as` says otherwise.
///
/// \throws Error (system) if the disk is full or the folder cannot be written, (input) naming the tensor for
/// a number that the type cannot hold; nothing is written then.
inline void write_model(const std::filesystem::path& folder, const Decoder& decoder, nlohmann::json config,
                        std::optional<DataType> store_as = std::nullopt) {
  const DataType products = data_type(compute_type(decoder.options().precision));
  const DataType type = store_as.value_or(products);
  write_safetensors(folder / "model.safetensors", decoder.merged_state(type == products), {{"format", "pt"}},
                    type);
  write_config(folder, std::move(config), decoder.architecture().family, type);
}

}  // namespace eso::torch
