// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "eso/loss/combined.hpp"
#include "eso/loss/dpo.hpp"
#include "eso/loss/drl.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/rrhf.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/totals.hpp"
#include "eso/loss/unlike.hpp"
#include "fixtures.hpp"

namespace {

/// 16 prompts of 4 responses of 128 tokens, which `kinds` names in turn.
template <class Loss>
void run(benchmark::State& state, const Loss& loss, std::initializer_list<eso::Kind> kinds) {
  eso::Batch batch = sampled_batch(16, 1, 4, 128);
  for (std::size_t n = 0; n < batch.responses.size(); ++n)
    batch.responses[n].kind = std::data(kinds)[std::min(n % 4, kinds.size() - 1)];
  const eso::LogProbs logp = eso::LogProbs::Constant(64, 128, -2);
  batch.reference_logp = logp;
  const eso::Totals totals = eso::totals_of(loss, batch);
  for (auto _ : state) benchmark::DoNotOptimize(loss(batch, logp, totals));
}

void sft(benchmark::State& state) { run(state, eso::SftLoss{}, {eso::Kind::target}); }
void eso_loss(benchmark::State& state) { run(state, eso::EsoLoss{}, {eso::Kind::sample}); }
void unlike(benchmark::State& state) { run(state, eso::UnlikeLoss{}, {eso::Kind::sample}); }
void drl(benchmark::State& state) { run(state, eso::DrlLoss{}, {eso::Kind::greedy, eso::Kind::sample}); }
void rrhf(benchmark::State& state) { run(state, eso::RrhfLoss{}, {eso::Kind::target, eso::Kind::sample}); }
void dpo(benchmark::State& state) {
  run(state, eso::DpoLoss{}, {eso::Kind::chosen, eso::Kind::rejected, eso::Kind::target});
}
BENCHMARK(sft);
BENCHMARK(eso_loss)->Name("eso");
BENCHMARK(unlike);
BENCHMARK(drl);
BENCHMARK(rrhf);
BENCHMARK(dpo);

}  // namespace
