// SPDX-License-Identifier: MIT
#pragma once

#include <map>
#include <string>
#include <vector>

#include "../model/golden_models.hpp"
#include "eso/loss/combined.hpp"
#include "eso/loss/dpo.hpp"
#include "eso/loss/drl.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/rrhf.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/unlike.hpp"
#include "eso/testing/parameter_access.hpp"
#include "eso/train/trainer.hpp"

// One step of the trainer against PyTorch's autograd through transformers, see make_families.py.

/// Answers with the samples of the golden batch; for DRL with the first of them, and the second as the greedy
/// response.
struct GoldenSamples {
  const nlohmann::json* batch;
  bool drl = false;

  bool draws_greedy() const { return drl; }

  template <eso::Generator G>
  std::vector<eso::Response> operator()(G&, std::span<const eso::Prompt> prompts, eso::StepSeed) const {
    std::vector<eso::Response> responses;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      const nlohmann::json& samples = batch->at(static_cast<std::size_t>(prompts[p].example)).at("samples");
      for (std::size_t j = 0; j < (drl ? 2 : samples.size()); ++j) {
        eso::Response& response = responses.emplace_back();
        response.prompt = static_cast<eso::Index>(p);
        response.sample = static_cast<eso::Index>(j);
        response.kind = drl && j == 1 ? eso::Kind::greedy : eso::Kind::sample;
        response.tokens = samples[j].at("response_ids").get<eso::Tokens>();
      }
    }
    return responses;
  }
};

inline std::vector<eso::Example> golden_examples(const nlohmann::json& batch) {
  std::vector<eso::Example> examples;
  for (const nlohmann::json& text : batch) {
    eso::Example& example = examples.emplace_back();
    example.prompt = text.at("prompt_ids").get<eso::Tokens>();
    example.target = text.at("target_ids").get<eso::Tokens>();
    example.rejected = text.at("samples").at(0).at("response_ids").get<eso::Tokens>();
    example.number = static_cast<eso::Index>(examples.size()) - 1;
  }
  return examples;
}

/// Values of every parameter by its name.
template <class Model>
std::map<std::string, std::vector<double>> parameter_values(Model& model) {
  const auto list = model.parameters();
  using Access = eso::testing::ParameterAccess<std::remove_const_t<decltype(list)>>;
  std::map<std::string, std::vector<double>> values;
  for (std::size_t i = 0; i < Access::count(list); ++i)
    values[Access::name(list, i)] = Access::values(list, i);
  return values;
}

/// One step with this loss, held against loss and gradients of the golden files.
template <class Optimizer, class Load, eso::Loss L>
void check_golden_step(const Load& load, const nlohmann::json& golden, const std::string& name,
                       const std::string& method, const L& loss) {
  INFO(name << " " << method);
  const nlohmann::json& batch = golden.at("batch");
  const auto examples = golden_examples(batch);
  const auto reward = [&](const eso::Response& response, const eso::Example& example) {
    const nlohmann::json& samples = batch.at(static_cast<std::size_t>(example.number)).at("samples");
    return samples.at(static_cast<std::size_t>(response.sample)).at("reward").template get<double>();
  };
  const double rate = 0.125;
  auto model = load(name);
  const auto before = parameter_values(model);
  eso::Trainer trainer{model, GoldenSamples{&batch, method == "drl"}, reward, loss, Optimizer{}};
  trainer.epochs = 1, trainer.batch_size = 3, trainer.micro_batch_size = 2, trainer.clip_norm = 0;
  trainer.schedule = {.kind = eso::ScheduleKind::constant, .peak = rate};
  if (method == "sft" || method == "dpo") trainer.active_epochs = eso::ActiveEpochs::never();
  trainer.prepare = [](eso::Batch& step) {
    step.reference_logp = eso::LogProbs::Constant(step.response_count(), step.longest(), -2);
  };
  for (const eso::Step& step : trainer.run(examples))
    CHECK(step.loss == Approx(golden.at("loss").at(name).at(method).template get<double>()));
  const auto after = parameter_values(model);
  std::string file = name + "-" + method + ".safetensors";
  std::replace(file.begin(), file.end(), '/', '-');
  const auto gradients = eso::Safetensors::open(golden_folder("steps") / file);
  REQUIRE(gradients.tensors().size() == after.size());
  for (const auto& [parameter, values] : after) {
    INFO(parameter);
    const auto tensor = gradients.find(parameter);
    REQUIRE(tensor.has_value());
    REQUIRE(eso::value_count(*tensor) == static_cast<eso::Index>(values.size()));
    std::vector<float> expected(values.size());
    eso::read_values(*tensor, expected.data());
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double found = (before.at(parameter)[i] - values[i]) / rate;
      worst = std::max(worst, std::abs(found - static_cast<double>(expected[i])));
      largest = std::max(largest, std::abs(found));
    }
    // Adding the same to all keys of a query changes no softmax: that gradient is 0 but for rounding.
    if (parameter.find("k_proj.bias") == std::string::npos) CHECK(largest > 1e-4);
    CHECK(worst <= 1e-7 * largest + 1e-12);
  }
}

/// All families and methods, each with the model that `load(name)` gives, in double, and a plain gradient
/// step.
template <class Optimizer, class Load>
void check_golden_steps(const Load& load) {
  const nlohmann::json golden = golden_file("families.json").at("step");
  const auto lambda = golden.at("lambda").get<double>();
  REQUIRE(golden.at("loss").size() == 5);
  for (const auto& [name, losses] : golden.at("loss").items()) {
    REQUIRE(losses.size() == 6);
    const auto check = [&, &name = name](const std::string& method, const auto& loss) {
      check_golden_step<Optimizer>(load, golden, name, method, loss);
    };
    const eso::SftLoss sft;
    check("sft", sft);
    check("eso", eso::Combined{sft, lambda, eso::EsoLoss{}});
    check("unlike", eso::Combined{sft, lambda, eso::UnlikeLoss{}});
    check("drl", eso::Combined{sft, lambda, eso::DrlLoss{}});
    check("rrhf", eso::Combined{sft, lambda, eso::RrhfLoss{}});
    check("dpo", eso::DpoLoss{});
  }
}
