// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "eso/model/dropout.hpp"
#include "eso/random.hpp"
#include "eso/torch/packing.hpp"

namespace eso::torch {

/// The dropout of a pass through adapters. Its masks follow from the seed, the step, the pass's first example
/// and the number of the adapter, and are the same whenever they are asked for.
struct AdapterDropout {
  StepSeed seed;
  Index example = 0;
  double rate = 0;

  /// What goes into A of an adapter.
  at::Tensor operator()(const at::Tensor& x, std::size_t adapter) const {
    const StreamName name{.seed = seed.seed,
                          .purpose = Purpose::dropout,
                          .step = seed.step,
                          .prompt = static_cast<std::uint32_t>(example),
                          .sample = static_cast<std::uint32_t>(adapter)};
    at::Generator generator = x.is_cuda() ? at::detail::getCUDAHooks().getNewGenerator(x.device().index())
                                          : at::make_generator<at::CPUGeneratorImpl>();
    generator.set_current_seed(static_cast<std::uint64_t>(uniform01(name, 0) * 0x1p53));
    const double keep = 1 - rate;
    return x * at::empty_like(x).bernoulli_(keep, generator).div_(keep);
  }
};

/// The masks of `eso::DropoutMasks` as tensors: the same units are dropped as by `eso::Decoder`.
///
/// They are drawn on the host, on LibTorch's threads, and copied to the device: O(rows H) a place, of
/// attention O(rows heads keys).
class Dropout {
 public:
  explicit Dropout(DropoutMasks masks) : masks_(std::move(masks)) {}

  bool on(DropoutPlace place) const { return masks_.on(place); }

  /// x with its masks: the rows of the packed batch, or of them `rows`.
  at::Tensor drop(const at::Tensor& x, DropoutPlace place, Index layer,
                  const std::vector<std::int64_t>* rows) const {
    if (!on(place)) return x;
    const std::int64_t columns = x.size(1);
    const at::Tensor mask = at::empty(x.sizes(), at::kBool);
    bool* const to = mask.data_ptr<bool>();
    at::parallel_for(0, x.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> line(static_cast<std::size_t>(columns));
      for (std::int64_t i = begin; i < end; ++i) {
        masks_.factors(place, layer, rows ? (*rows)[static_cast<std::size_t>(i)] : i, 0, columns,
                       line.data());
        std::transform(line.begin(), line.end(), to + i * columns, [](float factor) { return factor > 0; });
      }
    });
    return kept(x, mask, place);
  }

  /// x where the mask, which is on the host, is true, times what makes up for the rest.
  at::Tensor kept(const at::Tensor& x, const at::Tensor& mask, DropoutPlace place) const {
    return x * mask.to(x.device()) * masks_.kept(place);
  }

  /// (texts, heads, longest, shared + longest) mask of probabilities of attention, false for keys that a row
  /// does not see. The first `shared` keys are those of the text's prompt, where they stand apart from it.
  at::Tensor attention(Index layer, const Block& block, std::int64_t shared, std::int64_t heads) const {
    const std::int64_t keys = shared + block.longest;
    const at::Tensor mask = at::zeros({block.texts, heads, block.longest, keys}, at::kBool);
    std::vector<std::int64_t> begins;
    std::int64_t next = block.begin;
    for (const std::int64_t length : block.lengths) begins.push_back(std::exchange(next, next + length));
    bool* const to = mask.data_ptr<bool>();
    at::parallel_for(0, block.texts * heads, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> line(static_cast<std::size_t>(keys));
      for (std::int64_t i = begin; i < end; ++i) {
        const auto text = static_cast<std::size_t>(i / heads);
        if (block.lengths[text] == 0) continue;
        // Keys of the prompt that the text has: where its own first row stands.
        const Index before = masks_.rows()[static_cast<std::size_t>(begins[text])].position;
        for (std::int64_t t = 0; t < block.lengths[text]; ++t) {
          masks_.factors(DropoutPlace::attention, layer, begins[text] + t, i % heads, before + t + 1,
                         line.data());
          bool* const row = to + (i * block.longest + t) * keys;
          for (Index key = 0; key <= before + t; ++key)
            row[key < before ? key : shared + key - before] = line[static_cast<std::size_t>(key)] > 0;
        }
      }
    });
    return mask;
  }

 private:
  DropoutMasks masks_;
};

/// What a training pass drops.
struct PassDropout {
  std::optional<AdapterDropout> adapters;
  std::optional<Dropout> units;
};

}  // namespace eso::torch
