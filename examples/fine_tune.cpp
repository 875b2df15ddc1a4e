// SPDX-License-Identifier: MIT
// Fine-tunes a Hugging Face model with SFT and ESO, on JSON lines of documents and their summaries:
//
//     examples/fine_tune_example MODEL DATA.jsonl OUTPUT
//
// OUTPUT gets checkpoints/ and, at the end, model/, which transformers and `eso generate` load. Started again
// after it was stopped, it goes on from the newest checkpoint and ends with the same bytes. docs/models.md
// explains it.
#include <eso/eso.hpp>

namespace fs = std::filesystem;

void fine_tune(const fs::path& folder, const fs::path& data, const fs::path& output) {
  auto threads = std::make_shared<eso::Threads>(2);
  eso::LoadedModel<float> loaded = eso::load_model<float>(folder, threads);
  eso::Decoder<float>& model = loaded.decoder;
  const auto tokenizer = eso::ByteLevelBpe::load(folder);

  const std::vector<fs::path> files{data};
  const eso::Tokenised tokenised = eso::tokenise(
      eso::read_examples(files, eso::Format::debsum).examples, tokenizer, model.end_of_sequence(),
      /*max_prompt_tokens=*/128, /*max_response_tokens=*/24, model.context_length());
  fmt::print("{} examples, {} prompts were too long\n", tokenised.examples.size(),
             tokenised.too_long_prompts);

  eso::Temperatures sampler{1, 1, 1, 1};
  sampler.max_tokens = 24;
  const eso::RougeReward<eso::ByteLevelBpe> reward{&tokenizer};
  eso::Trainer trainer{model, sampler, reward, eso::Combined{eso::SftLoss{}, 1, eso::EsoLoss{}},
                       eso::AdamW{.threads = threads.get()}};
  trainer.epochs = 2;
  trainer.active_epochs = eso::ActiveEpochs::last();  // of the two, ESO is on in the second
  trainer.batch_size = 8;
  trainer.schedule = {.peak = 3e-4, .minimum = 1e-4};

  fs::create_directories(output / "model");
  const eso::DirectoryLock lock(output);  // one process at a time
  const fs::path checkpoints = output / "checkpoints";
  if (const auto newest = eso::load_newest_checkpoint(checkpoints)) {
    model.load_state(newest->model.lookup());
    trainer.optimizer.load_state(newest->optimizer.lookup());
    trainer.steps_done = newest->step;
    trainer.tokens_seen = newest->counters.at("tokens");
    fmt::print("going on after step {}\n", newest->step);
  }
  for (const eso::Step& step : trainer.run(tokenised.examples)) {
    fmt::print("step {} of {}  loss {:.3f}", step.number, step.steps, step.loss);
    if (step.active) fmt::print("  reward {:.3f}", step.reward);
    fmt::print("\n");
    if (step.number % 5 != 0 && step.number != step.steps) continue;
    eso::save_checkpoint(checkpoints, step.number, model.state(), trainer.optimizer.state(),
                         {{"tokens", step.tokens}}, /*keep=*/2);
  }

  eso::write_model(output / "model", model, loaded.config);
  for (const fs::path& file : tokenizer.files())
    fs::copy_file(file, output / "model" / file.filename(), fs::copy_options::overwrite_existing);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fmt::print(stderr, "usage: {} MODEL DATA.jsonl OUTPUT\n", argv[0]);
    return 2;
  }
  try {
    fine_tune(argv[1], argv[2], argv[3]);
  } catch (const eso::Error& error) {  // one line: the file or the setting, what was found, what was expected
    fmt::print(stderr, "{}\n", error.what());
    return error.fault() == eso::Fault::input ? 2 : 1;
  }
  return 0;
}
