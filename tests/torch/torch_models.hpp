// SPDX-License-Identifier: MIT
#pragma once

#include "eso/torch/torch.hpp"

// LibTorch has macros by the names of Catch's; those of Catch are meant here. Nothing may include Catch
// before.
#undef CHECK
#undef CHECK_EQ

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "../model/golden_models.hpp"
#include "../model/small_architectures.hpp"

/// The device that the tests compute on: `ESO_TEST_DEVICE`, the CPU where it is not set.
inline at::Device test_device() {
  const char* const name = std::getenv("ESO_TEST_DEVICE");
  return eso::torch::device_named(name ? name : "cpu");
}

inline eso::torch::DecoderOptions test_options(eso::torch::Precision precision) {
  eso::torch::DecoderOptions options;
  options.device = test_device();
  options.precision = precision;
  return options;
}

/// Random weights large enough that every token matters: those of the tests of `eso::Decoder`.
inline std::vector<eso::torch::DeviceArray> random_arrays(const eso::Architecture& a,
                                                          const eso::torch::DecoderOptions& options,
                                                          std::uint64_t seed = 1) {
  std::vector<eso::torch::DeviceArray> taken;
  std::uint32_t number = 0;
  for (const eso::ArraySpec& spec : eso::arrays(a)) {
    const at::Tensor values = at::empty({spec.size()}, at::kDouble);
    const bool norm = spec.role == eso::Role::norm1_weight || spec.role == eso::Role::norm2_weight ||
                      spec.role == eso::Role::final_norm_weight;
    const eso::StreamName stream{.seed = seed, .purpose = eso::Purpose::perturbing, .sample = number};
    for (eso::Index i = 0; i < spec.size(); ++i) {
      values.data_ptr<double>()[i] =
          (norm ? 1 : 0) + 0.4 * eso::normal(stream, static_cast<std::uint64_t>(i));
    }
    const std::vector<std::int64_t> shape(spec.shape.begin(), spec.shape.end());
    taken.push_back({spec,
                     {fmt::format("array {}", number++)},
                     values.view(shape).to(options.device, eso::torch::held_type(options))});
  }
  return taken;
}

inline eso::torch::Decoder random_torch(const eso::Architecture& a, const eso::torch::DecoderOptions& options,
                                        std::uint64_t seed = 1) {
  return {a, random_arrays(a, options, seed), options};
}

inline eso::torch::Decoder load_torch(const std::string& name, const eso::torch::DecoderOptions& options) {
  return eso::torch::load_model(golden_folder(name), options).decoder;
}
