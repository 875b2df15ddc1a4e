// SPDX-License-Identifier: MIT
#include "backend.hpp"

#include "eso/model/hugging_face.hpp"
#include "eso/text/json_file.hpp"

namespace eso_program {
namespace {

class EigenDecoding : public AnyDecoding::Interface {
 public:
  explicit EigenDecoding(eso::KeyValueDecoding<float> decoding) : decoding_(std::move(decoding)) {}
  const eso::RowMatrix<float>& logits() const override { return decoding_.logits(); }
  void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) override {
    decoding_.advance(parents, tokens);
  }
  std::unique_ptr<Interface> copy() const override { return std::make_unique<EigenDecoding>(decoding_); }

 private:
  eso::KeyValueDecoding<float> decoding_;
};

class EigenModel : public AnyModel::Interface {
 public:
  EigenModel(eso::Decoder<float> decoder, nlohmann::json config)
      : decoder_(std::move(decoder)), config_(std::move(config)) {}

  eso::LogProbs log_probs(const eso::Batch& batch) override { return decoder_.log_probs(batch); }
  eso::LogProbs log_probs(const eso::Batch& batch, eso::StepSeed seed) override {
    return decoder_.log_probs(batch, seed);
  }
  void set_dropout(const eso::DropoutRates& rates) override { decoder_.dropout = rates; }
  void backward(const eso::LogProbs& d_logp) override { decoder_.backward(d_logp); }
  eso::ParameterList<float> parameters() override { return decoder_.parameters(); }
  void score_only(double temperature) override {
    decoder_.set_temperature(temperature);
    decoder_.keeps_for_backward = false;
  }
  AnyDecoding decode(std::span<const eso::Prompt> prompts) const override {
    return AnyDecoding(std::make_unique<EigenDecoding>(decoder_.decode(prompts)));
  }
  std::vector<eso::TensorView> state() const override { return decoder_.state(); }
  void load_state(const eso::TensorLookup& lookup) override { decoder_.load_state(lookup); }
  const eso::Architecture& architecture() const override { return decoder_.architecture(); }
  void write(const std::filesystem::path& folder, std::optional<eso::DataType> store_as) const override {
    eso::write_model(folder, decoder_, config_, store_as);
  }

 private:
  eso::Decoder<float> decoder_;
  nlohmann::json config_;
};

void check_backend(const std::string& backend) {
  if (backend == "torch" || backend == "ggml") {
    throw eso::input_error("--backend", "this backend is not there yet", backend, "eigen");
  }
  if (backend != "eigen") throw eso::input_error("--backend", "unknown backend", backend, "eigen");
}

}  // namespace

AnyModel load_model(const std::string& backend, const std::filesystem::path& folder,
                    std::shared_ptr<eso::Threads> threads) {
  check_backend(backend);
  eso::LoadedModel<float> loaded = eso::load_model<float>(folder, std::move(threads));
  return {std::make_unique<EigenModel>(std::move(loaded.decoder), std::move(loaded.config)), folder,
          std::move(loaded.ignored)};
}

AnyModel random_model(const std::string& backend, const std::filesystem::path& folder, std::uint64_t seed,
                      std::shared_ptr<eso::Threads> threads) {
  check_backend(backend);
  eso::ModelSettings settings = eso::read_settings(folder);
  return {
      std::make_unique<EigenModel>(eso::random_model<float>(settings.architecture, seed, std::move(threads)),
                                   std::move(settings.config)),
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
