// SPDX-License-Identifier: MIT
#include "evaluate.hpp"

#include <algorithm>
#include <utility>

#include "eso/eval/statistics.hpp"
#include "eso/sample/temperatures.hpp"
#include "program.hpp"
#include "progress.hpp"

namespace eso_program {

double EvaluatedSeed::mean(const std::function<double(const EvaluatedResponse&)>& of) const {
  double sum = 0;
  for (const EvaluatedResponse& response : responses) sum += of(response);
  return sum / static_cast<double>(responses.size());
}

std::vector<double> EvaluatedSeed::rouge_l() const {
  std::vector<double> values;
  for (const EvaluatedResponse& response : responses) values.push_back(response.scores.rougeL.f1);
  return values;
}

double EvaluatedSeed::entropy() const {
  double sum = 0, tokens = 0;
  for (const EvaluatedResponse& response : responses) {
    sum += response.entropy;
    tokens += static_cast<double>(response.tokens.size());
  }
  return sum / tokens;
}

nlohmann::ordered_json EvaluatedTemperature::json() const {
  nlohmann::ordered_json record{{"temperature", temperature}, {"seeds", seeds}};
  const auto add = [&](const char* name, const std::function<double(const EvaluatedSeed&)>& of) {
    std::vector<double> values;
    for (const EvaluatedSeed& pass : passes) values.push_back(of(pass));
    const eso::MeanStd summary = eso::mean_std(values);
    record[name] = {{"mean", summary.mean}, {"std", nullptr}};
    if (summary.std) record[name]["std"] = *summary.std;
    if (temperature == 0 && seeds.size() > 1) record[name]["std"] = 0.0;  // every seed gives the same
  };
  const auto mean_of = [](const std::function<double(const EvaluatedResponse&)>& of) {
    return [of](const EvaluatedSeed& pass) { return pass.mean(of); };
  };
  add("rouge1", mean_of([](const EvaluatedResponse& r) { return r.scores.rouge1.f1; }));
  add("rouge2", mean_of([](const EvaluatedResponse& r) { return r.scores.rouge2.f1; }));
  add("rougeL", mean_of([](const EvaluatedResponse& r) { return r.scores.rougeL.f1; }));
  add("length", mean_of([](const EvaluatedResponse& r) { return static_cast<double>(r.tokens.size()); }));
  add("entropy", [](const EvaluatedSeed& pass) { return pass.entropy(); });
  add("eos_rate", mean_of([](const EvaluatedResponse& r) { return r.finished ? 1.0 : 0.0; }));
  return record;
}

namespace {

/// A model whose prompts are computed already: each `decode` continues from there.
struct Prefilled {
  const AnyModel& model;
  AnyDecoding prompts;
  AnyDecoding decode(std::span<const eso::Prompt>) const { return prompts.copy(); }
  bool is_end(eso::TokenId id) const { return model.is_end(id); }
  eso::Index context_length() const { return model.context_length(); }
};

/// The responses of `examples`, appended to `pass`.
void draw(const Prefilled& model, std::span<const eso::Prompt> prompts, const eso::ByteLevelBpe& tokenizer,
          std::span<const eso::Example> examples, const eso::Temperatures& sampler, EvaluatedSeed& pass) {
  const std::vector<eso::Response> drawn = sampler(model, prompts, {.seed = pass.seed});
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const eso::Response& response = drawn[i];
    EvaluatedResponse evaluated{.example = examples[i].number,
                                .text = tokenizer.decode(response.tokens, true),
                                .tokens = response.tokens,
                                .logp = response.logp,
                                .finished = response.finished,
                                .entropy = response.entropy_drawn,
                                .scores = {}};
    evaluated.scores = eso::Rouge{.stemmer = true}(examples[i].reference, eso::strip(evaluated.text));
    pass.responses.push_back(std::move(evaluated));
  }
}

/// Empty passes for each temperature and seed; a greedy one is made once for all seeds.
std::vector<EvaluatedTemperature> passes(const std::vector<double>& temperatures,
                                         const std::vector<std::uint64_t>& seeds) {
  std::vector<EvaluatedTemperature> results;
  for (const double temperature : temperatures) {
    EvaluatedTemperature& result = results.emplace_back();
    result.temperature = temperature;
    result.seeds = seeds;
    for (const std::uint64_t seed : seeds) {
      if (temperature > 0 || result.passes.empty()) result.passes.push_back({.seed = seed, .responses = {}});
    }
  }
  return results;
}

}  // namespace

std::vector<EvaluatedTemperature> evaluate(const AnyModel& model, const eso::ByteLevelBpe& tokenizer,
                                           std::span<const eso::Example> examples,
                                           const EvaluationSettings& settings) {
  std::vector<EvaluatedTemperature> results = passes(settings.temperatures, settings.seeds);
  for (EvaluatedTemperature& result : passes(settings.curve, {settings.seeds.front()}))
    results.push_back(std::move(result));
  // A batch is one part of the sampler's, which has the prompts from `Prefilled`.
  const auto size =
      static_cast<std::size_t>(std::min<std::int64_t>(settings.batch_size, eso::Temperatures{}.most_rows));
  const std::size_t batches = (examples.size() + size - 1) / size;
  Progress progress(settings.title, static_cast<std::int64_t>(batches), 0,
                    std::max<std::int64_t>(1, static_cast<std::int64_t>(batches) / 4));
  for (std::size_t batch = 0; batch < batches; ++batch) {
    const auto some = examples.subspan(batch * size, std::min(size, examples.size() - batch * size));
    std::vector<eso::Prompt> prompts;
    for (const eso::Example& example : some) prompts.push_back({example.prompt, example.number});
    const Prefilled prefilled{model, model.decode(prompts)};
    for (EvaluatedTemperature& result : results) {
      eso::Temperatures sampler{result.temperature};
      sampler.max_tokens = settings.max_response_tokens;
      sampler.top_k = settings.top_k;
      sampler.top_p = settings.top_p;
      sampler.between = check_signals;
      for (EvaluatedSeed& pass : result.passes) draw(prefilled, prompts, tokenizer, some, sampler, pass);
    }
    progress.show(static_cast<std::int64_t>(batch) + 1,
                  fmt::format("{} of {} examples", batch * size + some.size(), examples.size()));
  }
  return results;
}

double reference_nll(AnyModel& model, std::span<const eso::Example> examples, eso::Index batch_size) {
  double sum = 0, tokens = 0;
  const auto size = static_cast<std::size_t>(batch_size);
  for (std::size_t first = 0; first < examples.size(); first += size) {
    eso::Batch batch;
    for (std::size_t i = first; i < std::min(examples.size(), first + size); ++i) {
      eso::Response response;
      response.prompt = batch.prompt_count();
      response.kind = eso::Kind::target;
      response.tokens = examples[i].target;
      tokens += static_cast<double>(response.tokens.size());
      batch.prompts.push_back({examples[i].prompt, examples[i].number});
      batch.responses.push_back(std::move(response));
    }
    sum -= model.log_probs(batch).sum();
    check_signals();
  }
  return sum / tokens;
}

}  // namespace eso_program
