// SPDX-License-Identifier: MIT
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "data_flags.hpp"
#include "eso/data/formats.hpp"
#include "eso/train/durable_file.hpp"
#include "evaluate.hpp"
#include "lines.hpp"
#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

struct EvalFlags {
  ModelFlags model;
  std::vector<std::string> data;
  std::string format, output, predictions, prompt_overflow = "truncate";
  DataFlags layout;
  std::int64_t examples = 0, max_prompt_tokens = 512;
  EvaluationSettings settings;
};

void check_flags(const EvalFlags& f) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  check_given("--model", f.model.model);
  if (f.data.empty()) throw eso::input_error("--data", "is required");
  check_given("--format", f.format);
  if (eso::format_named(f.format, "--format") == eso::Format::text) {
    throw eso::input_error("--format", "has no prompts to answer", f.format);
  }
  f.layout.check(f.format);
  check_overflow("--prompt-overflow", f.prompt_overflow);
  check_given("--output", f.output);
  for (const auto& [flag, path] :
       {std::pair("--output", f.output), std::pair("--predictions", f.predictions)}) {
    if (path.empty()) continue;
    check_output_file(flag, path);
    check_spares(flag, path, "--data", f.data);
    check_spares(flag, path, "--answers", {f.layout.answers});
    check_spares_model(flag, path, f.model.model);
  }
  check_spares("--predictions", f.predictions, "--output", {f.output});
  if (f.settings.temperatures.empty()) throw eso::input_error("--temperature", "is required");
  for (const double temperature : f.settings.temperatures) check_temperature("--temperature", temperature);
  if (f.settings.seeds.empty()) throw eso::input_error("--seeds", "is required");
  const std::set<std::uint64_t> seeds(f.settings.seeds.begin(), f.settings.seeds.end());
  if (seeds.size() < f.settings.seeds.size()) throw eso::input_error("--seeds", "holds a seed twice");
  check_share("--top-p", f.settings.top_p);
  check_range("--top-k", f.settings.top_k, 0, most);
  check_range("--examples", f.examples, 0, most);
  check_range("--max-prompt-tokens", f.max_prompt_tokens, 1, most);
  check_range("--max-response-tokens", f.settings.max_response_tokens, 1, most);
  check_range("--batch-size", f.settings.batch_size, 1, most);
}

/// The examples to answer; what is left out is told of.
eso::Tokenised read_data(const EvalFlags& f, const ModelFolder& folder) {
  eso::TextExamples texts = f.layout.read(f.data, f.format, DataPart::testing);
  keep_first(texts.examples, f.examples);
  return tokenised(texts, *folder.tokenizer, checked_end_of_sequence(folder.model),
                   {f.max_prompt_tokens, f.settings.max_response_tokens, folder.model.context_length(),
                    f.prompt_overflow, f.layout.bad_rows},
                   f.data.front());
}

/// A line for each response, by temperature, seed and example.
std::string prediction_lines(const std::vector<EvaluatedTemperature>& results,
                             const std::vector<eso::Example>& examples) {
  std::string lines;
  for (const EvaluatedTemperature& result : results) {
    for (const EvaluatedSeed& pass : result.passes) {
      for (std::size_t i = 0; i < examples.size(); ++i) {
        const EvaluatedResponse& response = pass.responses[i];
        nlohmann::ordered_json line{{"example", response.example},
                                    {"temperature", result.temperature},
                                    {"seed", pass.seed},
                                    {"prompt", examples[i].prompt_text},
                                    {"response", response.text},
                                    {"response_ids", response.tokens},
                                    {"logp", response.logp},
                                    {"finish", response.finished ? "eos" : "length"},
                                    {"reference", examples[i].reference},
                                    {"rouge1", response.scores.rouge1.f1},
                                    {"rouge2", response.scores.rouge2.f1},
                                    {"rougeL", response.scores.rougeL.f1}};
        lines += line.dump() + "\n";
      }
    }
  }
  return lines;
}

/// The results for the eye: a line for each temperature.
std::string short_table(const nlohmann::ordered_json& report) {
  std::string table = fmt::format("{:8}  {:>10}  {:>10}  {:>10}  {:>11}  {:>7}  {:>5}\n", "decoding",
                                  "ROUGE-1", "ROUGE-2", "ROUGE-L", "length", "entropy", "EOS");
  for (const auto& result : report.at("results")) {
    const auto mean = [&](const char* name) { return result.at(name).at("mean").template get<double>(); };
    const auto spread = [&](const char* name, double factor) {
      const auto& std = result.at(name).at("std");
      const std::string text = fmt::format("{:.1f}", factor * mean(name));
      return std.is_null() ? text : text + fmt::format("±{:.1f}", factor * std.template get<double>());
    };
    const auto temperature = result.at("temperature").template get<double>();
    table += fmt::format("{:8}  {:>10}  {:>10}  {:>10}  {:>11}  {:>7.2f}  {:>3.0f} %\n",
                         temperature == 0 ? "greedy" : fmt::format("T={}", temperature),
                         spread("rouge1", 100), spread("rouge2", 100), spread("rougeL", 100),
                         spread("length", 1), mean("entropy"), 100 * mean("eos_rate"));
  }
  return table + fmt::format(
                     "ROUGE F1 x 100 on {} examples, mean ± standard deviation over the seeds; length in "
                     "tokens; entropy in nats a token; {:.2f} nats a reference token.",
                     report.at("examples").template get<std::size_t>(),
                     report.at("nll").template get<double>());
}

void evaluate_model(EvalFlags& flags) {
  check_flags(flags);
  catch_signals();
  ModelFolder folder = flags.model.open();
  folder.needed_tokenizer();
  folder.model.score_only(1);
  const eso::Tokenised data = read_data(flags, folder);
  const std::vector<eso::Example>& examples = data.examples;
  const nlohmann::ordered_json answers = answers_record(flags.layout.answers);
  const double nll = reference_nll(folder.model, examples, flags.settings.batch_size);
  const std::vector<EvaluatedTemperature> results =
      evaluate(folder.model, *folder.tokenizer, examples, flags.settings);
  nlohmann::ordered_json report{{"model", flags.model.model},
                                {"data", fmt::format("{}", fmt::join(flags.data, ", "))},
                                {"examples", examples.size()},
                                {"rows", data_counts(data)},
                                {"nll", nll},
                                {"results", nlohmann::ordered_json::array()}};
  for (const EvaluatedTemperature& result : results) report["results"].push_back(result.json());
  if (!answers.is_null()) report["answers"] = answers;
  if (!flags.predictions.empty()) eso::write_durably(flags.predictions, prediction_lines(results, examples));
  constexpr auto replace = nlohmann::ordered_json::error_handler_t::replace;  // a path may be any bytes
  eso::write_durably(flags.output, report.dump(2, ' ', false, replace) + "\n");
  say("{}", short_table(report));
}

}  // namespace

Command add_eval(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "ROUGE, length and entropy of a model's responses");
  struct State {
    EvalFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  EvalFlags& f = state->flags;
  FlagSet& set = *state->set;
  f.model.add_to(set);
  set.add("data", f.data, "files of examples, JSON lines, also .gz")->expected(1, -1);
  set.add("format", f.format,
          "debsum, xsum, dolly, self-instruct, vicuna, hh, preference or prompt-response");
  f.layout.add_to(set);
  set.add("temperature", f.settings.temperatures, "one result for each; 0 is greedy");
  set.add("seeds", f.settings.seeds, "one pass over the examples for each");
  set.add("output", f.output, "file of results, JSON");
  set.add("predictions", f.predictions, "file of responses, JSON lines");
  set.add("examples", f.examples, "take the first so many of the data, those too long among them; 0: all");
  set.add("max-prompt-tokens", f.max_prompt_tokens, "longest prompt that is taken");
  set.add("prompt-overflow", f.prompt_overflow,
          "examples with a longer one: truncate cuts their input, of hh the beginning, skip drops them");
  set.add("max-response-tokens", f.settings.max_response_tokens,
          "references are cut to this, responses end there");
  set.add("batch-size", f.settings.batch_size, "prompts through the model at once");
  set.add("top-k", f.settings.top_k,
          "draw from so many most likely tokens; 0: all; temperature 0 reads neither this nor --top-p");
  set.add("top-p", f.settings.top_p,
          "draw from the fewest most likely tokens with this probability together; 1: all");
  return [state] {
    state->set->read_config();
    evaluate_model(state->flags);
  };
}

}  // namespace eso_program
