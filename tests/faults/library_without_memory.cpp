// SPDX-License-Identifier: MIT
// library_without_memory MODEL: draws, scores and trains with each allocation of these failing, one at a time. The decoder throws
// std::bad_alloc and still works: the same call then gives the same. (Loading is left out: nlohmann::json takes memory to destroy a
// value, and terminates without.)
#include <algorithm>
#include <cstdio>
#include <eso/eso.hpp>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" long eso_fail_allocation(long number);

namespace {

/// Calls `work` with its first, its second, ... allocation failing, until it ends without; then the results of the calls
/// after each failure were those of the first.
template <class Work>
void at_each_allocation(const char* name, const Work& work) {
  const auto expected = work();
  long failures = 0;
  for (long number = 1;; ++number) {
    bool failed = false;
    eso_fail_allocation(number);
    try {
      // std::stable_sort does without memory.
      if (work() != expected) throw std::runtime_error("an allocation that failed changed the results");
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const long allocations = eso_fail_allocation(0);
    if (work() != expected) throw std::runtime_error("after a failure the results are others");
    failures += failed ? 1 : 0;
    if (allocations < number) break;
  }
  if (failures < 10) throw std::runtime_error("there was next to nothing that could fail");
  std::printf("%s: %ld allocations\n", name, failures);
}

std::vector<float> numbers_of(eso::Decoder<float>& model) {
  std::vector<float> numbers;
  for (const eso::Parameter<float>& array : model.parameters())
    numbers.insert(numbers.end(), array.value, array.value + array.size);
  return numbers;
}

/// The gradients of a model are allocated when its parameters are first asked for: where that fails, the next call does it.
void check_gradients(const std::string& folder, const std::shared_ptr<eso::Threads>& threads,
                     const eso::Batch& batch) {
  for (long number = 1;; ++number) {
    eso::LoadedModel<float> loaded = eso::load_model<float>(folder, threads);
    eso_fail_allocation(number);
    try {
      loaded.decoder.parameters();
    } catch (const std::bad_alloc&) {}
    const bool reached = eso_fail_allocation(0) >= number;
    for (const eso::Parameter<float>& array : loaded.decoder.parameters()) {
      if (array.gradient == nullptr || array.gradient[array.size - 1] != 0)
        throw std::runtime_error("after a failure an array has no gradient");
    }
    loaded.decoder.backward(loaded.decoder.log_probs(batch));
    if (!reached) return;
  }
}

void run(const std::string& folder) {
  const auto threads = std::make_shared<eso::Threads>(1);
  eso::LoadedModel<float> loaded = eso::load_model<float>(folder, threads);
  eso::Decoder<float>& model = loaded.decoder;
  const std::vector<eso::Prompt> prompts{{.tokens = {1, 2, 3}, .example = 0}, {.tokens = {4}, .example = 1}};
  eso::Temperatures sampler{1, 1};
  sampler.max_tokens = 5;
  const auto draw = [&] {
    std::vector<eso::Tokens> drawn;
    for (const eso::Response& response : sampler(model, std::span(prompts), eso::StepSeed{}))
      drawn.push_back(response.tokens);
    return drawn;
  };
  at_each_allocation("draw", draw);

  eso::Batch batch;
  batch.prompts = prompts;
  batch.responses = sampler(model, std::span(prompts), eso::StepSeed{});
  // Shapes change from call to call, so that what is kept between them is allocated again.
  eso::Batch shorter = batch;
  shorter.responses.resize(1);
  const auto score = [&] {
    model.log_probs(shorter);
    const eso::LogProbs logp = model.log_probs(batch);
    return std::vector<double>(logp.data(), logp.data() + logp.size());
  };
  at_each_allocation("score", score);

  const std::vector<float> start = numbers_of(model);
  const auto train = [&] {
    const float* next = start.data();
    for (const eso::Parameter<float>& array : model.parameters()) {
      std::copy_n(next, array.size, array.value);
      next += array.size;
    }
    eso::AdamW optimizer;
    for (const eso::Batch* b : {&batch, &shorter}) {
      eso::zero_gradients(model.parameters());
      const eso::LogProbs logp = model.log_probs(*b);
      model.backward(eso::LogProbs::Constant(logp.rows(), logp.cols(), -0.1));
      optimizer.update(model.parameters(), 1e-3, 1);
    }
    return numbers_of(model);
  };
  at_each_allocation("train", train);
  check_gradients(folder, threads, batch);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc == 2 ? argv[1] : "");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "library_without_memory: %s\n", error.what());
    return 1;
  }
}
