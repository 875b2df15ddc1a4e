// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "eso/batch.hpp"
#include "eso/model/hugging_face.hpp"
#include "eso/random.hpp"
#include "eso/threads.hpp"

/// GPT-2 124M, from which the sizes of all benchmarks are.
inline eso::Architecture gpt2() {
  eso::Architecture a;
  a.vocabulary = 50257, a.context = 1024, a.width = a.embedding_width = 768;
  a.layers = 12, a.heads = 12, a.inner = 3072;
  return a;
}

/// Random weights, two threads; made once for all benchmarks of a file that ask for it.
inline eso::Decoder<float> model_of(const eso::Architecture& a) {
  return eso::random_model<float>(a, 1, std::make_shared<eso::Threads>(2));
}

inline eso::Tokens tokens(eso::Index count, std::uint64_t seed, eso::Index vocabulary = 50257) {
  eso::Tokens ids;
  for (eso::Index i = 0; i < count; ++i) {
    const double u = eso::uniform01({.seed = seed}, static_cast<std::uint64_t>(i));
    ids.push_back(static_cast<eso::TokenId>(u * static_cast<double>(vocabulary)));
  }
  return ids;
}

/// `prompts` prompts with `samples` scored samples each.
inline eso::Batch sampled_batch(eso::Index prompts, eso::Index prompt_tokens, eso::Index samples,
                                eso::Index response_tokens) {
  eso::Batch batch;
  for (eso::Index p = 0; p < prompts; ++p) {
    batch.prompts.push_back({tokens(prompt_tokens, static_cast<std::uint64_t>(p)), p});
    for (eso::Index j = 0; j < samples; ++j) {
      eso::Response response;
      response.prompt = p;
      response.sample = j;
      response.tokens = tokens(response_tokens, static_cast<std::uint64_t>(1000 + samples * p + j));
      response.reward = eso::uniform01({.seed = 7}, static_cast<std::uint64_t>(samples * p + j));
      batch.responses.push_back(std::move(response));
    }
  }
  return batch;
}
