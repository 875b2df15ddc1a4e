// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>

#include "compare.hpp"
#include "eso/data/formats.hpp"
#include "eso/eval/bootstrap.hpp"
#include "eso/eval/statistics.hpp"
#include "eso/train/directory_lock.hpp"
#include "eso/train/durable_file.hpp"
#include "evaluate.hpp"
#include "lines.hpp"
#include "methods.hpp"
#include "model_folder.hpp"
#include "presets.hpp"
#include "program.hpp"
#include "report/report.hpp"
#include "run_directory.hpp"
#include "run_inputs.hpp"

namespace eso_program {
namespace {

using Json = nlohmann::ordered_json;

/// What was found for one arm and training seed.
struct Evaluated {
  std::vector<EvaluatedTemperature> temperatures, curve;
  double nll = 0;
  TrainResult trained;
  std::filesystem::path run;
};

/// The files to evaluate on: without any the test part of those that the arms train on.
const std::vector<std::string>& evaluation_files(const CompareFlags& f) {
  return f.evaluation_data.empty() ? f.common.data : f.evaluation_data;
}

const std::string& evaluation_format(const CompareFlags& f) {
  return f.evaluation_format.empty() ? f.common.format : f.evaluation_format;
}

/// How the files to evaluate on are read.
DataFlags evaluation_layout(const CompareFlags& f) {
  DataFlags layout = f.common.layout;
  if (!f.evaluation_format.empty()) layout.answers = f.evaluation_answers;
  return layout;
}

/// The examples to evaluate on as texts.
eso::TextExamples evaluation_texts(const CompareFlags& f) {
  eso::TextExamples texts =
      evaluation_layout(f).read(evaluation_files(f), evaluation_format(f),
                                f.evaluation_data.empty() ? DataPart::testing : DataPart::all);
  keep_first(texts.examples, f.examples);
  return texts;
}

/// The examples to evaluate on as each model's tokenizer makes them, by the folder of the model.
using EvaluationExamples = std::map<std::string, eso::Tokenised>;

/// Another tokenizer or context may leave out other examples, and what is paired must answer the same.
void check_same_examples(const std::string& arm, const std::vector<eso::Example>& examples,
                         const std::vector<eso::Example>& expected) {
  const auto [found, other] =
      std::mismatch(examples.begin(), examples.end(), expected.begin(), expected.end(),
                    [](const eso::Example& a, const eso::Example& b) { return a.number == b.number; });
  if (found == examples.end() && other == expected.end()) return;
  const auto differs = other == expected.end() || (found != examples.end() && found->number < other->number)
                           ? found->number
                           : other->number;
  throw eso::input_error(
      "--arm",
      fmt::format("{}: its model takes other evaluation examples, example {} is the first", arm, differs),
      fmt::format("{} examples", examples.size()), fmt::format("the {} of the other arms", expected.size()));
}

/// Reads them and refuses what cannot be evaluated before hours of training.
EvaluationExamples evaluation_examples(const CompareFlags& f, const std::vector<ComparedArm>& arms) {
  const eso::TextExamples texts = evaluation_texts(f);
  EvaluationExamples all;
  for (const ComparedArm& arm : arms) {
    if (all.contains(arm.flags.model)) continue;
    const ModelFolder folder = open_model_folder(f.common, arm.flags.model, make_threads(1));
    eso::Tokenised examples =
        tokenised(texts, folder.needed_tokenizer(), checked_end_of_sequence(folder.model),
                  {f.common.max_prompt_tokens, f.common.max_response_tokens, folder.model.context_length(),
                   f.evaluation_prompt_overflow, f.common.layout.bad_rows},
                  evaluation_files(f).front(), "evaluation: ");
    if (!all.empty()) check_same_examples(arm.name, examples.examples, all.begin()->second.examples);
    all.emplace(arm.flags.model, std::move(examples));
  }
  return all;
}

/// Mean ROUGE of the first `words` words of each prompt.
Json lead_baseline(const std::vector<eso::Example>& examples, std::int64_t words) {
  if (words <= 0) return nullptr;
  double sums[3] = {0, 0, 0};
  for (const eso::Example& example : examples) {
    std::istringstream text(example.prompt_text);
    std::string lead, word;
    for (std::int64_t i = 0; i < words && text >> word; ++i) lead += (i ? " " : "") + word;
    const eso::RougeScores scores = eso::Rouge{.stemmer = true}(example.reference, lead);
    sums[0] += scores.rouge1.f1, sums[1] += scores.rouge2.f1, sums[2] += scores.rougeL.f1;
  }
  const auto n = static_cast<double>(examples.size());
  return {{"words", words}, {"rouge1", sums[0] / n}, {"rouge2", sums[1] / n}, {"rougeL", sums[2] / n}};
}

/// ROUGE-L of each example at a temperature, averaged over sampling and training seeds.
std::vector<double> mean_rouge_l(const std::vector<Evaluated>& runs, std::size_t temperature) {
  std::vector<double> mean;
  double passes = 0;
  for (const Evaluated& run : runs) {
    for (const EvaluatedSeed& pass : run.temperatures[temperature].passes) {
      const std::vector<double> values = pass.rouge_l();
      mean.resize(values.size(), 0.0);
      for (std::size_t i = 0; i < values.size(); ++i) mean[i] += values[i];
      ++passes;
    }
  }
  for (double& value : mean) value /= passes;
  return mean;
}

Json paired(const CompareFlags& f, const std::vector<Evaluated>& arm,
            const std::vector<Evaluated>& baseline) {
  Json list = Json::array();
  for (std::size_t t = 0; t < f.temperature.size(); ++t) {
    const auto d = eso::paired_bootstrap(mean_rouge_l(arm, t), mean_rouge_l(baseline, t), 10000, 0);
    list.push_back({{"temperature", f.temperature[t]},
                    {"difference", d.difference},
                    {"standard_error", d.standard_error},
                    {"low", d.low},
                    {"high", d.high}});
  }
  return list;
}

Json method_record(const ComparedArm& arm, const std::vector<Evaluated>& runs, const CompareFlags& f,
                   std::size_t examples, const std::filesystem::path& directory) {
  Json record{
      {"flags", arm.differs},  {"method", arm.flags.method}, {"never_on", runs.front().trained.never_on},
      {"eval", Json::array()}, {"curve", Json::array()},     {"train_seconds", Json::array()},
      {"runs", Json::array()}};
  for (const Evaluated& run : runs) {
    Json results = Json::array(), curve = Json::array();
    for (const EvaluatedTemperature& t : run.temperatures) results.push_back(t.json());
    for (const EvaluatedTemperature& t : run.curve) {
      const EvaluatedSeed& pass = t.passes.front();
      const double rouge_l = pass.mean([](const EvaluatedResponse& r) { return r.scores.rougeL.f1; });
      curve.push_back({{"temperature", t.temperature}, {"rougeL", rouge_l}, {"entropy", pass.entropy()}});
    }
    const std::string relative = run.run.lexically_relative(directory).string();
    record["eval"].push_back({{"model", relative + "/model"},
                              {"data", fmt::format("{}", fmt::join(evaluation_files(f), ", "))},
                              {"examples", examples},
                              {"nll", run.nll},
                              {"results", results}});
    record["curve"].push_back(curve);
    record["train_seconds"].push_back(run.trained.seconds);
    record["runs"].push_back(relative);
  }
  return record;
}

/// The first evaluation examples with each arm's greedy response and its first sample at temperature 1.
Json example_records(const std::vector<ComparedArm>& arms, const std::vector<std::vector<Evaluated>>& runs,
                     const std::vector<eso::Example>& examples) {
  Json list = Json::array();
  for (std::size_t i = 0; i < std::min<std::size_t>(10, examples.size()); ++i) {
    Json responses;
    for (std::size_t a = 0; a < arms.size(); ++a) {
      for (const EvaluatedTemperature& t : runs[a].front().temperatures) {
        if (t.temperature != 0 && t.temperature != 1) continue;
        const EvaluatedResponse& response = t.passes.front().responses[i];
        responses[arms[a].name][t.temperature == 0 ? "greedy" : "sampled"] = {
            {"text", response.text}, {"rougeL", response.scores.rougeL.f1}};
      }
    }
    list.push_back({{"example", examples[i].number},
                    {"prompt", examples[i].prompt_text},
                    {"reference", examples[i].reference},
                    {"responses", responses}});
  }
  return list;
}

/// Loads what a run made and evaluates it.
Evaluated evaluate_run(const CompareFlags& f, const std::vector<eso::Example>& examples,
                       const std::filesystem::path& run, const TrainResult& trained,
                       const std::string& title) {
  ModelFolder folder = open_model_folder(f.common, run / "model", make_threads(f.common.threads));
  std::vector<EvaluatedTemperature> results = evaluate(folder.model, folder.needed_tokenizer(), examples,
                                                       {.temperatures = f.temperature,
                                                        .seeds = f.seeds,
                                                        .curve = f.curve,
                                                        .max_response_tokens = f.common.max_response_tokens,
                                                        .batch_size = f.evaluation_batch_size,
                                                        .title = title + "evaluation  "});
  const auto split = results.begin() + static_cast<std::ptrdiff_t>(f.temperature.size());
  Evaluated evaluated{.temperatures = {results.begin(), split},
                      .curve = std::move(results),
                      .nll = 0,
                      .trained = trained,
                      .run = run};
  std::sort(evaluated.curve.begin(), evaluated.curve.end(),
            [](const auto& a, const auto& b) { return a.temperature > b.temperature; });
  evaluated.nll = reference_nll(folder.model, examples, f.evaluation_batch_size);
  return evaluated;
}

Json settings_record(const CompareFlags& f) {
  std::vector<std::uint64_t> training_seeds;
  for (std::int64_t s = 0; s < f.training_seeds; ++s)
    training_seeds.push_back(f.common.seed + static_cast<std::uint64_t>(s));
  TrainFlags common = f.common;
  common.output.clear();
  Json record{{"model", f.common.model},
              {"train", fmt::format("{}", fmt::join(f.common.data, ", "))},
              {"evaluation", fmt::format("{}", fmt::join(evaluation_files(f), ", "))},
              {"evaluation_format", evaluation_format(f)},
              {"training_seeds", training_seeds},
              {"evaluation_seeds", f.seeds},
              {"threads", f.common.threads == 0 ? processor_count() : f.common.threads},
              {"common", config_of(common)}};
  if (const Json answers = answers_record(evaluation_layout(f).answers); !answers.is_null())
    record["answers"] = answers;
  return record;
}

/// What an arm is to read must be there and sound before the first one trains: it is read here, for all.
void read_inputs(const std::vector<ComparedArm>& arms, RunInputs& inputs) {
  std::optional<ModelFolder> folder;
  for (const ComparedArm& arm : arms) {
    const TrainFlags& f = arm.flags;
    const auto threads = make_threads(f.threads);
    if (!folder || folder->model.folder() != f.model) folder.emplace(open_model_folder(f, f.model, threads));
    const std::size_t examples =
        inputs.examples(f, folder->model, folder->needed_tokenizer()).examples.size();
    if (method_named(f.method).reference && !f.dpo_reference_free && !f.dpo_reference.empty())
      ReferenceLogProbs(f, folder->model, examples);  // to see that it can be read
  }
}

void compare(const CompareFlags& f, const std::vector<ComparedArm>& arms) {
  RunInputs inputs;
  read_inputs(arms, inputs);
  const std::filesystem::path directory = f.common.output;
  const EvaluationExamples all_examples = evaluation_examples(f, arms);
  std::error_code error;
  if (std::filesystem::is_directory(directory, error) && !std::filesystem::is_empty(directory, error)) {
    throw eso::input_error(directory.string(),
                           "the output directory is not empty; a comparison begins in a new one");
  }
  RunDirectory::check_new(directory);
  eso::make_folders_durably(directory);
  const eso::DirectoryLock lock(directory);
  ArmTrainer trainer(directory, arms, inputs);
  std::vector<std::vector<Evaluated>> runs(arms.size());
  const std::size_t total = arms.size() * static_cast<std::size_t>(f.training_seeds);
  std::size_t number = 0;
  for (std::int64_t s = 0; s < f.training_seeds; ++s) {
    const std::uint64_t seed = f.common.seed + static_cast<std::uint64_t>(s);
    for (std::size_t a = 0; a < arms.size(); ++a) {
      const std::string title = fmt::format("[{}/{} {}] ", ++number, total, arms[a].name);
      say("{}training, seed {}", title, seed);
      const TrainResult trained = trainer.train(arms[a], seed, title);
      runs[a].push_back(evaluate_run(f, all_examples.at(arms[a].flags.model).examples,
                                     ArmTrainer::run_of(directory, arms[a].name, seed), trained, title));
    }
  }
  const eso::Tokenised& data = all_examples.at(arms.front().flags.model);
  const std::vector<eso::Example>& examples = data.examples;
  Json comparison{{"methods", Json::object()}, {"order", Json::array()}, {"baseline", arms.front().name}};
  for (std::size_t a = 0; a < arms.size(); ++a) {
    Json record = method_record(arms[a], runs[a], f, examples.size(), directory);
    if (a > 0) record["paired"] = paired(f, runs[a], runs[0]);
    comparison["methods"][arms[a].name] = std::move(record);
    comparison["order"].push_back(arms[a].name);
  }
  comparison["evaluation_rows"] = data_counts(data);
  comparison["lead"] = lead_baseline(examples, f.lead_words);
  comparison["examples"] = example_records(arms, runs, examples);
  comparison["settings"] = settings_record(f);
  eso::write_durably(directory / "comparison.json",
                     comparison.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
  eso::write_durably(directory / "report.html", comparison_report(directory));
  Output out;
  out.line(eso::printable(comparison_table(comparison), true));
  out.flush();
  say("{} shows it all", (directory / "report.html").string());
}

void check_evaluation_format(const CompareFlags& f) {
  if (f.evaluation_format.empty()) {
    if (!f.evaluation_answers.empty())
      throw eso::input_error("--evaluation-answers", "goes with --evaluation-format vicuna alone",
                             f.evaluation_answers);
    return;
  }
  const eso::Format format = eso::format_named(f.evaluation_format, "--evaluation-format");
  if (f.evaluation_data.empty())
    throw eso::input_error("--evaluation-format", "goes with --evaluation-data", f.evaluation_format);
  if (format == eso::Format::text)
    throw eso::input_error("--evaluation-format", "has no prompts", f.evaluation_format);
  const bool vicuna = format == eso::Format::vicuna;
  if (vicuna && f.evaluation_answers.empty())
    throw eso::input_error("--evaluation-answers", "is required for --evaluation-format vicuna");
  if (!vicuna && !f.evaluation_answers.empty())
    throw eso::input_error("--evaluation-answers", "goes with --evaluation-format vicuna alone",
                           f.evaluation_answers);
}

void check_compare_flags(const CompareFlags& f) {
  if (f.common.output.empty()) throw eso::input_error("--output", "is required");
  if (f.lead_words < 0) throw eso::input_error("--lead-words", "is negative");
  const std::set<std::uint64_t> distinct(f.seeds.begin(), f.seeds.end());
  if (distinct.size() < f.seeds.size()) throw eso::input_error("--seeds", "holds a seed twice");
  if (f.training_seeds < 1) throw eso::input_error("--training-seeds", "must be at least 1");
  if (f.evaluation_data.empty() && f.common.layout.test_split.empty())
    throw eso::input_error("--evaluation-data", "is required where there is no --test-split");
  check_evaluation_format(f);
  check_overflow("--evaluation-prompt-overflow", f.evaluation_prompt_overflow);
  if (f.seeds.empty()) throw eso::input_error("--seeds", "must name at least one seed");
  if (f.temperature.empty()) throw eso::input_error("--temperature", "must name at least one temperature");
  if (f.evaluation_batch_size < 1) throw eso::input_error("--evaluation-batch-size", "must be at least 1");
  if (f.examples < 0) throw eso::input_error("--examples", "is negative");
  for (const auto& [flag, list] :
       {std::pair("--temperature", f.temperature), std::pair("--curve", f.curve)}) {
    for (const double t : list) {
      if (!(t >= 0) || !std::isfinite(t))
        throw eso::input_error(flag, "must be finite and at least 0", fmt::format("{}", t));
    }
  }
}

}  // namespace

Command add_compare(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "compare", "trains arms from one start, evaluates each and writes a table and a page");
  struct State {
    CompareFlags flags;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  FlagSet& set = *state->set;
  CompareFlags& f = state->flags;
  f.common.print_every = 0;
  add_train_flags(set, f.common);
  set.add("methods", f.methods,
          "arms by their method, the first is the baseline: sft, unlike, drl, rrhf, eso, dpo, slic");
  set.add("arm", f.arms, "an arm, \"NAME: FLAGS\" with any flags of train; repeatable")
      ->delimiter('\0')
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  set.add("training-seeds", f.training_seeds, "runs of each arm, with the seeds from --seed on");
  set.add("evaluation-data", f.evaluation_data,
          "files of examples that no arm trains on; without them the examples of --test-split")
      ->expected(1, -1)
      ->delimiter('\0');
  set.add("evaluation-format", f.evaluation_format,
          "format of --evaluation-data (default: --format), as for training on Dolly and testing on others");
  set.add("evaluation-answers", f.evaluation_answers, "--answers for --evaluation-format vicuna");
  set.add("evaluation-prompt-overflow", f.evaluation_prompt_overflow,
          "as --prompt-overflow, which is for training: truncate or skip");
  set.add("examples", f.examples, "evaluate on the first so many, those too long among them; 0: all");
  set.add("temperature", f.temperature, "decoding temperatures of the evaluation; 0: greedy");
  set.add("seeds", f.seeds, "sampling seeds of the evaluation");
  set.add("curve", f.curve, "further decoding temperatures for the curve over entropy");
  set.add("evaluation-batch-size", f.evaluation_batch_size, "prompts at once in the evaluation");
  set.add("lead-words", f.lead_words, "words of the document as a baseline; 0: none");
  return [state] {
    catch_signals();
    state->set->read_config();
    check_compare_flags(state->flags);
    const std::vector<ComparedArm> arms = arms_of(state->flags, *state->set);
    apply_preset(state->flags.common, *state->set);  // for the evaluation; each arm has its own
    try {
      compare(state->flags, arms);
    } catch (const Interrupted&) {
      say("a comparison cannot be resumed: begin it anew, in another directory than {}",
          state->flags.common.output);
      throw;
    }
  };
}

}  // namespace eso_program
