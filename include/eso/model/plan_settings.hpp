// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include "eso/batch.hpp"
#include "eso/model/architecture.hpp"

namespace eso {

/// Which backend computes: they keep different things.
enum class PlanBackend : std::uint8_t {
  eigen,  ///< `Decoder`: what it allocates it keeps
  torch,  ///< `torch::Decoder`: autograd keeps what the gradient needs and gives it back on the way
};

/// A low-rank adapter in every layer, beside one product or a part of its outputs.
struct PlanAdapter {
  Role product = Role::qkv_weight;  ///< or `attention_out_weight`, `inner_weight`, `outer_weight`
  Index outputs = 0;
};

/// What a run does. The batch is the largest that can come: every prompt and every response has all its
/// tokens.
struct PlanSettings {
  PlanBackend backend = PlanBackend::eigen;
  bool cuda = false;                    ///< the host keeps nothing that is counted
  bool bfloat16 = false;                ///< products and frozen weights in two bytes
  bool checkpoint_activations = false;  ///< a layer keeps its input alone
  bool adam = true;                     ///< two moments a trained number
  bool shard_optimizer = false;         ///< a rank has the moments of its share
  bool reference = false;               ///< a frozen model beside the trained one
  Index ranks = 1;                      ///< processes, each with an equal share of the batch
  Index threads = 1;                    ///< of a process
  Index adapter_rank = 0;               ///< 0: everything is trained
  std::vector<PlanAdapter> adapters = {};
  bool adapter_dropout = false;
  DropoutRates dropout = {};  ///< LibTorch keeps masks, and of attention the probabilities

  Index batch = 16;       ///< prompts a step, of all ranks together
  Index micro_batch = 0;  ///< prompts through the model at once, of all ranks together; 0: the batch
  Index prompt_tokens = 512;
  Index response_tokens = 128;
  Index given = 1;    ///< responses a prompt that the data has
  Index samples = 4;  ///< responses a prompt that are drawn, a greedy one included
};

}  // namespace eso
