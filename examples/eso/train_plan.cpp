// SPDX-License-Identifier: MIT
#include <array>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "eso/model/model_files.hpp"
#include "eso/model/plan.hpp"
#include "eso/torch/lora.hpp"
#include "methods.hpp"
#include "program.hpp"
#include "train.hpp"

namespace eso_program {
namespace {

/// How many processes a launcher started.
eso::Index rank_count() {
  const char* const text = std::getenv("WORLD_SIZE");
  if (text == nullptr) return 1;
  const std::string value = text;
  eso::Index count = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  if (error == std::errc() && end == value.data() + value.size() && count >= 1) return count;
  throw eso::input_error("WORLD_SIZE", "is no number of processes", value, "at least 1");
}

std::vector<eso::PlanAdapter> adapters(const TrainFlags& f, const eso::Architecture& a) {
  static constexpr std::array roles{eso::Role::qkv_weight, eso::Role::attention_out_weight,
                                    eso::Role::inner_weight, eso::Role::outer_weight};
  std::vector<eso::PlanAdapter> result;
  const eso::torch::Lora lora{f.lora_rank, f.lora_alpha, f.lora_targets, f.lora_dropout};
  try {
    for (const eso::torch::LoraModule& module : eso::torch::adapted_modules(a, lora))
      result.push_back({roles[static_cast<std::size_t>(module.product)], module.outputs});
  } catch (const eso::Error& error) {
    // What the adapter names are flags here.
    throw eso::input_error("--" + error.where(), std::string(error.what()).substr(error.where().size() + 2));
  }
  return result;
}

/// The texts of the largest batch that the flags let through.
void set_texts(const TrainFlags& f, const Method& method, const eso::Architecture& a, eso::PlanSettings& s) {
  if (f.method == "pretrain") {
    const eso::Index window = f.window_tokens > 0 ? f.window_tokens : a.context;
    if (window > a.context) {
      throw eso::input_error("--window-tokens", "exceeds the context", fmt::format("{}", window),
                             fmt::format("at most {}", a.context));
    }
    s.prompt_tokens = 1;
    s.response_tokens = window - 1;
    s.samples = 0;
    return;
  }
  s.response_tokens = std::min<eso::Index>(f.max_response_tokens, a.context - 1);
  s.prompt_tokens = std::min<eso::Index>(f.max_prompt_tokens, a.context - s.response_tokens);
  s.given = method.pairs ? 2 : 1;
  s.samples = 0;
  if (!method.samples) return;
  const eso::Temperatures sampler = method_sampler(method, f);
  s.samples = static_cast<eso::Index>(sampler.values.size()) + (sampler.greedy ? 1 : 0);
}

eso::PlanSettings settings(const TrainFlags& f, const Method& method, const eso::Architecture& a) {
  eso::PlanSettings s;
  s.backend = f.backend == "torch" ? eso::PlanBackend::torch : eso::PlanBackend::eigen;
  s.cuda = f.device != "cpu";
  s.bfloat16 = f.precision == "bfloat16";
  s.checkpoint_activations = f.checkpoint_activations;
  s.adam = f.optimizer == "adamw";
  s.shard_optimizer = f.shard_optimizer;
  s.reference = method.reference && !f.dpo_reference_free;
  s.ranks = f.backend == "torch" ? rank_count() : 1;
  s.threads = f.threads > 0 ? f.threads : processor_count();
  s.adapter_rank = f.lora_rank;
  s.adapters = adapters(f, a);
  s.adapter_dropout = f.lora_dropout > 0;
  const auto rate = dropout_rate(f);
  s.dropout = rate ? eso::DropoutRates::all(a.family, *rate) : eso::read_dropout(f.model);
  s.batch = f.batch_size;
  s.micro_batch = f.micro_batch_size;
  set_texts(f, method, a, s);
  return s;
}

constexpr std::array phase_names{"sampling", "head", "layers", "embeddings", "update"};

std::array<const eso::PlanMemory*, 5> phases(const eso::Plan& plan) {
  return {&plan.sampling, &plan.head, &plan.layers, &plan.embeddings, &plan.update};
}

using Named = std::vector<std::pair<const char*, double>>;

Named parts(const eso::PlanMemory& m) {
  return {{"runtime", m.runtime},
          {"weights", m.weights},
          {"copies", m.copies},
          {"reference", m.reference},
          {"gradients", m.gradients},
          {"moments", m.moments},
          {"activations", m.activations},
          {"scratch", m.scratch},
          {"head", m.head},
          {"cache", m.cache},
          {"total", m.total()}};
}

Named parts(const eso::PlanWork& w) {
  return {{"forward", w.forward},
          {"backward", w.backward},
          {"attention", w.attention},
          {"head", w.head},
          {"recomputation", w.recomputation},
          {"generation", w.generation},
          {"reference", w.reference},
          {"total", w.total()}};
}

/// A whole number as JSON writes it, as far as it is one exactly.
nlohmann::json whole(double value) {
  if (value < 0x1p53) return static_cast<std::int64_t>(value);
  return value;
}

nlohmann::ordered_json object(const Named& named) {
  nlohmann::ordered_json result;
  for (const auto& [name, value] : named) result[name] = whole(value);
  return result;
}

const char* peak_name(const eso::Plan& plan) {
  for (std::size_t i = 0; i < phase_names.size(); ++i) {
    if (phases(plan)[i] == &plan.peak()) return phase_names[i];
  }
  return "";
}

nlohmann::ordered_json as_json(const TrainFlags& f, const eso::PlanSettings& s, const eso::Plan& plan) {
  nlohmann::ordered_json result{{"backend", f.backend},
                                {"device", f.device},
                                {"precision", f.precision},
                                {"method", f.method},
                                {"ranks", s.ranks},
                                {"parameters", whole(plan.parameters)},
                                {"trained_parameters", whole(plan.trained)}};
  result["batch"] = {{"prompts", s.batch},
                     {"prompt_tokens", s.prompt_tokens},
                     {"responses", s.given + s.samples},
                     {"response_tokens", s.response_tokens},
                     {"rows", whole(plan.step_rows)},
                     {"micro_batch_rows", whole(plan.rows)},
                     {"micro_batch_head_rows", whole(plan.head_rows)}};
  nlohmann::ordered_json bytes{{"total", whole(plan.peak().total())}, {"phase", peak_name(plan)}};
  for (std::size_t i = 0; i < phase_names.size(); ++i)
    bytes["phases"][phase_names[i]] = object(parts(*phases(plan)[i]));
  result["bytes"] = std::move(bytes);
  result["flops"] = object(parts(plan.work));
  nlohmann::ordered_json shares;
  for (const auto& [name, value] : parts(plan.work)) {
    if (std::string_view(name) != "total") shares[name] = value / plan.work.total();
  }
  result["flop_shares"] = std::move(shares);
  return result;
}

std::string table(const eso::PlanSettings& s, const eso::Plan& plan) {
  std::string text = fmt::format(
      "{:.1f} million parameters, {:.1f} million trained; {} prompts of {} tokens with {} responses of {} "
      "tokens, "
      "{:.0f} rows a step, {:.0f} at once\n{:12}",
      plan.parameters / 1e6, plan.trained / 1e6, s.batch, s.prompt_tokens, s.given + s.samples,
      s.response_tokens, plan.step_rows, plan.rows, "GiB");
  for (const char* name : phase_names) text += fmt::format("{:>12}", name);
  for (std::size_t part = 0; part < parts(plan.peak()).size(); ++part) {
    text += fmt::format("\n{:12}", parts(plan.peak())[part].first);
    for (const eso::PlanMemory* phase : phases(plan))
      text += fmt::format("{:12.2f}", parts(*phase)[part].second / 0x1p30);
  }
  text += fmt::format("\nmost: {:.2f} GiB ({}){}\n{:.2f} TFLOP a step", plan.peak().total() / 0x1p30,
                      peak_name(plan), s.ranks > 1 ? fmt::format(", on each of {} ranks", s.ranks) : "",
                      plan.work.total() / 1e12);
  const char* before = ": ";
  for (const auto& [name, value] : parts(plan.work)) {
    if (value == 0 || std::string_view(name) == "total") continue;
    text += fmt::format("{}{} {:.1f} %", before, name, 100 * value / plan.work.total());
    before = ", ";
  }
  return text;
}

}  // namespace

void print_plan(TrainFlags flags) {
  const Method& method = method_named(flags.method);
  if (flags.format.empty())
    flags.format = flags.method == "pretrain" ? "text" : method.pairs ? "preference" : "prompt-response";
  check_train_flags(flags, FlagUse::plan);
  const eso::Architecture a = eso::read_settings(flags.model).architecture;
  eso::parameter_count(a);
  const eso::PlanSettings s = settings(flags, method, a);
  const eso::Plan plan = eso::plan(a, s);
  say("{}", table(s, plan));
  Output out;
  out.json(as_json(flags, s, plan));
  out.flush();
}

}  // namespace eso_program
