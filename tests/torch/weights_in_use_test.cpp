// SPDX-License-Identifier: MIT
#include <filesystem>

#include "torch_models.hpp"

#include "../temporary_folder.hpp"
#include "eso/testing/log_prob_model_laws.hpp"

TEST_CASE("torch: what happens to the files of a loaded model does not touch it") {
  const TemporaryFolder folder;
  const std::filesystem::path model = folder / "model", weights = model / "model.safetensors";
  std::filesystem::copy(golden_folder("gpt2/plain"), model);
  eso::torch::LoadedModel loaded =
      eso::torch::load_model(model, test_options(eso::torch::Precision::float32));
  const eso::Architecture& a = loaded.decoder.architecture();
  const eso::Batch batch = eso::testing::random_batch({.vocabulary = a.vocabulary, .context = a.context}, 3);
  const eso::LogProbs before = loaded.decoder.log_probs(batch);
  const auto size = std::filesystem::file_size(weights);
  std::filesystem::resize_file(weights, size / 2);
  CHECK((loaded.decoder.log_probs(batch) == before).all());
  std::filesystem::resize_file(weights, size);  // zeros where it was cut
  CHECK((loaded.decoder.log_probs(batch) == before).all());
}
