// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "eso/model/decoder.hpp"
#include "eso/model/gpt2.hpp"
#include "eso/model/gpt_neox.hpp"
#include "eso/model/opt.hpp"
#include "eso/model/safetensors.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/model/weight_files.hpp"

namespace eso {

/// What `config.json` of a Hugging Face folder says.
struct ModelSettings {
  Architecture architecture;
  nlohmann::json config;  ///< as it stands there, to be written back
};

/// Reads `folder/config.json`.
///
/// \throws Error (input) naming the file and the key, or the `model_type` where it is no known one.
inline ModelSettings read_settings(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    throw input_error(folder.string(), "no such model folder");
  ModelSettings settings{{}, read_json_file(path)};
  const JsonNode config(settings.config, path);
  const ConfigValues values(config);
  const std::string& type = config.at("model_type").string();
  if (type == "gpt2") {
    settings.architecture = gpt2_architecture(values);
  } else if (type == "opt") {
    settings.architecture = opt_architecture(values);
  } else if (type == "gpt_neox") {
    settings.architecture = gpt_neox_architecture(values);
  } else {
    throw input_error(path.string(), "\"model_type\" is not supported", in_quotes(type),
                      "\"gpt2\", \"opt\" or \"gpt_neox\"");
  }
  return settings;
}

/// The rates of dropout that `folder/config.json` asks for while training.
///
/// \throws Error (input) as `read_settings`, and naming file and key for a rate that is none.
inline DropoutRates read_dropout(const std::filesystem::path& folder) {
  const ModelSettings settings = read_settings(folder);
  const ConfigValues values(JsonNode(settings.config, folder / "config.json"));
  switch (settings.architecture.family) {
    case Family::gpt2:
      return gpt2_dropout(values);
    case Family::opt:
      return opt_dropout(values);
    case Family::gpt_neox:
      return gpt_neox_dropout(values);
  }
  return {};
}

/// A model read from a Hugging Face folder.
template <class Scalar>
struct LoadedModel {
  Decoder<Scalar> decoder;
  nlohmann::json config;             ///< of the folder
  std::vector<std::string> ignored;  ///< tensors of the files that the model has no use for
};

/// The names that transformers writes for the tensors of an array: one, but for OPT's queries, keys and
/// values, each a third of the rows.
inline std::vector<std::string> written_names(const Architecture& a, const ArraySpec& spec) {
  if (spec.role == Role::head) return {a.family == Family::gpt_neox ? "embed_out.weight" : "lm_head.weight"};
  switch (a.family) {
    case Family::gpt2:
      return {"transformer." + gpt2_name(spec.role, spec.layer)};
    case Family::gpt_neox:
      return {"gpt_neox." + gpt_neox_name(spec.role, spec.layer)};
    case Family::opt:
      break;
  }
  std::vector<std::string> names = opt_names(spec.role, spec.layer);
  for (std::string& name : names) name.insert(0, "model.decoder.");
  return names;
}

/// Another name under which files may have the tensor of this name: without the prefix of the whole model,
/// as the model without its head is written.
inline std::string other_name(const Architecture& a, const std::string& written) {
  if (written == "embed_out.weight") return "lm_head.weight";
  const std::string_view prefix = a.family == Family::gpt2  ? "transformer."
                                  : a.family == Family::opt ? "model."
                                                            : "gpt_neox.";
  return written.starts_with(prefix) ? written.substr(prefix.size()) : written;
}

/// The class of transformers that computes this.
inline const char* class_name(Family family) {
  switch (family) {
    case Family::gpt2:
      return "GPT2LMHeadModel";
    case Family::opt:
      return "OPTForCausalLM";
    case Family::gpt_neox:
      return "GPTNeoXForCausalLM";
  }
  return "";
}

/// Numbers of all arrays together.
///
/// \throws Error (input) if they exceed what can be addressed.
inline Index parameter_count(const Architecture& a) {
  const auto count = [&](Index layers) {
    Architecture few = a;
    few.layers = layers;
    double total = 0;
    for (const ArraySpec& spec : arrays(few)) {
      double size = 1;
      for (const Index n : spec.shape) size *= static_cast<double>(n);
      total += size;
    }
    return total;
  };
  const double one = count(1), total = one + (count(2) - one) * static_cast<double>(a.layers - 1);
  if (total > 0x1p40 || a.layers > 100'000) {
    throw input_error("config.json", "the model is larger than any memory");
  }
  return static_cast<Index>(total);
}

/// The tensor that transformers writes under this name, from the files of `folder`.
///
/// \throws Error (input) naming it if it is missing or has another shape.
inline TensorView find_tensor(const WeightFiles& files, const std::filesystem::path& folder,
                              const Architecture& a, const std::string& written,
                              const std::vector<Index>& shape) {
  std::optional<TensorView> tensor = files.find(written);
  if (!tensor) tensor = files.find(other_name(a, written));
  if (!tensor) throw input_error(folder.string(), fmt::format("the tensor {} is missing", written));
  if (tensor->shape == shape) return std::move(*tensor);
  throw input_error(folder.string(), fmt::format("the tensor {} has the wrong shape", tensor->name),
                    fmt::format("({})", fmt::join(tensor->shape, ", ")),
                    fmt::format("({})", fmt::join(shape, ", ")));
}

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
/// bfloat16. Weights stored as float32 are used where the file is mapped (pages that training changes are
/// copied one by one); others are converted, and those of several tensors are put together. Names may lack
/// the prefix `transformer.`, `model.` or `gpt_neox.`.
///
/// \throws Error (input) naming the file and the tensor for a missing one, a wrong shape, a value that is not
/// finite.
template <class Scalar>
LoadedModel<Scalar> load_model(const std::filesystem::path& folder, std::shared_ptr<Threads> threads) {
  ModelSettings settings = read_settings(folder);
  struct Memory {
    explicit Memory(WeightFiles opened) : files(std::move(opened)) {}
    WeightFiles files;
    std::vector<Eigen::Array<Scalar, Eigen::Dynamic, 1>> converted;
  };
  auto memory = std::make_shared<Memory>(WeightFiles::open(folder));
  // A folder with fewer tensors than layers lacks one of the first; nothing is made for the others.
  Architecture bounded = settings.architecture;
  bounded.layers = std::min(bounded.layers, static_cast<Index>(memory->files.names().size()) + 1);
  const std::vector<ArraySpec> specs = arrays(bounded);
  std::vector<StoredArray<Scalar>> stored;
  std::vector<std::vector<TensorView>> found;
  std::set<std::string> used;
  for (const ArraySpec& spec : specs) {
    stored.push_back({spec, written_names(settings.architecture, spec), nullptr});
    found.emplace_back();
    for (const std::string& name : stored.back().names) {
      TensorView tensor =
          find_tensor(memory->files, folder, settings.architecture, name, stored.back().tensor_shape());
      used.insert(tensor.name);
      found.back().push_back(std::move(tensor));
    }
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const TensorView& first = found[i].front();
    if (std::is_same_v<Scalar, float> && found[i].size() == 1 && is_aligned_float32(first)) {
      // The mapping is private and writable; only the view of it is constant.
      stored[i].value = reinterpret_cast<Scalar*>(const_cast<std::byte*>(first.bytes.data()));
      continue;
    }
    memory->converted.emplace_back(specs[i].size());
    stored[i].value = memory->converted.back().data();
    for (std::size_t t = 0; t < found[i].size(); ++t) read_values(found[i][t], stored[i].tensor(t));
  }
  check_finite(stored, folder, *threads);
  std::vector<std::string> ignored;
  for (const std::string& name : memory->files.names()) {
    if (!used.contains(name)) ignored.push_back(name);
  }
  return {Decoder<Scalar>(settings.architecture, std::move(stored), memory, std::move(threads)),
          std::move(settings.config), std::move(ignored)};
}

/// A model with random weights, for training from scratch: matrices from a normal distribution of standard
/// deviation 0.02, those that end a residual branch divided by sqrt(2 layers), biases 0, norms 1.
///
/// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
template <class Scalar>
Decoder<Scalar> random_model(const Architecture& a, std::uint64_t seed, std::shared_ptr<Threads> threads) {
  parameter_count(a);
  auto memory = std::make_shared<std::vector<Eigen::Array<Scalar, Eigen::Dynamic, 1>>>();
  std::vector<StoredArray<Scalar>> stored;
  std::uint32_t number = 0;
  for (const ArraySpec& spec : arrays(a)) {
    Eigen::Array<Scalar, Eigen::Dynamic, 1>& values = memory->emplace_back();
    values.setZero(spec.size());
    const bool ends_branch = spec.role == Role::attention_out_weight || spec.role == Role::outer_weight;
    const double deviation = ends_branch ? 0.02 / std::sqrt(2.0 * static_cast<double>(a.layers)) : 0.02;
    const StreamName stream{.seed = seed, .purpose = Purpose::initialising, .sample = number++};
    const bool norm = spec.role == Role::norm1_weight || spec.role == Role::norm2_weight ||
                      spec.role == Role::final_norm_weight;
    for (Index i = 0; i < values.size(); ++i) {
      if (norm) values(i) = Scalar(1);
      if (spec.shape.size() > 1) {
        values(i) = static_cast<Scalar>(deviation * normal(stream, static_cast<std::uint64_t>(i)));
      }
    }
    stored.push_back({spec, written_names(a, spec), values.data()});
  }
  return Decoder<Scalar>(a, std::move(stored), memory, std::move(threads));
}

/// Writes `model.safetensors` and `config.json` into the existing `folder`, as transformers names and lays
/// them out.
///
/// `config` is that of the folder the model came from; its type is set to that of the weights.
///
/// \throws Error (system) if the disk is full or the folder cannot be written.
template <class Scalar>
void write_model(const std::filesystem::path& folder, const Decoder<Scalar>& decoder, nlohmann::json config,
                 std::optional<DataType> store_as = std::nullopt) {
  const DataType type = store_as.value_or(data_type_of<Scalar>);
  config.erase("torch_dtype");
  config["dtype"] = type == DataType::bfloat16  ? "bfloat16"
                    : type == DataType::float64 ? "float64"
                                                : "float32";
  const std::string name = class_name(decoder.architecture().family);
  config["architectures"] = nlohmann::json::array({name});  // clang 14 leaks a plain {...} here
  write_durably(folder / "config.json", config.dump(2) + "\n");
  write_safetensors(folder / "model.safetensors", decoder.state(), {{"format", "pt"}}, store_as);
}

}  // namespace eso
