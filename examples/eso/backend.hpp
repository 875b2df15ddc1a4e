// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/model/architecture.hpp"
#include "eso/optim/adamw.hpp"
#include "eso/tensor.hpp"
#include "eso/threads.hpp"

namespace eso_program {

/// A `Decoding` whose backend is chosen when the program runs.
class AnyDecoding {
 public:
  struct Interface {
    virtual ~Interface() = default;
    virtual eso::ConstRowMap<float> logits() const = 0;
    virtual void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) = 0;
    virtual std::unique_ptr<Interface> copy() const = 0;
  };
  explicit AnyDecoding(std::unique_ptr<Interface> held) : held_(std::move(held)) {}
  eso::ConstRowMap<float> logits() const { return held_->logits(); }
  void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) {
    held_->advance(parents, tokens);
  }
  /// Another one at the same place, to be continued in another way.
  AnyDecoding copy() const { return AnyDecoding(held_->copy()); }

 private:
  std::unique_ptr<Interface> held_;
};

/// Which backend computes, and how.
struct BackendOptions {
  std::string backend = "eigen", precision = "float32", device = "cpu";
  // While training, of the backend torch:
  bool checkpoint_activations = false, shard_optimizer = false;
  std::int64_t lora_rank = 0;
  double lora_alpha = 16, lora_dropout = 0;
  std::vector<std::string> lora_targets;
};

/// What moves the parameters, and how.
struct OptimizerOptions {
  bool adam = true;  ///< AdamW, else plain gradient descent
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  eso::WeightDecay weight_decay_mode = eso::WeightDecay::decoupled;
};

/// What a model is loaded for.
enum class Use : std::uint8_t { training, inference };

class AnyModel;

/// The parameters of an `AnyModel`.
struct AnyParameters;

/// An `Optimizer` of the backend of the model that made it.
class AnyOptimizer {
 public:
  struct Interface {
    virtual ~Interface() = default;
    virtual void update(double learning_rate, double scale) = 0;
    virtual std::vector<eso::TensorView> state() const = 0;
    virtual void load_state(const eso::TensorLookup& lookup) = 0;
  };
  explicit AnyOptimizer(std::unique_ptr<Interface> held) : held_(std::move(held)) {}
  /// Of the model that made it, whose parameters these are.
  void update(const AnyParameters&, double learning_rate, double scale) {
    held_->update(learning_rate, scale);
  }
  std::vector<eso::TensorView> state() const { return held_->state(); }
  void load_state(const eso::TensorLookup& lookup) { held_->load_state(lookup); }

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
    virtual double global_norm() = 0;
    virtual void zero_gradients() = 0;
    virtual AnyOptimizer optimizer(const OptimizerOptions& options) = 0;
    virtual void score_only(double temperature) = 0;
    virtual AnyDecoding decode(std::span<const eso::Prompt> prompts) const = 0;
    virtual std::vector<eso::TensorView> state() const = 0;
    virtual void load_state(const eso::TensorLookup& lookup) = 0;
    virtual const eso::Architecture& architecture() const = 0;
    /// Writes config.json and the weights into an existing folder.
    virtual void write(const std::filesystem::path& folder, std::optional<eso::DataType> store_as) const = 0;
    /// Writes the adapters alone as PEFT does into an existing folder, for a model from `base`; false where
    /// the model has none.
    virtual bool write_adapter(const std::filesystem::path& folder, const std::string& base) const = 0;
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
  AnyParameters parameters();
  /// Of this model, which must outlive it.
  AnyOptimizer optimizer(const OptimizerOptions& options) { return held_->optimizer(options); }
  /// From here on `log_probs` divides the logits by `temperature` and keeps nothing for `backward`.
  void score_only(double temperature) { held_->score_only(temperature); }
  AnyDecoding decode(std::span<const eso::Prompt> prompts) const { return held_->decode(prompts); }
  std::vector<eso::TensorView> state() const { return held_->state(); }
  void load_state(const eso::TensorLookup& lookup) { held_->load_state(lookup); }

  const eso::Architecture& architecture() const { return held_->architecture(); }
  std::optional<eso::TokenId> end_of_sequence() const { return architecture().end_of_sequence; }
  bool is_end(eso::TokenId id) const { return architecture().is_end(id); }
  eso::Index context_length() const { return architecture().context; }
  eso::Index vocabulary_size() const { return architecture().vocabulary; }

  /// The folder that it was read from, and tensors there that it has no use for.
  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<std::string>& ignored() const { return ignored_; }

  void write(const std::filesystem::path& folder,
             std::optional<eso::DataType> store_as = std::nullopt) const {
    held_->write(folder, store_as);
  }
  bool write_adapter(const std::filesystem::path& folder, const std::string& base) const {
    return held_->write_adapter(folder, base);
  }

 private:
  std::unique_ptr<Interface> held_;
  std::filesystem::path folder_;
  std::vector<std::string> ignored_;
};

/// The processes that train together, as a launcher started them: a `Communicator`. One alone without a
/// backend that knows of several.
class AnyRanks {
 public:
  struct Interface {
    virtual ~Interface() = default;
    virtual int rank() const = 0;
    virtual int size() const = 0;
    virtual std::vector<std::string> exchange(const std::string& bytes) const = 0;
    virtual void leave() = 0;
  };
  AnyRanks() = default;
  explicit AnyRanks(std::shared_ptr<Interface> held) : held_(std::move(held)) {}
  int rank() const { return held_ ? held_->rank() : 0; }
  int size() const { return held_ ? held_->size() : 1; }
  std::vector<std::string> exchange(const std::string& bytes) const {
    return held_ ? held_->exchange(bytes) : std::vector<std::string>{bytes};
  }
  /// All call it when nothing is to be exchanged any more; returns when all have.
  void leave() const {
    if (held_) held_->leave();
  }

 private:
  std::shared_ptr<Interface> held_;
};

struct AnyParameters {
  AnyModel::Interface* model;
};
inline AnyParameters AnyModel::parameters() { return {held_.get()}; }
inline double global_norm(const AnyParameters& parameters) { return parameters.model->global_norm(); }
inline void zero_gradients(const AnyParameters& parameters) { parameters.model->zero_gradients(); }

/// A backend that lies in a library of its own beside the program and is loaded when it is asked for.
struct BackendLibrary {
  virtual ~BackendLibrary() = default;
  virtual AnyModel load(const BackendOptions& options, const std::filesystem::path& folder, int threads,
                        Use use) = 0;
  virtual AnyModel random(const BackendOptions& options, const std::filesystem::path& folder,
                          std::uint64_t seed, int threads) = 0;
  /// Joins the processes of the launcher; models loaded for training from then on compute their share.
  /// `on_lost` is called from a thread of its own with the rank of a process that has stopped.
  virtual AnyRanks ranks(const std::function<void(int)>& on_lost) = 0;
};

/// The function of the library `eso-backend-NAME.so` that gives its backend.
using BackendFunction = BackendLibrary* (*)();

/// Throws an input `eso::Error` naming the flag that the backend cannot honour, or that means nothing.
void check_backend(const BackendOptions& options);

/// The processes that the environment names (WORLD_SIZE and so on, as torchrun sets them); one where it names
/// none.
///
/// \throws eso::Error (input) for several with a backend that cannot; (system) if the others do not come.
AnyRanks open_ranks(const BackendOptions& options, const std::function<void(int)>& on_lost);

/// Loads a Hugging Face folder into a backend.
///
/// \throws eso::Error (input) as `check_backend`, for a backend that is not there, and as `eso::load_model`.
AnyModel load_model(const BackendOptions& options, const std::filesystem::path& folder,
                    std::shared_ptr<eso::Threads> threads, Use use = Use::inference);

/// A model of the folder's `config.json` with random weights from `seed`, to be trained.
AnyModel random_model(const BackendOptions& options, const std::filesystem::path& folder, std::uint64_t seed,
                      std::shared_ptr<eso::Threads> threads);

/// The rates of dropout that the folder's `config.json` asks for. \throws as `eso::read_dropout`.
eso::DropoutRates config_dropout(const std::filesystem::path& folder);

/// Whether the folder has weights in any form.
bool has_weights(const std::filesystem::path& folder);

}  // namespace eso_program
