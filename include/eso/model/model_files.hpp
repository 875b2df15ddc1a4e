// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/model/architecture.hpp"
#include "eso/model/gpt2.hpp"
#include "eso/model/gpt_neox.hpp"
#include "eso/model/opt.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/model/weight_files.hpp"
#include "eso/random.hpp"
#include "eso/train/durable_file.hpp"

// What a Hugging Face folder holds, for any backend: its settings, the names of its tensors and where they
// lie. No model is made here.

namespace eso {

/// What `config.json` of a Hugging Face folder says.
struct ModelSettings {
  Architecture architecture;
  nlohmann::json config;  ///< as it stands there, to be written back
};

/// The ids that `folder/generation_config.json` ends a response with; nothing where it names none.
///
/// \throws Error (input) naming the file and the key.
inline std::vector<TokenId> generation_ends(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "generation_config.json";
  if (!is_named(path)) return {};
  const nlohmann::json json = read_json_file(path);
  const JsonNode config(json, path);
  config.find("eos_token_id");  // refuses what is not an object
  return ConfigValues(config).ends({});
}

/// Reads `folder/config.json`, and what ends a response from `folder/generation_config.json` where it says.
///
/// \throws Error (input) naming the file and the key, or the `model_type` where it is no known one.
inline ModelSettings read_settings(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    throw input_error(folder.string(), "no such model folder");
  ModelSettings settings;
  settings.config = read_json_file(path);
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
  values.refuse_unimplemented();
  const std::vector<TokenId> ends = generation_ends(folder);
  if (!ends.empty()) settings.architecture.ends = ends;
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

/// The tensor that transformers writes under this name, from the files; nothing if it is missing.
///
/// \throws Error (input) naming it if it has another shape.
inline std::optional<TensorView> find_tensor(const WeightFiles& files, const std::filesystem::path& folder,
                                             const Architecture& a, const std::string& written,
                                             const std::vector<Index>& shape) {
  std::optional<TensorView> tensor = files.find(written);
  if (!tensor) tensor = files.find(other_name(a, written));
  if (!tensor || tensor->shape == shape) return tensor;
  throw input_error(folder.string(), fmt::format("the tensor {} has the wrong shape", tensor->name),
                    fmt::format("({})", fmt::join(tensor->shape, ", ")),
                    fmt::format("({})", fmt::join(shape, ", ")));
}

/// One array of a model in the files of its folder.
struct FileArray {
  ArraySpec spec;
  std::vector<std::string> names;   ///< that transformers writes: of equally many rows of it each
  std::vector<TensorView> tensors;  ///< in this order, as they lie in the mapped files
};

/// A Hugging Face folder whose tensors were all found.
struct ModelFiles {
  ModelSettings settings;
  std::shared_ptr<const WeightFiles> files;  ///< keeps the mappings alive
  std::vector<FileArray> arrays;             ///< of `arrays(settings.architecture)`, in that order
  std::vector<std::string> ignored;          ///< tensors of the files that the model has no use for
};

/// What the files of a model that ties its head have of the two: one tensor for both, or two.
struct TiedTensors {
  std::optional<TensorView> embedding, head;
  bool equal = false;  ///< both are there and hold the same numbers
};

/// Looks for the embedding and the head of a model whose `config.json` ties them. O(numbers) where both are
/// there.
inline TiedTensors find_tied(const WeightFiles& files, const std::filesystem::path& folder,
                             const Architecture& a) {
  const std::vector<Index> shape{a.vocabulary, a.embedding_width};
  const auto find = [&](Role role) {
    return find_tensor(files, folder, a, written_names(a, {role, 0, shape}).front(), shape);
  };
  TiedTensors found{find(Role::token_embedding), find(Role::head)};
  found.equal = found.embedding && found.head && equal_values(*found.embedding, *found.head);
  return found;
}

/// Opens a folder: `config.json` and `model.safetensors`, or shards with their index. Names may lack the
/// prefix `transformer.`, `model.` or `gpt_neox.`. Reads no weights, but where a tied model's files hold a
/// head: one that differs from the embedding is used, and the settings become those of a model that is not
/// tied. The head alone is both.
///
/// \throws Error (input) naming the file and the tensor for a missing one or a wrong shape.
inline ModelFiles open_model_files(const std::filesystem::path& folder) {
  ModelFiles opened{read_settings(folder), nullptr, {}, {}};
  const auto files = std::make_shared<const WeightFiles>(WeightFiles::open(folder));
  opened.files = files;
  Architecture& a = opened.settings.architecture;
  TiedTensors tied;
  if (a.tied_head) tied = find_tied(*files, folder, a);
  if (tied.embedding && tied.head && !tied.equal) {
    a.tied_head = false;
    opened.settings.config["tie_word_embeddings"] = false;
  }
  // A folder with fewer tensors than layers lacks one of the first; nothing is made for the others.
  Architecture bounded = a;
  bounded.layers = std::min(bounded.layers, static_cast<Index>(files->names().size()) + 1);
  std::set<std::string> used;
  if (tied.equal) used.insert(tied.head->name);
  for (const ArraySpec& spec : arrays(bounded)) {
    FileArray& array = opened.arrays.emplace_back(FileArray{spec, written_names(a, spec), {}});
    std::vector<Index> shape = spec.shape;
    shape.front() /= static_cast<Index>(array.names.size());
    for (const std::string& name : array.names) {
      std::optional<TensorView> tensor = find_tensor(*files, folder, a, name, shape);
      if (!tensor && spec.role == Role::token_embedding) tensor = tied.head;
      if (!tensor) throw input_error(folder.string(), fmt::format("the tensor {} is missing", name));
      used.insert(tensor->name);
      array.tensors.push_back(std::move(*tensor));
    }
  }
  for (const std::string& name : files->names()) {
    if (!used.contains(name)) opened.ignored.push_back(name);
  }
  return opened;
}

/// The values that array `number` of `arrays(a)` starts with where a model is trained from scratch: matrices
/// from a normal distribution of standard deviation 0.02, those that end a residual branch divided by
/// sqrt(2 layers), biases 0, norms 1.
///
/// Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
template <class Scalar>
void fill_random(const Architecture& a, const ArraySpec& spec, std::uint32_t number, std::uint64_t seed,
                 Scalar* values) {
  const bool ends_branch = spec.role == Role::attention_out_weight || spec.role == Role::outer_weight;
  const double deviation = ends_branch ? 0.02 / std::sqrt(2.0 * static_cast<double>(a.layers)) : 0.02;
  const StreamName stream{.seed = seed, .purpose = Purpose::initialising, .sample = number};
  const bool norm = spec.role == Role::norm1_weight || spec.role == Role::norm2_weight ||
                    spec.role == Role::final_norm_weight;
  for (Index i = 0; i < spec.size(); ++i) {
    values[i] = norm ? Scalar(1) : Scalar(0);
    if (spec.shape.size() > 1) {
      values[i] = static_cast<Scalar>(deviation * normal(stream, static_cast<std::uint64_t>(i)));
    }
  }
}

/// Writes `config.json` into the existing `folder`: `config` with the type of the weights and the class that
/// computes them.
///
/// \throws Error (system) if the disk is full or the folder cannot be written.
inline void write_config(const std::filesystem::path& folder, nlohmann::json config, Family family,
                         DataType type) {
  config.erase("torch_dtype");
  config["dtype"] = type == DataType::bfloat16  ? "bfloat16"
                    : type == DataType::float64 ? "float64"
                                                : "float32";
  const std::string name = class_name(family);
  config["architectures"] = nlohmann::json::array({name});  // clang 14 leaks a plain {...} here
  write_durably(folder / "config.json", config.dump(2) + "\n");
}

}  // namespace eso
