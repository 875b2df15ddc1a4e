// SPDX-License-Identifier: MIT
#pragma once

#include "eso/model/architecture.hpp"
#include "eso/testing/texts.hpp"

// Architectures small enough for the law suites, one of each kind, and the limits that suit them in double.

inline eso::Architecture gpt2() {
  eso::Architecture a;
  a.vocabulary = 13;
  a.context = 16;
  a.width = a.embedding_width = 12;
  a.layers = 2;
  a.heads = 3;
  a.inner = 17;
  a.end_of_sequence = 5, a.ends = {5};
  a.ends = {5};
  return a;
}

/// OPT-350m: normalisation after each part, projections around a narrower embedding, positions from row 2 on.
inline eso::Architecture opt() {
  eso::Architecture a = gpt2();
  a.embedding_width = 7;
  a.activation = eso::Activation::relu;
  a.position_offset = 2;
  a.norm_order = eso::NormOrder::after;
  a.final_norm = false;
  a.weights_in_out = false;
  return a;
}

/// OPT but the 350m: as GPT-2 with another activation, positions from row 2 on and (out, in) matrices.
inline eso::Architecture opt_before() {
  eso::Architecture a = gpt2();
  a.activation = eso::Activation::relu;
  a.position_offset = 2;
  a.weights_in_out = false;
  return a;
}

/// GPT-NeoX: rotary positions, both parts from the same input, an untied head.
inline eso::Architecture neox() {
  eso::Architecture a = gpt2();
  a.width = a.embedding_width = 24;
  a.activation = eso::Activation::gelu;
  a.positions = eso::Positions::rotary;
  a.rotary_width = 4;
  a.parallel_residual = true;
  a.tied_head = false;
  a.weights_in_out = false;
  a.qkv_order = eso::QkvOrder::heads;
  return a;
}

inline eso::testing::ModelLaws limits_of(const eso::Architecture& a) {
  eso::testing::ModelLaws limits{.vocabulary = a.vocabulary, .context = a.context};
  limits.step = 1e-5;  // these functions are steep
  // relu has corners; a short step meets fewer of them
  if (a.activation == eso::Activation::relu) limits.step = 1e-6, limits.gradient_tolerance = 1e-4;
  return limits;
}
