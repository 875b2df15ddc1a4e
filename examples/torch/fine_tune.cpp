// SPDX-License-Identifier: MIT
// Fine-tunes a Hugging Face model with SFT and ESO on LibTorch: examples/fine_tune.cpp with another model and
// optimizer.
//
//     examples/torch_fine_tune_example MODEL DATA.jsonl OUTPUT [DEVICE]
//
// docs/torch.md explains it.
#include <eso/eso.hpp>
#include <eso/torch/torch.hpp>

namespace fs = std::filesystem;

void fine_tune(const fs::path& folder, const fs::path& data, const fs::path& output,
               const std::string& device) {
  eso::torch::DecoderOptions options;
  options.device = eso::torch::device_named(device);  // "cpu", "cuda", "cuda:1"
  options.precision = eso::torch::Precision::bfloat16;
  options.checkpoint_activations = true;
  eso::torch::LoadedModel loaded = eso::torch::load_model(folder, options);
  eso::torch::Decoder& model = loaded.decoder;
  const auto tokenizer = eso::ByteLevelBpe::load(folder);

  const std::vector<fs::path> files{data};
  const eso::Tokenised tokenised = eso::tokenise(
      eso::read_examples(files, eso::Format::debsum).examples, tokenizer, model.end_of_sequence(),
      /*max_prompt_tokens=*/128, /*max_response_tokens=*/24, model.context_length());

  eso::Temperatures sampler{1, 1, 1, 1};
  sampler.max_tokens = 24;
  const eso::RougeReward<eso::ByteLevelBpe> reward{&tokenizer};
  eso::Trainer trainer{model, sampler, reward, eso::Combined{eso::SftLoss{}, 1, eso::EsoLoss{}},
                       eso::torch::AdamW{}};
  trainer.epochs = 2;
  trainer.active_epochs = eso::ActiveEpochs::last();  // of the two, ESO is on in the second
  trainer.batch_size = 8;
  trainer.schedule = {.peak = 3e-4, .minimum = 1e-4};
  for (const eso::Step& step : trainer.run(tokenised.examples)) {
    fmt::print("step {} of {}  loss {:.3f}\n", step.number, step.steps, step.loss);
  }

  fs::create_directories(output);
  eso::torch::write_model(output, model, loaded.config);
  for (const fs::path& file : tokenizer.files())
    fs::copy_file(file, output / file.filename(), fs::copy_options::overwrite_existing);
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    fmt::print(stderr, "usage: torch_fine_tune_example MODEL DATA.jsonl OUTPUT [DEVICE]\n");
    return 2;
  }
  try {
    fine_tune(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "cpu");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
