// SPDX-License-Identifier: MIT
#include "eso/model/plan.hpp"

#include <malloc.h>

#include <catch2/catch.hpp>
#include <functional>

#include "eso/model/hugging_face.hpp"
#include "small_architectures.hpp"

using eso::Plan;
using eso::PlanBackend;
using eso::PlanMemory;
using eso::PlanSettings;
using eso::PlanWork;

namespace {

/// 3 prompts of 4 tokens, with 3 responses of 5 tokens each: 48 rows, of which 39 meet the head.
PlanSettings small_run() {
  PlanSettings s;
  s.batch = 3;
  s.prompt_tokens = 4;
  s.response_tokens = 5;
  s.given = 1;
  s.samples = 2;
  return s;
}

PlanSettings small_torch_run() {
  PlanSettings s = small_run();
  s.backend = PlanBackend::torch;
  return s;
}

std::vector<const PlanMemory*> phases(const Plan& plan) {
  return {&plan.sampling, &plan.head, &plan.layers, &plan.embeddings, &plan.update};
}

/// Bytes that the heap has given out.
double in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

/// Not by the heap that a sanitizer puts in the place of the C library's.
bool heap_is_counted() {
  const double before = in_use();
  const std::vector<char> block(1 << 24, 'x');
  return in_use() - before >= 1 << 24 && block.back() == 'x';
}

}  // namespace

TEST_CASE("a plan counts the parameters that the model has") {
  for (const eso::Architecture& a : {gpt2(), opt(), opt_before(), neox()}) {
    const Plan plan = eso::plan(a, small_run());
    CHECK(plan.parameters == static_cast<double>(eso::parameter_count(a)));
    CHECK(plan.trained == plan.parameters);
  }
}

TEST_CASE("a plan by hand: the Eigen backend") {
  const Plan plan = eso::plan(gpt2(), small_run());
  // embeddings 13 12 + 16 12, a layer 4 12 + (12 36 + 36) + (12 12 + 12) + (12 17 + 17) + (17 12 + 12), norm
  // 24
  CHECK(plan.parameters == 156 + 192 + 2 * 1109 + 24);
  CHECK(plan.rows == 48);
  CHECK(plan.head_rows == 39);
  CHECK(plan.step_rows == 48);
  for (const PlanMemory* phase : phases(plan)) {
    CHECK(phase->weights == 4 * 2590);
    CHECK(phase->gradients == 4 * 2590);
    CHECK(phase->moments == 8 * 2590);
    // layer 0: 48 (8 12 + 2 17 + 3); layer 1: 48 (6 12 + 3) + 39 (3 12 + 2 17); ends: 48 12 + 39 3 12
    CHECK(phase->activations == 4 * (48 * 133 + 48 * 75 + 39 * 70 + 48 * 12 + 39 * 36));
    CHECK(phase->reference == 0);
    CHECK(phase->copies == 4 * (2 * (4 * 144 + 2 * 204) + 156));
  }
  CHECK(plan.layers.scratch == 4 * 48 * (5 * 12 + 17));
  // 2 layers of keys and values: 12 rows of prompts, 6 drawn rows with room for 16
  CHECK(plan.sampling.cache == 4 * 2 * 2 * 12 * (12 + 6 * 16));
}

TEST_CASE("a plan by hand: LibTorch keeps what a gradient needs") {
  const Plan plan = eso::plan(gpt2(), small_torch_run());
  CHECK(plan.head.gradients == 0);
  CHECK(plan.update.gradients == 4 * 2590);
  // A row of layer 0: two widths before attention, three and two inner after it; three of 12 rows of prompts
  // for it and two of 36 of responses, whose sums it keeps too; keys and values beside prompts': 9 (4 + 4)
  // rows.
  const double before = 48 * 2 * 12 + (12 * 3 + 36 * 2) * 12 + 2 * 72 * 12, sums = 2 * 4 * 36 * 3,
               tail = 3 * 12 + 2 * 17, ends = 39 * 24;
  CHECK(plan.head.activations == 4 * (2 * before + (48 + 39) * tail + ends) + sums);
  CHECK(plan.layers.activations > 0);
  // the logits of 39 rows and what a chunk of them needs; later the gradient of the head alone
  CHECK(plan.head.head == 4 * 39 * 13 * 4);
  CHECK(plan.embeddings.gradients == 4 * 2590);
  // matrices and head in the order in which decoding reads them
  CHECK(plan.sampling.copies == 4 * (2 * (4 * 144 + 2 * 204) + 156));

  PlanSettings s = small_torch_run();
  s.checkpoint_activations = true;
  CHECK(eso::plan(gpt2(), s).head.activations == 4 * (2 * 48 * 12 + ends));

  s = small_torch_run();
  s.cuda = true;
  CHECK(eso::plan(gpt2(), s).head.activations ==
        plan.head.activations + 2 * 4 * ((48 * 4 - 108) * 12 + 12 * 3));

  s = small_torch_run();
  s.bfloat16 = true;
  const Plan rounded = eso::plan(gpt2(), s);
  CHECK(rounded.head.weights == 4 * 2590);
  CHECK(rounded.layers.copies == 2 * 2 * 1109);
  CHECK(rounded.head.copies == 2 * (2 * 1109 + 156));
  CHECK(rounded.sampling.copies == 2 * (2 * 1109 + 156));
  CHECK(rounded.head.activations == 2 * (2 * before + (48 + 39) * tail + ends) + sums);

  s.adapter_rank = 2;
  s.adapters = {{eso::Role::qkv_weight, 36}};
  const Plan lora = eso::plan(gpt2(), s);
  CHECK(lora.trained == 2 * 2 * (12 + 36));
  CHECK(lora.sampling.copies == 2 * lora.trained + 2 * (2 * (4 * 144 + 2 * 204) + 156));
  s.cuda = true;
  CHECK(eso::plan(gpt2(), s).sampling.copies == 2 * lora.trained);
  CHECK(lora.head.weights == 2 * 2590 + 4 * lora.trained);
  CHECK(lora.update.gradients == 4 * lora.trained);
  CHECK(lora.update.moments == 8 * lora.trained);
}

TEST_CASE("a plan by hand: a prompt with one response is one text on LibTorch") {
  PlanSettings s = small_torch_run();
  s.samples = 0;
  // 3 texts of 4 + 4 rows, 15 of which meet the head; no keys stand beside a response's
  const double before = 24 * 5 * 12, tail = 3 * 12 + 2 * 17, ends = 15 * 24;
  CHECK(eso::plan(gpt2(), s).head.activations == 4 * (2 * before + (24 + 15) * tail + ends));
}

TEST_CASE("a plan by hand: the operations of a step") {
  const PlanWork work = eso::plan(gpt2(), small_run()).work;
  // the last layer's rows behind attention are those of the head
  const double products = 2.0 * (2 * 48 * 432 + (48 + 39) * (144 + 408));
  CHECK(work.forward == products);
  CHECK(work.backward == 2 * products);
  // pairs: 3 prompts of 1 + 2 + 3 + 4, 9 responses of 5 + 6 + 7 + 8
  CHECK(work.attention == 3.5 * 4 * 12 * (30 + 9 * 26) * 2);
  CHECK(work.head == 3 * 2.0 * 39 * 13 * 12);
  CHECK(work.recomputation == 0);
  // 12 rows of prompts, of the last layer 3 behind attention; then 6 rows 4 times
  const double prefill = 2 * 12 * 432 + (12 + 3) * 552 + 3 * 156, steps = 24 * (2 * 984 + 156);
  CHECK(work.generation == 2 * (prefill + steps) + 4 * 12 * 2 * (30 + 6 * 26));
  PlanSettings s = small_torch_run();
  s.checkpoint_activations = true;
  CHECK(eso::plan(gpt2(), s).work.recomputation == products + 4 * 12 * (30 + 9 * 26) * 2);
  s.samples = 0;
  CHECK(eso::plan(gpt2(), s).work.generation == 0);
}

TEST_CASE("a plan grows with whatever a run has more of") {
  const std::vector<std::function<void(PlanSettings&)>> more{
      [](PlanSettings& s) { ++s.batch; },           [](PlanSettings& s) { ++s.prompt_tokens; },
      [](PlanSettings& s) { ++s.response_tokens; }, [](PlanSettings& s) { ++s.given; },
      [](PlanSettings& s) { ++s.samples; },         [](PlanSettings& s) { s.reference = true; }};
  for (const eso::Architecture& a : {gpt2(), opt(), opt_before(), neox()}) {
    for (const PlanSettings& start : {small_run(), small_torch_run()}) {
      for (const auto& change : more) {
        PlanSettings s = start;
        change(s);
        const Plan less = eso::plan(a, start), greater = eso::plan(a, s);
        CHECK(greater.peak().total() > less.peak().total());
        CHECK(greater.work.total() > less.work.total());
      }
      eso::Architecture deeper = a;
      ++deeper.layers;
      CHECK(eso::plan(deeper, start).peak().total() > eso::plan(a, start).peak().total());
    }
  }
}

TEST_CASE("what saves memory saves it in a plan, and shares are shared") {
  for (eso::Architecture a : {gpt2(), opt(), opt_before(), neox()}) {
    a.width = 48, a.inner = 192, a.heads = 3, a.layers = 6;
    a.embedding_width = a.embedding_width == 7 ? 24 : 48;
    const Plan plain = eso::plan(a, small_torch_run());
    const auto with = [&](const std::function<void(PlanSettings&)>& change) {
      PlanSettings s = small_torch_run();
      change(s);
      return eso::plan(a, s);
    };
    const Plan again = with([](PlanSettings& s) { s.checkpoint_activations = true; }),
               micro = with([](PlanSettings& s) { s.micro_batch = 1; }),
               shards = with([](PlanSettings& s) { s.ranks = 3, s.shard_optimizer = true; }),
               ranks = with([](PlanSettings& s) { s.ranks = 3; }),
               sgd = with([](PlanSettings& s) { s.adam = false; });
    CHECK(again.head.activations < plain.head.activations);
    CHECK(again.work.total() > plain.work.total());
    CHECK(micro.head.activations < plain.head.activations);
    CHECK(micro.head.gradients == 4 * plain.parameters);
    CHECK(micro.work.total() == plain.work.total());
    CHECK(shards.update.moments >= plain.update.moments / 3);
    CHECK(shards.update.moments < plain.update.moments);
    CHECK(ranks.update.moments == plain.update.moments);
    CHECK(ranks.rows == plain.rows / 3);
    CHECK(ranks.step_rows == plain.step_rows);
    CHECK(sgd.update.moments == 0);
  }
}

TEST_CASE("a plan by hand: what the fullest of several ranks has") {
  // Embeddings 348, then of layer 0 24 + 468 + 156 + 24 + 221 to the inner bias: 1241 numbers. The next
  // tensor, 204 numbers, has its middle at 1343, behind that of all 2590.
  PlanSettings s = small_torch_run();
  s.ranks = 2;
  s.shard_optimizer = true;
  Plan plan = eso::plan(gpt2(), s);
  CHECK(plan.update.moments == 8 * (2590 - 1241));
  CHECK(plan.update.weights == 4 * 2590);
  CHECK(plan.rows == 32);  // two of three prompts
  s.micro_batch = 2;       // of both ranks: one each
  plan = eso::plan(gpt2(), s);
  CHECK(plan.rows == 16);
  CHECK(plan.head.gradients == 4 * 2590);
  s.adapter_rank = 2;
  s.adapters = {{eso::Role::qkv_weight, 36}};
  CHECK(eso::plan(gpt2(), s).update.moments == 8 * 96);  // a layer each
}

TEST_CASE("a plan of nothing is refused") {
  for (const auto& change : std::vector<std::function<void(PlanSettings&)>>{
           [](PlanSettings& s) { s.batch = 0; }, [](PlanSettings& s) { s.ranks = 0; },
           [](PlanSettings& s) { s.response_tokens = 0; }, [](PlanSettings& s) { s.samples = -1; },
           [](PlanSettings& s) { s.micro_batch = -1; }}) {
    PlanSettings s = small_run();
    change(s);
    CHECK_THROWS_AS(eso::plan(gpt2(), s), eso::Error);
  }
}

TEST_CASE("what a plan says of activations, gradients and moments is what the decoder takes") {
  if (!heap_is_counted()) {
    WARN("not checked: a sanitizer's heap counts nothing");
    return;
  }
  for (eso::Architecture a : {gpt2(), opt(), opt_before(), neox()}) {
    const bool projects = a.projects();
    a.family = projects ? eso::Family::opt : a.tied_head ? eso::Family::gpt2 : eso::Family::gpt_neox;
    a.width = 64, a.inner = 256, a.heads = 4, a.layers = 3, a.vocabulary = 500, a.context = 160;
    a.embedding_width = projects ? 32 : 64;
    PlanSettings s = small_run();
    s.batch = 4;
    s.prompt_tokens = 100;
    s.response_tokens = 50;
    auto model = eso::random_model<float>(a, 1, std::make_shared<eso::Threads>(1));
    eso::Batch batch;
    for (eso::Index p = 0; p < s.batch; ++p) {
      batch.prompts.push_back({eso::Tokens(100, 3), p});
      for (eso::Index n = 0; n < s.given + s.samples; ++n) {
        eso::Response response;
        response.prompt = p;
        response.tokens.assign(50, 7);
        batch.responses.push_back(std::move(response));
      }
    }
    INFO(projects << a.tied_head);
    const double before = in_use();
    const eso::LogProbs logp = model.log_probs(batch);
    model.backward(logp);
    const Plan plan = eso::plan(a, s);
    const PlanMemory& m = plan.update;
    CHECK(in_use() - before == Approx(m.activations + m.gradients + m.head).epsilon(0.02));
  }
}
