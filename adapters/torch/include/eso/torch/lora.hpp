// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/model/architecture.hpp"

namespace eso::torch {

/// Low-rank adapters: beside a frozen matrix W stands (alpha / rank) B A, of which A and B alone are trained.
///
///     y = x W + b + (alpha / rank) dropout(x) A^T B^T,   A (rank, in), B (out, rank)
///
/// A starts uniform on +-1 / sqrt(in), the same in every run, B at zero, so that the model starts as it was.
///
/// Source: Hu et al. 2022, arXiv 2106.09685, section 4.1; the uniform start is PEFT's, the paper's is normal.
struct Lora {
  Index rank = 0;  ///< 0: no adapters, everything is trained; at most the smaller side of what is adapted
  double alpha = 16;
  /// Modules as PEFT's `target_modules` has them, `all-linear` for all; empty: the attention's inputs.
  std::vector<std::string> targets = {};
  double dropout = 0;  ///< share of what goes into A that is set to zero, in [0, 1)

  bool on() const { return rank > 0; }
};

/// The four products of a layer.
enum class Product : std::uint8_t { qkv, attention_out, inner, outer };

/// A module of a layer that may have an adapter: all outputs of a product, or some.
struct LoraModule {
  const char* name;  ///< the last part of transformers' name
  const char* path;  ///< the whole of it inside the layer
  Product product;
  Index first = 0, outputs = 0;  ///< rows of the product's output
};

/// The modules of the family's layers.
inline std::vector<LoraModule> lora_modules(const Architecture& a) {
  const Index H = a.width;
  switch (a.family) {
    case Family::gpt2:
      return {{"c_attn", "attn.c_attn", Product::qkv, 0, 3 * H},
              {"c_proj", "attn.c_proj", Product::attention_out, 0, H},
              {"c_fc", "mlp.c_fc", Product::inner, 0, a.inner},
              {"c_proj", "mlp.c_proj", Product::outer, 0, H}};
    case Family::opt:
      return {{"q_proj", "self_attn.q_proj", Product::qkv, 0, H},
              {"k_proj", "self_attn.k_proj", Product::qkv, H, H},
              {"v_proj", "self_attn.v_proj", Product::qkv, 2 * H, H},
              {"out_proj", "self_attn.out_proj", Product::attention_out, 0, H},
              {"fc1", "fc1", Product::inner, 0, a.inner},
              {"fc2", "fc2", Product::outer, 0, H}};
    case Family::gpt_neox:
      break;
  }
  return {{"query_key_value", "attention.query_key_value", Product::qkv, 0, 3 * H},
          {"dense", "attention.dense", Product::attention_out, 0, H},
          {"dense_h_to_4h", "mlp.dense_h_to_4h", Product::inner, 0, a.inner},
          {"dense_4h_to_h", "mlp.dense_4h_to_h", Product::outer, 0, H}};
}

/// The modules that `lora` names: what PEFT adapts of the family unless told otherwise, the names of all
/// modules for `all-linear`, else `lora.targets`.
inline std::vector<std::string> lora_targets(const Architecture& a, const Lora& lora) {
  if (std::find(lora.targets.begin(), lora.targets.end(), "all-linear") != lora.targets.end()) {
    std::vector<std::string> all;
    for (const LoraModule& m : lora_modules(a)) {
      if (std::find(all.begin(), all.end(), m.name) == all.end()) all.emplace_back(m.name);
    }
    return all;
  }
  if (!lora.targets.empty()) return lora.targets;
  switch (a.family) {
    case Family::gpt2:
      return {"c_attn"};
    case Family::opt:
      return {"q_proj", "v_proj"};
    case Family::gpt_neox:
      break;
  }
  return {"query_key_value"};
}

/// Whether a target names the module, as PEFT has it: by the last part of its path, or by more of it
/// (`mlp.c_proj`).
inline bool is_target(const std::string& target, const LoraModule& module) {
  const std::string_view path = module.path;
  return path == target || path.ends_with("." + target);
}

/// The modules that get adapters, in the order of the layer.
///
/// \throws Error (input) for settings that mean nothing and a target that is no module of the family.
inline std::vector<LoraModule> adapted_modules(const Architecture& a, const Lora& lora) {
  if (!lora.on()) return {};
  require(lora.alpha > 0, "lora-alpha", "must be above 0");
  require(lora.dropout >= 0 && lora.dropout < 1, "lora-dropout", "must lie in [0, 1)");
  const std::vector<LoraModule> modules = lora_modules(a);
  const std::vector<std::string> targets = lora_targets(a, lora);
  for (const std::string& target : targets) {
    if (std::any_of(modules.begin(), modules.end(), [&](const auto& m) { return is_target(target, m); }))
      continue;
    std::string known;
    for (const LoraModule& m : modules) known += std::string(m.path) + ", ";
    throw input_error("lora-targets", "is no module of a layer of this model", target,
                      known + "the last part of one, or all-linear");
  }
  std::vector<LoraModule> adapted;
  for (const LoraModule& module : modules) {
    if (std::any_of(targets.begin(), targets.end(), [&](const auto& t) { return is_target(t, module); }))
      adapted.push_back(module);
  }
  for (const LoraModule& module : adapted) {
    const Index inputs = module.product == Product::outer ? a.inner : a.width;
    const Index most = std::min(inputs, module.outputs);  // no product of two matrices has a higher rank
    if (lora.rank > most) {
      throw input_error("lora-rank", fmt::format("exceeds the smaller side of {}", module.path),
                        fmt::format("{}", lora.rank), fmt::format("at most {}", most));
    }
  }
  return adapted;
}

}  // namespace eso::torch
