// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "eso/eso.hpp"

// What is measured of a model, whatever its backend. A peer has `get()`, the model, `optimizer`, `bpe`, and
// `step_optimizer()`, a fresh optimizer.

using nlohmann::json;

inline double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Prompts of `prompt` tokens, each with the rest of its row of `tokens` as target.
inline eso::Batch batch_of(const json& tokens, std::size_t prompt) {
  eso::Batch batch;
  for (const json& row : tokens) {
    const auto ids = row.get<eso::Tokens>();
    const auto cut = ids.begin() + static_cast<std::ptrdiff_t>(prompt);
    eso::Response response;
    response.prompt = batch.prompt_count();
    response.kind = eso::Kind::target;
    response.tokens.assign(cut, ids.end());
    batch.prompts.push_back({{ids.begin(), cut}, batch.prompt_count()});
    batch.responses.push_back(std::move(response));
  }
  return batch;
}

/// One step of causal language modelling: forward, backward, AdamW. Gives loss, norm of the gradient,
/// seconds.
template <class Peer>
json train_step(Peer& peer, const json& request) {
  auto& model = peer.get();
  const eso::Batch batch = batch_of(request.at("tokens"), 1);
  const eso::SftLoss loss{.reduction = eso::SftReduction::token_mean};
  double value = 0, norm = 0;
  const double seconds = seconds_of([&] {
    zero_gradients(model.parameters());
    const eso::LossResult result = loss(batch, model.log_probs(batch), eso::Totals::of(batch));
    model.backward(result.d_logp);
    value = result.value;
    if (request.value("norm", false)) norm = global_norm(model.parameters());
    peer.optimizer.update(model.parameters(), 1e-4, 1);
  });
  return {{"seconds", seconds}, {"loss", value}, {"norm", norm}};
}

/// `samples` sampled responses of `new_tokens` to each of the prompts.
template <class Peer>
json generate(Peer& peer, const json& request) {
  auto& model = peer.get();
  std::vector<eso::Prompt> prompts;
  for (const json& row : request.at("prompts")) {
    prompts.push_back({row.get<eso::Tokens>(), static_cast<eso::Index>(prompts.size())});
  }
  eso::Temperatures sampler(
      std::vector<double>(request.at("samples").get<std::size_t>(), request.at("temperature").get<double>()));
  sampler.max_tokens = request.at("new_tokens");
  std::vector<eso::Response> responses;
  const double seconds = seconds_of([&] { responses = sampler(model, prompts, {.seed = 1}); });
  json tokens = json::array();
  for (const eso::Response& response : responses) tokens.push_back(response.tokens);
  return {{"seconds", seconds}, {"tokens", std::move(tokens)}};
}

/// A step of ESO: samples, ROUGE-L rewards, forward, backward, clipping, AdamW.
template <class Peer>
json eso_step(Peer& peer, const json& request) {
  auto& model = peer.get();
  std::vector<eso::Example> examples;
  for (const json& row : request.at("prompts")) {
    eso::Example& example = examples.emplace_back();
    example.prompt = row.get<eso::Tokens>();
    example.reference = request.at("reference");
    example.target = peer.bpe->encode(example.reference);
    example.number = static_cast<eso::Index>(examples.size());
  }
  eso::Temperatures sampler(std::vector<double>(request.at("samples").get<std::size_t>(), 1.0));
  sampler.max_tokens = request.at("new_tokens");
  const eso::RougeReward<eso::ByteLevelBpe> reward{.tokenizer = peer.bpe.get()};
  eso::Trainer trainer{model, sampler, reward, eso::EsoLoss{}, peer.step_optimizer()};
  trainer.epochs = 1, trainer.batch_size = static_cast<eso::Index>(examples.size());
  trainer.schedule = {.peak = 1e-6};
  for (const eso::Step& step : trainer.run(examples)) {
    return {{"seconds", step.times.total},     {"sample", step.times.sample}, {"forward", step.times.forward},
            {"backward", step.times.backward}, {"update", step.times.update}, {"reward", step.reward}};
  }
  return {};
}
