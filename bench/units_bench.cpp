// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <filesystem>

#include "eso/data/formats.hpp"
#include "eso/optim/adamw.hpp"
#include "eso/reward/rouge.hpp"
#include "eso/sample/distribution.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "eso/train/checkpoint.hpp"
#include "fixtures.hpp"

namespace {

/// One draw from V = 50257 logits.
void sampling(benchmark::State& state) {
  const Eigen::ArrayXf logits = 4 * Eigen::ArrayXf::Random(50257);
  eso::Distribution<float> distribution;
  distribution.temperature = static_cast<double>(state.range(0)) / 10;
  std::uint64_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        distribution.draw(logits.data(), logits.size(), eso::uniform01({.seed = 1}, ++i)));
  }
}
BENCHMARK(sampling)->Arg(0)->Arg(5)->Arg(10)->Arg(20)->Unit(benchmark::kMicrosecond);

/// One update of 16 million parameters, two threads: 28 bytes each.
void adamw(benchmark::State& state) {
  constexpr eso::Index count = 1 << 24;
  eso::Threads threads(2);
  Eigen::ArrayXf value = Eigen::ArrayXf::Random(count), gradient = Eigen::ArrayXf::Random(count);
  const eso::ParameterList<float> list{{"w", {count}, value.data(), gradient.data(), count, true}};
  eso::AdamW optimizer{.threads = &threads};
  optimizer.update(list, 1e-4, 1);
  for (auto _ : state) optimizer.update(list, 1e-4, 1);
  state.SetBytesProcessed(state.iterations() * count * 28);
}
BENCHMARK(adamw)->Unit(benchmark::kMillisecond);

std::vector<eso::TextExample> debsum() {
  const std::filesystem::path file = ESO_EXAMPLES_DIR "/debsum/data/train.jsonl.gz";
  return eso::read_examples(std::vector{file}, eso::Format::debsum).examples;
}

void tokenizer(benchmark::State& state) {
  const auto bpe = eso::ByteLevelBpe::load(ESO_EXAMPLES_DIR "/debsum/base");
  const auto texts = debsum();
  std::int64_t bytes = 0;
  for (auto _ : state) {
    for (const eso::TextExample& text : texts) {
      benchmark::DoNotOptimize(bpe.encode(text.prompt));
      bytes += static_cast<std::int64_t>(text.prompt.size());
    }
  }
  state.SetBytesProcessed(bytes);
}
BENCHMARK(tokenizer)->Unit(benchmark::kMillisecond);

/// ROUGE-1, -2 and -L of synopsis and description, with stemmer; an item is a pair.
void rouge(benchmark::State& state) {
  const auto texts = debsum();
  const eso::Rouge measure{.stemmer = true};
  for (auto _ : state) {
    for (const eso::TextExample& text : texts) benchmark::DoNotOptimize(measure(text.response, text.prompt));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(texts.size()));
}
BENCHMARK(rouge)->Unit(benchmark::kMillisecond);

/// 64 MiB of parameters, synced to the disk.
void checkpoint(benchmark::State& state) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "eso-bench-checkpoint";
  const Eigen::ArrayXf values = Eigen::ArrayXf::Random(1 << 24);
  const eso::TensorView view{"w",
                             eso::DataType::float32,
                             {values.size()},
                             std::as_bytes(std::span(values.data(), static_cast<std::size_t>(values.size()))),
                             {}};
  for (auto _ : state) eso::save_checkpoint(folder, 1, std::span(&view, 1), {}, nlohmann::json::object(), 1);
  std::filesystem::remove_all(folder);
  state.SetBytesProcessed(state.iterations() * values.size() * 4);
}
BENCHMARK(checkpoint)->Unit(benchmark::kMillisecond);

}  // namespace
