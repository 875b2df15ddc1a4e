// SPDX-License-Identifier: MIT
// The side of eso in bench/peers: answers requests, a line of JSON each, with a line of JSON. What is
// measured runs only while a request is being answered, so that another program may take turns with this one.

#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "eso/eso.hpp"
#include "machine.hpp"
#include "model_cases.hpp"

namespace {

/// The model that the requests are about, and what trains it.
struct Peer {
  std::shared_ptr<eso::Threads> threads = std::make_shared<eso::Threads>(2);
  std::unique_ptr<eso::Decoder<float>> model;
  std::unique_ptr<eso::ByteLevelBpe> bpe;
  eso::AdamW optimizer;

  eso::Decoder<float>& get() {
    eso::require(model != nullptr, "eso_peer", "no model was loaded");
    return *model;
  }
  eso::AdamW step_optimizer() const { return {.weight_decay = 0, .threads = threads.get()}; }
};

/// Memory of this process, bytes: `VmRSS` now or `VmHWM`, the most since `forget_peak`.
double memory(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kilobytes = 0;
    if (word == name + ":" && status >> kilobytes) return 1024 * kilobytes;
  }
  return 0;
}
void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

json load(Peer& peer, const json& request) {
  const std::filesystem::path folder = request.at("model").get<std::string>();
  peer.model = std::make_unique<eso::Decoder<float>>(eso::load_model<float>(folder, peer.threads).decoder);
  peer.bpe = std::make_unique<eso::ByteLevelBpe>(eso::ByteLevelBpe::load(folder));
  peer.optimizer = {.weight_decay = 0.01, .threads = peer.threads.get()};
  return json::object();
}

/// Two steps' time over the same responses: prompts shared by `samples` responses, and each with a prompt of
/// its own.
json shared_prompt(Peer& peer, const json& request) {
  eso::Decoder<float>& model = peer.get();
  eso::Batch shared, repeated;
  const auto prompt = request.at("prompt").get<eso::Tokens>();
  shared.prompts.push_back({prompt, 0});
  for (const json& row : request.at("responses")) {
    eso::Response response;
    response.tokens = row.get<eso::Tokens>();
    shared.responses.push_back(response);
    response.prompt = repeated.prompt_count();
    repeated.prompts.push_back({prompt, response.prompt});
    repeated.responses.push_back(std::move(response));
  }
  json answer;
  for (const auto& [name, batch] : {std::pair{"shared", &shared}, std::pair{"repeated", &repeated}}) {
    const eso::LogProbs d = eso::LogProbs::Constant(batch->response_count(), batch->longest(), 0.01);
    eso::ParameterList<float> parameters = model.parameters();
    double sum = 0;
    answer[name] = seconds_of([&] {
      eso::zero_gradients(parameters);
      sum = model.log_probs(*batch).sum();
      model.backward(d);
      peer.optimizer.update(parameters, 1e-9, 1);
    });
    answer[std::string(name) + "_logp"] = sum;
  }
  return answer;
}

/// Log-probabilities of random tokens after random states: seconds forward and backward, and the peak of
/// memory beyond what lay there before and the gradient of the states.
json head(Peer& peer, const json& request) {
  eso::Decoder<float>& model = peer.get();
  const eso::Index rows = request.at("rows"), width = model.architecture().width,
                   vocabulary = model.vocabulary_size();
  const eso::RowMatrix<float> x = eso::RowMatrix<float>::Random(rows, width);
  eso::RowMatrix<float> e = 0.02F * eso::RowMatrix<float>::Random(vocabulary, width),
                        d_e = eso::RowMatrix<float>::Zero(vocabulary, width), d_x(rows, width);
  d_x.setZero();
  eso::VocabularyHead<float> head;
  head.weight = {e.data(), d_e.data()};
  head.vocabulary = vocabulary, head.width = width;
  std::vector<eso::Packing::Target> targets;
  for (eso::Index i = 0; i < rows; ++i) {
    targets.push_back({i, static_cast<eso::TokenId>(i * 7919 % vocabulary), 0, i});
  }
  eso::LogProbs logp = eso::LogProbs::Zero(1, rows);
  const eso::LogProbs d_logp = eso::LogProbs::Constant(1, rows, 1.0 / static_cast<double>(rows));
  eso::VocabularyHead<float>::Kept kept;
  forget_peak();
  const double before = memory("VmRSS");
  const double seconds = seconds_of([&] {
    head.forward(x, targets, logp, kept, true, *peer.threads);
    head.backward(x, targets, d_logp, kept, d_x, *peer.threads);
  });
  return {{"seconds", seconds}, {"extra", memory("VmHWM") - before}, {"logp", logp.mean()}};
}

json sampling(Peer&, const json& request) {
  const Eigen::ArrayXf logits = 4 * Eigen::ArrayXf::Random(50257);
  eso::Distribution<float> distribution;
  distribution.temperature = request.at("temperature");
  distribution.top_p = request.value("top_p", 1.0);
  distribution.top_k = request.value("top_k", 0);
  const std::uint64_t count = request.at("draws");
  double sum = 0;
  const double seconds = seconds_of([&] {
    for (std::uint64_t i = 0; i < count; ++i) {
      sum += distribution.draw(logits.data(), logits.size(), eso::uniform01({.seed = 1}, i)).logp;
    }
  });
  return {{"seconds", seconds / static_cast<double>(count)}, {"logp", sum / static_cast<double>(count)}};
}

json adamw(Peer& peer, const json& request) {
  const eso::Index count = request.at("count");
  Eigen::ArrayXf value = Eigen::ArrayXf::Random(count), gradient = Eigen::ArrayXf::Random(count);
  const eso::ParameterList<float> list{{"w", {count}, value.data(), gradient.data(), count, true}};
  eso::AdamW optimizer{.threads = peer.threads.get()};
  optimizer.update(list, 1e-4, 1);
  const int repeats = request.at("repeats");
  const double seconds = seconds_of([&] {
    for (int i = 0; i < repeats; ++i) optimizer.update(list, 1e-4, 1);
  });
  return {{"seconds", seconds / repeats}};
}

json tokenize(Peer& peer, const json& request) {
  std::vector<std::string> texts;
  std::ifstream file(request.at("file").get<std::string>());
  for (std::string line; std::getline(file, line);) texts.push_back(json::parse(line).get<std::string>());
  std::size_t count = 0;
  std::uint64_t sum = 0;
  const double seconds = seconds_of([&] {
    for (const std::string& text : texts) {
      for (const eso::TokenId id : peer.bpe->encode(text))
        sum = sum * 31 + static_cast<std::uint64_t>(id), ++count;
    }
  });
  return {{"seconds", seconds}, {"tokens", count}, {"sum", sum}};
}

json machine(Peer& peer, const json&) {
  return {{"multiply_adds", fused_multiply_adds(*peer.threads)},
          {"read", read_bandwidth(*peer.threads)},
          {"triad", triad_bandwidth(*peer.threads)}};
}

}  // namespace

int main() {
  const std::map<std::string, json (*)(Peer&, const json&)> known{{"load", load},
                                                                  {"train_step", train_step<Peer>},
                                                                  {"generate", generate<Peer>},
                                                                  {"eso_step", eso_step<Peer>},
                                                                  {"head", head},
                                                                  {"shared_prompt", shared_prompt},
                                                                  {"sampling", sampling},
                                                                  {"adamw", adamw},
                                                                  {"tokenize", tokenize},
                                                                  {"machine", machine}};
  Peer peer;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const json request = json::parse(line);
      std::cout << known.at(request.at("do").get<std::string>())(peer, request).dump() << std::endl;
    } catch (const std::exception& error) {
      std::cout << json{{"error", error.what()}}.dump() << std::endl;
    }
  }
}
