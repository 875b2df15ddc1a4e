// SPDX-License-Identifier: MIT
// torch_peer float32|bfloat16: the side of eso::torch in bench/peers, on the CPU; see eso_peer.cpp.

#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "eso/torch/torch.hpp"
#include "model_cases.hpp"

namespace {

struct TorchPeer {
  eso::torch::DecoderOptions options;
  std::unique_ptr<eso::torch::Decoder> model;
  std::unique_ptr<eso::ByteLevelBpe> bpe;
  eso::torch::AdamW optimizer;

  eso::torch::Decoder& get() {
    eso::require(model != nullptr, "torch_peer", "no model was loaded");
    return *model;
  }
  eso::torch::AdamW step_optimizer() const { return {.weight_decay = 0}; }
};

json load(TorchPeer& peer, const json& request) {
  const std::filesystem::path folder = request.at("model").get<std::string>();
  peer.model = std::make_unique<eso::torch::Decoder>(eso::torch::load_model(folder, peer.options).decoder);
  peer.bpe = std::make_unique<eso::ByteLevelBpe>(eso::ByteLevelBpe::load(folder));
  peer.optimizer = {.weight_decay = 0.01};
  return json::object();
}

/// What LibTorch's operators took on one thread, by their names, without those that they call.
class Operators {
 public:
  Operators() {
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(
            [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
              auto context = std::make_unique<Call>();
              context->name = call.name();
              context->outer = std::exchange(current_, context.get());
              context->begin = std::chrono::steady_clock::now();
              return context;
            },
            [](const at::RecordFunction&, at::ObserverContext* ended) {
              const auto& call = static_cast<const Call&>(*ended);
              const double seconds =
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - call.begin).count();
              seconds_[call.name] += seconds - call.inside;
              current_ = call.outer;
              if (call.outer) call.outer->inside += seconds;
            })
            .scopes({at::RecordScope::FUNCTION}));
  }
  Operators(const Operators&) = delete;
  Operators& operator=(const Operators&) = delete;
  ~Operators() {
    at::removeCallback(handle_);
    seconds_.clear();
  }

  const std::map<std::string, double>& seconds() const { return seconds_; }

 private:
  struct Call : at::ObserverContext {
    std::string name;
    std::chrono::steady_clock::time_point begin;
    double inside = 0;
    Call* outer = nullptr;
  };

  static inline thread_local Call* current_ = nullptr;
  static inline thread_local std::map<std::string, double> seconds_;
  at::CallbackHandle handle_ = 0;
};

/// A step of training and what of it LibTorch's operators took.
json profile(TorchPeer& peer, const json& request) {
  const Operators operators;
  json result = train_step(peer, request);
  result["operators"] = operators.seconds();
  return result;
}

}  // namespace

int main(int, char** argv) {
  at::set_num_threads(2);
  eso::torch::keep_host_memory();
  TorchPeer peer;
  peer.options.precision = eso::torch::precision_named(argv[1]);
  const std::map<std::string, json (*)(TorchPeer&, const json&)> known{{"load", load},
                                                                       {"train_step", train_step<TorchPeer>},
                                                                       {"profile", profile},
                                                                       {"generate", generate<TorchPeer>},
                                                                       {"eso_step", eso_step<TorchPeer>}};
  for (std::string line; std::getline(std::cin, line);) {
    try {
      const json request = json::parse(line);
      std::cout << known.at(request.at("do").get<std::string>())(peer, request).dump() << std::endl;
    } catch (const std::exception& error) {
      std::cout << json{{"error", error.what()}}.dump() << std::endl;
    }
  }
}
