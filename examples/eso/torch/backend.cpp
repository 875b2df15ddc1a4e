// SPDX-License-Identifier: MIT
// The backend torch of the program: a library of its own, so that a call that does not ask for it never loads
// LibTorch.
#include "../backend.hpp"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>

#include "eso/torch/data_parallel.hpp"
#include "eso/torch/sharded_adamw.hpp"
#include "eso/torch/torch.hpp"

namespace eso_program {
namespace {

/// The first line of what LibTorch says, as an error of ours: that of a full device names it and no more.
eso::Error translated(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return {eso::Fault::system, "LibTorch", text.substr(0, text.find('\n'))};
}

template <class Body>
auto guarded(const Body& body) {
  try {
    return body();
  } catch (const c10::Error& error) {
    throw translated(error);
  } catch (const eso::Error& error) {
    // What the adapter names are flags here.
    const std::string& where = error.where();
    if (where != "device" && !where.starts_with("lora-")) throw;
    throw eso::Error(error.fault(), "--" + where, std::string(error.what()).substr(where.size() + 2));
  }
}

class TorchDecoding : public AnyDecoding::Interface {
 public:
  explicit TorchDecoding(eso::torch::Decoding decoding) : decoding_(std::move(decoding)) {}
  eso::ConstRowMap<float> logits() const override { return decoding_.logits(); }
  void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) override {
    guarded([&] { decoding_.advance(parents, tokens); });
  }
  std::unique_ptr<Interface> copy() const override {
    return guarded([&] { return std::make_unique<TorchDecoding>(decoding_.copy()); });
  }

 private:
  eso::torch::Decoding decoding_;
};

/// Moves the parameters that `list` gives.
template <class Optimizer>
class TorchOptimizer : public AnyOptimizer::Interface {
 public:
  TorchOptimizer(std::function<eso::torch::ParameterList()> list, Optimizer optimizer)
      : list_(std::move(list)), optimizer_(std::move(optimizer)) {}
  void update(double learning_rate, double scale) override {
    guarded([&] { optimizer_.update(list_(), learning_rate, scale); });
  }
  std::vector<eso::TensorView> state() const override {
    return guarded([&] { return optimizer_.state(); });
  }
  void load_state(const eso::TensorLookup& lookup) override {
    guarded([&] { optimizer_.load_state(lookup); });
  }

 private:
  std::function<eso::torch::ParameterList()> list_;
  Optimizer optimizer_;
};

class TorchModel : public AnyModel::Interface {
 public:
  /// `group` is null for a model that one process computes.
  TorchModel(eso::torch::Decoder decoder, nlohmann::json config,
             std::shared_ptr<eso::torch::ProcessGroup> group, bool shards)
      : decoder_(std::move(decoder)), config_(std::move(config)), group_(std::move(group)), shards_(shards) {
    if (group_) parallel_.emplace(decoder_, group_);
  }

  eso::LogProbs log_probs(const eso::Batch& batch) override {
    return guarded([&] { return parallel_ ? parallel_->log_probs(batch) : decoder_.log_probs(batch); });
  }
  eso::LogProbs log_probs(const eso::Batch& batch, eso::StepSeed seed) override {
    return guarded(
        [&] { return parallel_ ? parallel_->log_probs(batch, seed) : decoder_.log_probs(batch, seed); });
  }
  void set_dropout(const eso::DropoutRates& rates) override { decoder_.dropout = rates; }
  void backward(const eso::LogProbs& d_logp) override {
    guarded([&] { parallel_ ? parallel_->backward(d_logp) : decoder_.backward(d_logp); });
  }
  double global_norm() override {
    return guarded([&] { return eso::torch::global_norm(list()); });
  }
  void zero_gradients() override { eso::torch::zero_gradients(decoder_.parameters()); }
  AnyOptimizer optimizer(const OptimizerOptions& o) override {
    if (!o.adam) return made(eso::torch::Sgd{.weight_decay = o.weight_decay});
    const eso::torch::AdamW adamw{.beta1 = o.beta1,
                                  .beta2 = o.beta2,
                                  .epsilon = o.epsilon,
                                  .weight_decay = o.weight_decay,
                                  .weight_decay_mode = o.weight_decay_mode};
    if (group_ && shards_) return made(eso::torch::ShardedAdamW(adamw, group_));
    return made(adamw);
  }
  void score_only(double temperature) override {
    decoder_.set_temperature(temperature);
    decoder_.keeps_for_backward = false;
  }
  AnyDecoding decode(std::span<const eso::Prompt> prompts) const override {
    return guarded([&] { return AnyDecoding(std::make_unique<TorchDecoding>(decoder_.decode(prompts))); });
  }
  std::vector<eso::TensorView> state() const override {
    return guarded([&] { return decoder_.state(); });
  }
  void load_state(const eso::TensorLookup& lookup) override {
    guarded([&] { decoder_.load_state(lookup); });
  }
  const eso::Architecture& architecture() const override { return decoder_.architecture(); }
  void write(const std::filesystem::path& folder, std::optional<eso::DataType> store_as) const override {
    guarded([&] { eso::torch::write_model(folder, decoder_, config_, store_as); });
  }
  bool write_adapter(const std::filesystem::path& folder, const std::string& base) const override {
    if (!decoder_.options().lora.on()) return false;
    guarded([&] { eso::torch::write_adapter(folder, decoder_, base); });
    return true;
  }

 private:
  template <class Optimizer>
  AnyOptimizer made(Optimizer optimizer) {
    return AnyOptimizer(
        std::make_unique<TorchOptimizer<Optimizer>>([this] { return list(); }, std::move(optimizer)));
  }

  eso::torch::ParameterList list() { return parallel_ ? parallel_->parameters() : decoder_.parameters(); }

  eso::torch::Decoder decoder_;
  nlohmann::json config_;
  std::shared_ptr<eso::torch::ProcessGroup> group_;
  bool shards_;
  std::optional<eso::torch::DataParallel> parallel_;
};

class TorchRanks : public AnyRanks::Interface {
 public:
  explicit TorchRanks(std::shared_ptr<eso::torch::ProcessGroup> group) : group_(std::move(group)) {}
  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  std::vector<std::string> exchange(const std::string& bytes) const override {
    return group_->exchange(bytes);
  }
  void leave() override { group_->leave(); }

 private:
  std::shared_ptr<eso::torch::ProcessGroup> group_;
};

class TorchLibrary : public BackendLibrary {
 public:
  AnyModel load(const BackendOptions& options, const std::filesystem::path& folder, int threads,
                Use use) override {
    return guarded([&] {
      eso::torch::LoadedModel loaded = eso::torch::load_model(folder, decoder_options(options, threads, use));
      return AnyModel(made(options, std::move(loaded.decoder), std::move(loaded.config), use), folder,
                      std::move(loaded.ignored));
    });
  }
  AnyModel random(const BackendOptions& options, const std::filesystem::path& folder, std::uint64_t seed,
                  int threads) override {
    return guarded([&] {
      eso::ModelSettings settings = eso::read_settings(folder);
      eso::torch::Decoder decoder = eso::torch::random_model(
          settings.architecture, seed, decoder_options(options, threads, Use::training));
      return AnyModel(made(options, std::move(decoder), std::move(settings.config), Use::training), folder,
                      {});
    });
  }
  AnyRanks ranks(const std::function<void(int)>& on_lost) override {
    return guarded([&]() -> AnyRanks {
      const auto place = eso::torch::ProcessGroup::place_from_environment();
      if (!place) return {};
      auto group = std::make_shared<eso::torch::ProcessGroup>(*place, on_lost);
      group_ = group;
      return AnyRanks(std::make_shared<TorchRanks>(std::move(group)));
    });
  }

 private:
  std::unique_ptr<AnyModel::Interface> made(const BackendOptions& options, eso::torch::Decoder decoder,
                                            nlohmann::json config, Use use) const {
    return std::make_unique<TorchModel>(std::move(decoder), std::move(config),
                                        use == Use::training ? group_.lock() : nullptr,
                                        options.shard_optimizer);
  }

  eso::torch::DecoderOptions decoder_options(const BackendOptions& o, int threads, Use use) const {
    at::set_num_threads(threads);
    eso::torch::DecoderOptions options;
    // Ranks on one machine take a device each, by the number that torchrun gives them there.
    const char* const local = std::getenv("LOCAL_RANK");
    const auto group = group_.lock();
    const bool numbered = group && local && o.device == "cuda";
    options.device = eso::torch::device_named(numbered ? std::string("cuda:") + local : o.device);
    if (options.device.is_cpu()) eso::torch::keep_host_memory();
    if (group) group->join(options.device);
    options.precision = eso::torch::precision_named(o.precision);
    options.trains = use == Use::training;
    options.checkpoint_activations = o.checkpoint_activations;
    if (options.trains) options.lora = {o.lora_rank, o.lora_alpha, o.lora_targets, o.lora_dropout};
    return options;
  }

  /// Who trains owns it: this library outlives CUDA, and a group must not.
  std::weak_ptr<eso::torch::ProcessGroup> group_;
};

}  // namespace
}  // namespace eso_program

extern "C" eso_program::BackendLibrary* eso_backend() {
  c10::initLogging();  // as the environment says
  static eso_program::TorchLibrary library;
  return &library;
}
