// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/model/architecture.hpp"
#include "eso/model/layers.hpp"
#include "eso/threads.hpp"

namespace eso_program {

/// A `Decoding` whose backend is chosen when the program runs.
class AnyDecoding {
 public:
  struct Interface {
    virtual ~Interface() = default;
    virtual const eso::RowMatrix<float>& logits() const = 0;
    virtual void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) = 0;
    virtual std::unique_ptr<Interface> copy() const = 0;
  };
  explicit AnyDecoding(std::unique_ptr<Interface> held) : held_(std::move(held)) {}
  const eso::RowMatrix<float>& logits() const { return held_->logits(); }
  void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) {
    held_->advance(parents, tokens);
  }
  /// Another one at the same place, to be continued in another way.
  AnyDecoding copy() const { return AnyDecoding(held_->copy()); }

 private:
  std::unique_ptr<Interface> held_;
};

/// A model whose backend is chosen when the program runs: a `LogProbModel`, a `Generator` and
/// `Checkpointable`.
///
/// It is also what keeps the long compilation of a backend in a file of its own.
class AnyModel {
 public:
  struct Interface {
    virtual ~Interface() = default;
    virtual eso::LogProbs log_probs(const eso::Batch& batch) = 0;
    virtual eso::LogProbs log_probs(const eso::Batch& batch, eso::StepSeed seed) = 0;
    virtual void set_dropout(const eso::DropoutRates& rates) = 0;
    virtual void backward(const eso::LogProbs& d_logp) = 0;
    virtual eso::ParameterList<float> parameters() = 0;
    virtual void score_only(double temperature) = 0;
    virtual AnyDecoding decode(std::span<const eso::Prompt> prompts) const = 0;
    virtual std::vector<eso::TensorView> state() const = 0;
    virtual void load_state(const eso::TensorLookup& lookup) = 0;
    virtual const eso::Architecture& architecture() const = 0;
    /// Writes config.json and the weights into an existing folder.
    virtual void write(const std::filesystem::path& folder, std::optional<eso::DataType> store_as) const = 0;
  };
  AnyModel(std::unique_ptr<Interface> held, std::filesystem::path folder, std::vector<std::string> ignored)
      : held_(std::move(held)), folder_(std::move(folder)), ignored_(std::move(ignored)) {}

  eso::LogProbs log_probs(const eso::Batch& batch) { return held_->log_probs(batch); }
  /// As it trains: with the masks of dropout that the step has.
  eso::LogProbs log_probs(const eso::Batch& batch, eso::StepSeed seed) {
    return held_->log_probs(batch, seed);
  }
  /// Of the training pass alone.
  void set_dropout(const eso::DropoutRates& rates) { held_->set_dropout(rates); }
  void backward(const eso::LogProbs& d_logp) { held_->backward(d_logp); }
  eso::ParameterList<float> parameters() { return held_->parameters(); }
  /// From here on `log_probs` divides the logits by `temperature` and keeps nothing for `backward`.
  void score_only(double temperature) { held_->score_only(temperature); }
  AnyDecoding decode(std::span<const eso::Prompt> prompts) const { return held_->decode(prompts); }
  std::vector<eso::TensorView> state() const { return held_->state(); }
  void load_state(const eso::TensorLookup& lookup) { held_->load_state(lookup); }

  const eso::Architecture& architecture() const { return held_->architecture(); }
  eso::TokenId end_of_sequence() const { return architecture().end_of_sequence; }
  eso::Index context_length() const { return architecture().context; }
  eso::Index vocabulary_size() const { return architecture().vocabulary; }

  /// The folder that it was read from, and tensors there that it has no use for.
  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<std::string>& ignored() const { return ignored_; }

  void write(const std::filesystem::path& folder,
             std::optional<eso::DataType> store_as = std::nullopt) const {
    held_->write(folder, store_as);
  }

 private:
  std::unique_ptr<Interface> held_;
  std::filesystem::path folder_;
  std::vector<std::string> ignored_;
};

/// Loads a Hugging Face folder into the backend of this name.
///
/// \throws eso::Error (input) for a backend that is not there, and as `eso::load_model`.
AnyModel load_model(const std::string& backend, const std::filesystem::path& folder,
                    std::shared_ptr<eso::Threads> threads);

/// A model of the folder's `config.json` with random weights from `seed`.
AnyModel random_model(const std::string& backend, const std::filesystem::path& folder, std::uint64_t seed,
                      std::shared_ptr<eso::Threads> threads);

/// The rates of dropout that the folder's `config.json` asks for. \throws as `eso::read_dropout`.
eso::DropoutRates config_dropout(const std::filesystem::path& folder);

/// Whether the folder has weights in any form.
bool has_weights(const std::filesystem::path& folder);

}  // namespace eso_program
