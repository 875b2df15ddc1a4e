// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <numeric>

#include "eso/model/product.hpp"
#include "fixtures.hpp"

namespace {

eso::Decoder<float>& model() {
  static eso::Decoder<float> decoder = model_of(gpt2());
  return decoder;
}

/// C (m, n) = A (m, k) B (k, n), one thread; the rate is 2 m n k.
void product(benchmark::State& state) {
  const eso::Index m = state.range(0), n = state.range(1), k = state.range(2);
  const eso::RowMatrix<float> a = eso::RowMatrix<float>::Random(m, k),
                              b = eso::RowMatrix<float>::Random(k, n);
  eso::RowMatrix<float> c(m, n);
  for (auto _ : state) {
    eso::product(a, b, c);
    benchmark::DoNotOptimize(c.data());
  }
  state.counters["FLOPS"] =
      benchmark::Counter(2.0 * static_cast<double>(m * n * k), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(product)
    ->Args({512, 3072, 768})
    ->Args({512, 768, 3072})
    ->Args({16, 3072, 768})
    ->Args({1, 3072, 768});

/// Log-probabilities of 4 prompts of 64 tokens with one response of 64, and with 4.
void forward(benchmark::State& state) {
  const eso::Batch batch = sampled_batch(4, 64, state.range(0), 64);
  model().log_probs(batch);
  for (auto _ : state) benchmark::DoNotOptimize(model().log_probs(batch));
}
BENCHMARK(forward)->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond);

void backward(benchmark::State& state) {
  const eso::Batch batch = sampled_batch(4, 64, state.range(0), 64);
  const eso::LogProbs weights = eso::LogProbs::Constant(batch.response_count(), 64, 0.01);
  model().log_probs(batch);
  model().backward(weights);
  for (auto _ : state) model().backward(weights);
}
BENCHMARK(backward)->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond);

/// Forward and backward of a training pass, with dropout of so many percent.
void dropout(benchmark::State& state) {
  const eso::Batch batch = sampled_batch(4, 64, 4, 64);
  const eso::LogProbs weights = eso::LogProbs::Constant(batch.response_count(), 64, 0.01);
  model().dropout = eso::DropoutRates::all(eso::Family::gpt2, static_cast<double>(state.range(0)) / 100);
  for (auto _ : state) {
    model().log_probs(batch, {1, 1});
    model().backward(weights);
  }
  model().dropout = {};
}
BENCHMARK(dropout)->Arg(0)->Arg(10)->Unit(benchmark::kMillisecond);

/// The vocabulary alone: log-probabilities of `rows` chosen tokens, forward and backward.
void log_prob_head(benchmark::State& state) {
  const eso::Index rows = state.range(0), width = 768, vocabulary = 50257;
  eso::Threads threads(2);
  const eso::RowMatrix<float> x = eso::RowMatrix<float>::Random(rows, width);
  eso::RowMatrix<float> e = 0.02F * eso::RowMatrix<float>::Random(vocabulary, width), d_e = e, d_x;
  eso::VocabularyHead<float> head;
  head.weight = {e.data(), d_e.data()};
  head.vocabulary = vocabulary, head.width = width;
  std::vector<eso::Packing::Target> targets;
  const eso::Tokens chosen = tokens(rows, 3);
  for (eso::Index i = 0; i < rows; ++i) targets.push_back({i, chosen[static_cast<std::size_t>(i)], 0, i});
  eso::LogProbs logp = eso::LogProbs::Zero(1, rows);
  const eso::LogProbs weights = eso::LogProbs::Constant(1, rows, 0.01);
  eso::VocabularyHead<float>::Kept kept;
  for (auto _ : state) {
    head.forward(x, targets, logp, kept, true, threads);
    head.backward(x, targets, weights, kept, d_x, threads);
  }
}
BENCHMARK(log_prob_head)->Arg(512)->Arg(2560)->Unit(benchmark::kMillisecond);

/// One token of 4 prompts of 128 with `range` rows each.
void decode(benchmark::State& state) {
  const eso::Batch batch = sampled_batch(4, 128, 0, 0);
  const eso::Index rows = 4 * state.range(0);
  const eso::KeyValueDecoding<float> prefilled = model().decode(batch.prompts);
  std::vector<eso::Index> parents;
  for (eso::Index i = 0; i < rows; ++i) parents.push_back(i / state.range(0));
  const eso::Tokens next = tokens(rows, 5);
  for (auto _ : state) {
    auto decoding = prefilled;
    decoding.advance(parents, next);
    benchmark::DoNotOptimize(decoding.logits().data());
  }
}
BENCHMARK(decode)->Arg(1)->Arg(4)->Unit(benchmark::kMillisecond);

}  // namespace
