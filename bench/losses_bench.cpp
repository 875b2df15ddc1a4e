// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include "eso/loss/combined.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/totals.hpp"
#include "fixtures.hpp"

namespace {

/// 16 prompts of 4 responses of 128 tokens.
template <class Loss>
void run(benchmark::State& state, const Loss& loss, eso::Kind kind) {
  eso::Batch batch = sampled_batch(16, 1, 4, 128);
  for (eso::Response& response : batch.responses) response.kind = kind;
  const eso::LogProbs logp = eso::LogProbs::Constant(64, 128, -2);
  const eso::Totals totals = eso::totals_of(loss, batch);
  for (auto _ : state) benchmark::DoNotOptimize(loss(batch, logp, totals));
}

void sft(benchmark::State& state) { run(state, eso::SftLoss{}, eso::Kind::target); }
void eso_loss(benchmark::State& state) { run(state, eso::EsoLoss{}, eso::Kind::sample); }
BENCHMARK(sft);
BENCHMARK(eso_loss)->Name("eso");

}  // namespace
