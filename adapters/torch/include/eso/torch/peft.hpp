// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "eso/model/safetensors_writer.hpp"
#include "eso/torch/decoder.hpp"
#include "eso/train/durable_file.hpp"

namespace eso::torch {

/// Writes the adapters of a model into the existing `folder` as PEFT does: `adapter_config.json` and
/// `adapter_model.safetensors`, so that `PeftModel.from_pretrained` puts them on the model in `base`.
///
/// \throws Error (input) for a model without adapters; (system) if the folder cannot be written.
inline void write_adapter(const std::filesystem::path& folder, const Decoder& decoder,
                          const std::string& base) {
  const Lora& lora = decoder.options().lora;
  require(lora.on(), "torch::write_adapter", "the model has no adapters");
  const std::vector<std::string> names = lora_targets(decoder.architecture(), lora);
  const std::set<std::string> targets(names.begin(), names.end());
  const nlohmann::json config{{"base_model_name_or_path", base},
                              {"bias", "none"},
                              {"fan_in_fan_out", decoder.architecture().weights_in_out},
                              {"inference_mode", true},
                              {"init_lora_weights", true},
                              {"lora_alpha", lora.alpha},
                              {"lora_dropout", lora.dropout},
                              {"peft_type", "LORA"},
                              {"r", lora.rank},
                              {"target_modules", targets},
                              {"task_type", "CAUSAL_LM"}};
  write_durably(folder / "adapter_config.json", config.dump(2) + "\n");
  write_safetensors(folder / "adapter_model.safetensors", decoder.state(), {{"format", "pt"}});
}

}  // namespace eso::torch
