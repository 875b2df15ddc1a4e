// SPDX-License-Identifier: MIT
#include "backend.hpp"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <string_view>

#include "eso/model/hugging_face.hpp"
#include "eso/optim/adamw.hpp"
#include "eso/optim/sgd.hpp"
#include "eso/text/json_file.hpp"

namespace eso_program {
namespace {

/// `value`, after a look whether the weights that it was computed from are still those that were loaded.
template <class T>
T of_unchanged(const std::shared_ptr<const eso::WeightFiles>& files, T value) {
  if (files) files->check_unchanged();
  return value;
}

class EigenDecoding : public AnyDecoding::Interface {
 public:
  EigenDecoding(eso::KeyValueDecoding<float> decoding, std::shared_ptr<const eso::WeightFiles> files)
      : decoding_(std::move(decoding)), files_(std::move(files)) {
    if (files_) files_->check_unchanged();
  }
  eso::ConstRowMap<float> logits() const override {
    const eso::RowMatrix<float>& logits = decoding_.logits();
    return {logits.data(), logits.rows(), logits.cols()};
  }
  void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) override {
    decoding_.advance(parents, tokens);
    if (files_) files_->check_unchanged();
  }
  std::unique_ptr<Interface> copy() const override {
    return std::make_unique<EigenDecoding>(decoding_, files_);
  }

 private:
  eso::KeyValueDecoding<float> decoding_;
  std::shared_ptr<const eso::WeightFiles> files_;
};

template <class Optimizer>
class EigenOptimizer : public AnyOptimizer::Interface {
 public:
  EigenOptimizer(eso::Decoder<float>& decoder, Optimizer optimizer)
      : decoder_(decoder), optimizer_(std::move(optimizer)) {}
  void update(double learning_rate, double scale) override {
    optimizer_.update(decoder_.parameters(), learning_rate, scale);
  }
  std::vector<eso::TensorView> state() const override { return optimizer_.state(); }
  void load_state(const eso::TensorLookup& lookup) override { optimizer_.load_state(lookup); }

 private:
  eso::Decoder<float>& decoder_;
  Optimizer optimizer_;
};

class EigenModel : public AnyModel::Interface {
 public:
  EigenModel(eso::Decoder<float> decoder, nlohmann::json config,
             std::shared_ptr<const eso::WeightFiles> files)
      : decoder_(std::move(decoder)), config_(std::move(config)), files_(std::move(files)) {}

  eso::LogProbs log_probs(const eso::Batch& batch) override {
    return of_unchanged(files_, decoder_.log_probs(batch));
  }
  eso::LogProbs log_probs(const eso::Batch& batch, eso::StepSeed seed) override {
    return of_unchanged(files_, decoder_.log_probs(batch, seed));
  }
  void set_dropout(const eso::DropoutRates& rates) override { decoder_.dropout = rates; }
  void backward(const eso::LogProbs& d_logp) override { decoder_.backward(d_logp); }
  double global_norm() override { return eso::global_norm(decoder_.parameters()); }
  void zero_gradients() override { eso::zero_gradients(decoder_.parameters()); }
  AnyOptimizer optimizer(const OptimizerOptions& o) override {
    eso::Threads* const threads = &decoder_.threads();
    if (!o.adam) return made(eso::Sgd{.weight_decay = o.weight_decay, .threads = threads});
    return made(eso::AdamW{.beta1 = o.beta1,
                           .beta2 = o.beta2,
                           .epsilon = o.epsilon,
                           .weight_decay = o.weight_decay,
                           .weight_decay_mode = o.weight_decay_mode,
                           .threads = threads});
  }
  void score_only(double temperature) override {
    decoder_.set_temperature(temperature);
    decoder_.keeps_for_backward = false;
  }
  AnyDecoding decode(std::span<const eso::Prompt> prompts) const override {
    return AnyDecoding(std::make_unique<EigenDecoding>(decoder_.decode(prompts), files_));
  }
  std::vector<eso::TensorView> state() const override { return decoder_.state(); }
  void load_state(const eso::TensorLookup& lookup) override { decoder_.load_state(lookup); }
  const eso::Architecture& architecture() const override { return decoder_.architecture(); }
  void write(const std::filesystem::path& folder, std::optional<eso::DataType> store_as) const override {
    eso::write_model(folder, decoder_, config_, store_as);
    if (files_) files_->check_unchanged();
  }
  bool write_adapter(const std::filesystem::path&, const std::string&) const override { return false; }

 private:
  template <class Optimizer>
  AnyOptimizer made(Optimizer optimizer) {
    return AnyOptimizer(std::make_unique<EigenOptimizer<Optimizer>>(decoder_, std::move(optimizer)));
  }

  eso::Decoder<float> decoder_;
  nlohmann::json config_;
  std::shared_ptr<const eso::WeightFiles> files_;  ///< where the weights are used, if not copied
};

/// What LibTorch and its OpenMP read once, when they are loaded; what the user has set stays.
///
/// Threads turn for milliseconds while they wait for each other, where LibTorch has hundreds of short loops a
/// step: beside other work on the same cores that is most of a step. And c10d writes traces of its stack
/// where a connection breaks, of which the program's own error says the cause.
void set_environment() {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "3000", /*overwrite=*/0);
  ::setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
}

/// The backend of the library beside the program, which stays loaded.
BackendLibrary& library(const std::string& backend) {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path path = program.parent_path() / ("eso-backend-" + backend + ".so");
  if (!std::filesystem::exists(path, error)) {
    throw eso::input_error("--backend", "this program was built without it", backend, "eigen");
  }
  set_environment();
  void* const opened = ::dlopen(path.c_str(), RTLD_NOW);
  if (opened == nullptr) {
    const char* const reason = ::dlerror();
    throw eso::Error(eso::Fault::system, path.string(), fmt::format("cannot be loaded: {}", reason));
  }
  const auto function = reinterpret_cast<BackendFunction>(::dlsym(opened, "eso_backend"));
  if (function == nullptr)
    throw eso::Error(eso::Fault::system, path.string(), "is no backend of this program");
  return *function();
}

void only_torch(const BackendOptions& o, const char* flag, bool given) {
  if (given && o.backend != "torch") throw eso::input_error(flag, "needs --backend torch", o.backend);
}

}  // namespace

void check_backend(const BackendOptions& o) {
  if (o.backend == "ggml")
    throw eso::input_error("--backend", "is not there yet", o.backend, "eigen or torch");
  if (o.backend != "eigen" && o.backend != "torch")
    throw eso::input_error("--backend", "unknown value", o.backend, "eigen or torch");
  if (o.precision != "float32" && o.precision != "bfloat16")
    throw eso::input_error("--precision", "unknown value", o.precision, "float32 or bfloat16");
  if (o.device != "cpu" && o.device != "cuda" && !o.device.starts_with("cuda:"))
    throw eso::input_error("--device", "unknown value", o.device, "cpu or cuda");
  only_torch(o, "--precision bfloat16", o.precision != "float32");
  only_torch(o, "--device cuda", o.device != "cpu");
  only_torch(o, "--checkpoint-activations", o.checkpoint_activations);
  only_torch(o, "--shard-optimizer", o.shard_optimizer);
  if (o.lora_rank < 0)
    throw eso::input_error("--lora-rank", "is out of range", fmt::format("{}", o.lora_rank), "at least 0");
  only_torch(o, "--lora-rank", o.lora_rank != 0);
  const auto needs_rank = [&](const char* flag, bool given) {
    if (o.lora_rank == 0 && given) throw eso::input_error(flag, "needs --lora-rank above 0");
  };
  needs_rank("--lora-targets", !o.lora_targets.empty());
  if (!(o.lora_alpha > 0) || !std::isfinite(o.lora_alpha))
    throw eso::input_error("--lora-alpha", "is out of range", fmt::format("{}", o.lora_alpha), "above 0");
  if (!(o.lora_dropout >= 0 && o.lora_dropout < 1))
    throw eso::input_error("--lora-dropout", "is out of range", fmt::format("{}", o.lora_dropout),
                           "at least 0, below 1");
  needs_rank("--lora-alpha", o.lora_alpha != BackendOptions().lora_alpha);
  needs_rank("--lora-dropout", o.lora_dropout != 0);
}

AnyRanks open_ranks(const BackendOptions& options, const std::function<void(int)>& on_lost) {
  const char* const size = std::getenv("WORLD_SIZE");
  if (size == nullptr || std::string_view(size) == "1") {
    if (options.shard_optimizer)
      throw eso::input_error("--shard-optimizer", "needs several processes, as torchrun starts them");
    return {};
  }
  if (options.backend == "eigen")
    throw eso::input_error("--backend", "trains in one process, and WORLD_SIZE is set", options.backend,
                           "torch");
  return library(options.backend).ranks(on_lost);
}

AnyModel load_model(const BackendOptions& options, const std::filesystem::path& folder,
                    std::shared_ptr<eso::Threads> threads, Use use) {
  check_backend(options);
  if (options.backend != "eigen")
    return library(options.backend).load(options, folder, threads->count(), use);
  // Training changes every weight: those of mapped files would be copied then.
  const auto where = use == Use::training ? eso::WeightMemory::copied : eso::WeightMemory::mapped;
  eso::LoadedModel<float> loaded = eso::load_model<float>(folder, std::move(threads), where);
  return {std::make_unique<EigenModel>(std::move(loaded.decoder), std::move(loaded.config),
                                       std::move(loaded.files)),
          folder, std::move(loaded.ignored)};
}

AnyModel random_model(const BackendOptions& options, const std::filesystem::path& folder, std::uint64_t seed,
                      std::shared_ptr<eso::Threads> threads) {
  check_backend(options);
  if (options.backend != "eigen")
    return library(options.backend).random(options, folder, seed, threads->count());
  eso::ModelSettings settings = eso::read_settings(folder);
  return {
      std::make_unique<EigenModel>(eso::random_model<float>(settings.architecture, seed, std::move(threads)),
                                   std::move(settings.config), nullptr),
      folder,
      {}};
}

eso::DropoutRates config_dropout(const std::filesystem::path& folder) { return eso::read_dropout(folder); }

bool has_weights(const std::filesystem::path& folder) {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json"}) {
    if (eso::is_named(folder / name)) return true;
  }
  return false;
}

}  // namespace eso_program
