// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend.hpp"
#include "eso/tensor.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "eso/threads.hpp"

namespace eso_program {

/// A Hugging Face folder, read: the model and, where there is one, its tokenizer.
struct ModelFolder {
  AnyModel model;
  std::optional<eso::ByteLevelBpe> tokenizer;

  /// \throws eso::Error (input) naming the folder if it has no tokenizer.
  const eso::ByteLevelBpe& needed_tokenizer() const;
};

/// Loads the folder into a backend. Tensors that the model has no use for are told of in one
/// line on standard error.
///
/// \throws eso::Error (input) as `load_model` and `eso::ByteLevelBpe::load`, and for a tokenizer with more
///         ids than the embedding has rows.
ModelFolder open_model_folder(const BackendOptions& options, const std::filesystem::path& folder,
                              std::shared_ptr<eso::Threads> threads, Use use = Use::inference);

/// The tokenizer of the folder. \throws eso::Error (input) if there is none, and as
/// `eso::ByteLevelBpe::load`.
eso::ByteLevelBpe load_tokenizer(const std::filesystem::path& folder);

/// The same, but nothing where the folder has no tokenizer.
std::optional<eso::ByteLevelBpe> find_tokenizer(const std::filesystem::path& folder);

/// Throws an input `eso::Error` if the tokenizer has more ids than the model's embedding has rows.
void check_tokenizer(const eso::ByteLevelBpe& tokenizer, const AnyModel& model);

/// One line on standard error about tensors that the model has no use for, if there are any.
void say_ignored(const AnyModel& model);

/// The files of the folder that a tokenizer is read from.
std::vector<std::filesystem::path> tokenizer_files(const std::filesystem::path& folder);
/// The files of the folder that are copied unchanged beside a model made from it: those of its tokenizer, and
/// how it generates.
std::vector<std::filesystem::path> copied_files(const std::filesystem::path& folder);
/// Whether the file, by its name, is part of a model folder.
bool is_model_file(const std::filesystem::path& file);

/// Throws an input `eso::Error` unless `path` is free for a folder: it is missing or an empty folder, and
/// lies in a folder.
void check_free_folder(const std::filesystem::path& path);

/// Writes a Hugging Face folder, whole or not at all and durably: config.json and model.safetensors, numbers
/// stored as `store_as` where it is given, and unchanged copies of `files`.
///
/// The parent must exist; `destination` must be missing or an empty folder. What a killed call left behind
/// (`.tmp-PID-NAME` beside the destination) is removed.
///
/// \throws eso::Error (input) as `check_free_folder`; (system) naming the file, with nothing left behind.
void write_model_folder(const std::filesystem::path& destination, const AnyModel& model,
                        std::span<const std::filesystem::path> files,
                        std::optional<eso::DataType> store_as = std::nullopt);

/// Writes the adapters of a model that was made from `base`, whole or not at all, as PEFT reads them; does
/// nothing for a model without any, and where the folder is there.
void write_adapter_folder(const std::filesystem::path& destination, const AnyModel& model,
                          const std::string& base);

/// The same with the files of the folder that the tokenizer came from.
void write_model_folder(const std::filesystem::path& destination, const AnyModel& model,
                        const eso::ByteLevelBpe& tokenizer,
                        std::optional<eso::DataType> store_as = std::nullopt);

}  // namespace eso_program
