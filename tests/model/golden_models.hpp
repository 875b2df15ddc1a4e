// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eso/model/hugging_face.hpp"

// The model folders under tests/golden and what transformers computes with them.

inline const std::vector<std::string> golden_models{"gpt2/plain",         "gpt2/untied", "gpt2/general",
                                                    "opt/before",         "opt/after",   "gpt_neox/parallel",
                                                    "gpt_neox/sequential"};

inline std::filesystem::path golden_folder(const std::string& name) {
  return std::filesystem::path(ESO_TEST_DIR) / "golden" / name;
}

inline nlohmann::json golden_file(const std::string& name) {
  std::ifstream file(golden_folder(name));
  return nlohmann::json::parse(file);
}

/// What the golden files say of the model of this name.
inline nlohmann::json golden_of(const std::string& name) {
  if (!name.starts_with("gpt2/")) return golden_file("families.json").at(name);
  return golden_file("gpt2.json").at(name.substr(5));
}

template <class Scalar>
eso::Decoder<Scalar> load_golden(const std::string& name, int threads = 1) {
  return eso::load_model<Scalar>(golden_folder(name), std::make_shared<eso::Threads>(threads)).decoder;
}

inline eso::Batch batch_of(const nlohmann::json& text) {
  eso::Batch batch;
  batch.prompts.push_back({text["prompt_ids"].get<eso::Tokens>(), 0});
  batch.responses.emplace_back().tokens = text["response_ids"].get<eso::Tokens>();
  return batch;
}

/// Those with an arrangement of their own, of which `golden/dropout.json` tells.
inline const std::vector<std::string> dropout_models{"gpt2/plain", "opt/before", "opt/after",
                                                     "gpt_neox/parallel", "gpt_neox/sequential"};

/// `golden/dropout.json`: a text, the step that names its masks, and what transformers computes with them.
struct GoldenDropout {
  nlohmann::json file = golden_file("dropout.json");
  eso::Batch batch = batch_of(file);
  eso::StepSeed seed{file["seed"].get<std::uint64_t>(), file["step"].get<std::uint32_t>()};

  GoldenDropout() {
    batch.prompts[0].example = file["example"].get<eso::Index>();
    batch.responses[0].sample = file["sample"].get<eso::Index>();
  }

  const nlohmann::json& of(const std::string& model) const { return file.at("models").at(model); }

  eso::DropoutRates rates(const std::string& model) const {
    const auto rates = of(model).at("rates").get<std::vector<double>>();
    return {.embedding = rates[0], .attention = rates[1], .residual = rates[2]};
  }
};

/// The largest difference between the golden log-probabilities and the model's.
template <class Scalar>
double worst_score(eso::Decoder<Scalar>& model, const nlohmann::json& texts, const char* field) {
  double worst = 0;
  for (const nlohmann::json& text : texts) {
    const eso::LogProbs logp = model.log_probs(batch_of(text));
    const auto expected = text[field].get<std::vector<double>>();
    REQUIRE(logp.cols() == static_cast<eso::Index>(expected.size()));
    for (eso::Index t = 0; t < logp.cols(); ++t) {
      worst = std::max(worst, std::abs(logp(0, t) - expected[static_cast<std::size_t>(t)]));
    }
  }
  return worst;
}
