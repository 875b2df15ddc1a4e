// SPDX-License-Identifier: MIT
#include "../model/golden_models.hpp"
#include "eso/loss/combined.hpp"
#include "eso/loss/dpo.hpp"
#include "eso/loss/drl.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/rrhf.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/unlike.hpp"
#include "eso/optim/sgd.hpp"
#include "eso/train/trainer.hpp"

// One step of the trainer against PyTorch's autograd through transformers, see make_families.py.

namespace {

using Json = nlohmann::json;

/// Answers with the samples of the golden batch; for DRL with the first of them, and the second as the greedy
/// response.
struct Given {
  const Json* batch;
  bool drl = false;

  template <eso::Generator G>
  std::vector<eso::Response> operator()(G&, std::span<const eso::Prompt> prompts, eso::StepSeed) const {
    std::vector<eso::Response> responses;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      const Json& samples = batch->at(static_cast<std::size_t>(prompts[p].example)).at("samples");
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

std::vector<eso::Example> examples_of(const Json& batch) {
  std::vector<eso::Example> examples;
  for (const Json& text : batch) {
    eso::Example& example = examples.emplace_back();
    example.prompt = text.at("prompt_ids").get<eso::Tokens>();
    example.target = text.at("target_ids").get<eso::Tokens>();
    example.rejected = text.at("samples").at(0).at("response_ids").get<eso::Tokens>();
    example.number = static_cast<eso::Index>(examples.size()) - 1;
  }
  return examples;
}

/// Values of every parameter by its name.
std::map<std::string, std::vector<double>> values_of(eso::Decoder<double>& model) {
  std::map<std::string, std::vector<double>> values;
  for (const auto& p : model.parameters()) values[p.name].assign(p.value, p.value + p.size);
  return values;
}

/// One step with this loss, held against loss and gradients of the golden files.
template <eso::Loss L>
void check_step(const Json& golden, const std::string& name, const std::string& method, const L& loss) {
  INFO(name << " " << method);
  const Json& batch = golden.at("batch");
  const auto examples = examples_of(batch);
  const auto reward = [&](const eso::Response& response, const eso::Example& example) {
    const Json& samples = batch.at(static_cast<std::size_t>(example.number)).at("samples");
    return samples.at(static_cast<std::size_t>(response.sample)).at("reward").template get<double>();
  };
  const double rate = 0.125;
  auto model = load_golden<double>(name);
  const auto before = values_of(model);
  eso::Trainer trainer{model, Given{&batch, method == "drl"}, reward, loss, eso::Sgd{}};
  trainer.epochs = 1, trainer.batch_size = 3, trainer.micro_batch_size = 2, trainer.clip_norm = 0;
  trainer.schedule = {.kind = eso::ScheduleKind::constant, .peak = rate};
  if (method == "sft" || method == "dpo") trainer.active_epochs = eso::ActiveEpochs::never();
  trainer.pairs = method == "dpo";
  trainer.prepare = [](eso::Batch& step) {
    step.reference_logp = eso::LogProbs::Constant(step.response_count(), step.longest(), -2);
  };
  for (const eso::Step& step : trainer.run(examples))
    CHECK(step.loss == Approx(golden.at("loss").at(name).at(method).template get<double>()));
  const auto after = values_of(model);
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

}  // namespace

TEST_CASE("one step of sgd moves every parameter as PyTorch's autograd says, for all families and methods") {
  const Json golden = golden_file("families.json").at("step");
  const auto lambda = golden.at("lambda").get<double>();
  REQUIRE(golden.at("loss").size() == 5);
  for (const auto& [name, losses] : golden.at("loss").items()) {
    REQUIRE(losses.size() == 6);
    const eso::SftLoss sft;
    check_step(golden, name, "sft", sft);
    check_step(golden, name, "eso", eso::Combined{sft, lambda, eso::EsoLoss{}});
    check_step(golden, name, "unlike", eso::Combined{sft, lambda, eso::UnlikeLoss{}});
    check_step(golden, name, "drl", eso::Combined{sft, lambda, eso::DrlLoss{}});
    check_step(golden, name, "rrhf", eso::Combined{sft, lambda, eso::RrhfLoss{}});
    check_step(golden, name, "dpo", eso::DpoLoss{});
  }
}
