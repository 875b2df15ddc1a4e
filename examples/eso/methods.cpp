// SPDX-License-Identifier: MIT
#include "methods.hpp"

#include <array>
#include <map>

#include "eso/loss/combined.hpp"
#include "eso/loss/dpo.hpp"
#include "eso/loss/drl.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/rrhf.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/slic.hpp"
#include "eso/loss/unlike.hpp"

namespace eso_program {
namespace {

template <class Value>
Value named(const std::map<std::string, Value>& values, const std::string& name) {
  return values.at(name);  // check_method_flags saw that it is there
}

eso::SftLoss sft_loss(const TrainFlags& f) {
  return {.reduction = named<eso::SftReduction>(
              {{"token-mean", eso::SftReduction::token_mean},
               {"sequence-sum-prompt-mean", eso::SftReduction::sequence_sum_prompt_mean},
               {"sequence-mean", eso::SftReduction::sequence_mean}},
              f.sft_reduction)};
}

AnyLoss eso_loss(const TrainFlags& f) {
  eso::EsoLoss loss;
  loss.baseline = named<eso::Baseline>({{"mean", eso::Baseline::mean},
                                        {"leave-one-out", eso::Baseline::leave_one_out},
                                        {"greedy", eso::Baseline::greedy}},
                                       f.eso_baseline);
  loss.advantage_norm = f.eso_advantage_norm == "std" ? eso::AdvantageNorm::std : eso::AdvantageNorm::none;
  loss.token_reduce = named<eso::TokenReduce>({{"sum", eso::TokenReduce::sum},
                                               {"mean-seq", eso::TokenReduce::mean_seq},
                                               {"mean-batch", eso::TokenReduce::mean_batch}},
                                              f.eso_token_reduce);
  loss.sample_reduce = f.eso_sample_reduce == "sum" ? eso::SampleReduce::sum : eso::SampleReduce::mean;
  loss.batch_reduce = named<eso::BatchReduce>({{"mean", eso::BatchReduce::mean},
                                               {"sum", eso::BatchReduce::sum},
                                               {"mean-kept", eso::BatchReduce::mean_kept},
                                               {"sum-if-any-above", eso::BatchReduce::sum_if_any_above}},
                                              f.eso_batch_reduce);
  loss.min_mean_reward = f.eso_min_mean_reward;
  loss.include_eos = f.eso_include_eos;
  loss.sigma = f.eso_sigma;
  return eso::Combined{sft_loss(f), f.eso_lambda, loss};
}

AnyLoss unlike_loss(const TrainFlags& f) {
  eso::UnlikeLoss loss;
  loss.objective = f.unlike_objective == "plain-logp" ? eso::UnlikeObjective::plain_logp
                                                      : eso::UnlikeObjective::one_minus_p;
  loss.select = named<eso::UnlikeSelect>({{"below-mean", eso::UnlikeSelect::below_mean},
                                          {"lowest", eso::UnlikeSelect::lowest},
                                          {"all", eso::UnlikeSelect::all},
                                          {"threshold", eso::UnlikeSelect::threshold}},
                                         f.unlike_select);
  loss.weight = f.unlike_weight == "gap" ? eso::UnlikeWeight::gap : eso::UnlikeWeight::one;
  loss.threshold = f.unlike_threshold;
  loss.floor = f.unlike_floor;
  return eso::Combined{sft_loss(f), f.unlike_lambda, loss};
}

/// gamma * DRL + (1 - gamma) * SFT while it is active: equation 15 of Paulus et al. 2018.
struct ConvexDrl {
  eso::SftLoss sft;
  double gamma;
  eso::DrlLoss drl;

  eso::Reads reads() const { return sft.reads() | drl.reads(); }
  eso::LossResult operator()(const eso::Batch& batch, const eso::LogProbs& logp,
                             const eso::Totals& totals) const {
    if (!totals.active) return sft(batch, logp, totals);
    eso::LossResult result = eso::Combined{sft, gamma / (1 - gamma), drl}(batch, logp, totals);
    result.value *= 1 - gamma;
    result.d_logp *= 1 - gamma;
    return result;
  }
};

AnyLoss drl_loss(const TrainFlags& f) {
  const eso::DrlLoss loss{.length_norm = f.drl_length_norm};
  if (f.drl_combine == "convex") return ConvexDrl{sft_loss(f), f.drl_gamma, loss};
  return eso::Combined{sft_loss(f), f.drl_lambda, loss};
}

AnyLoss rrhf_loss(const TrainFlags& f) {
  eso::RrhfLoss loss;
  loss.length_mode =
      f.rrhf_length_mode == "padded-row" ? eso::RrhfLengthMode::padded_row : eso::RrhfLengthMode::response;
  loss.length_exponent = f.rrhf_length_exponent;
  loss.include_reference = f.rrhf_include_reference;
  loss.best_weight = f.rrhf_best_weight;
  return eso::Combined{sft_loss(f), f.rrhf_weight, loss};
}

AnyLoss dpo_loss(const TrainFlags& f) {
  return eso::DpoLoss{.objective = f.dpo_loss == "ipo" ? eso::DpoObjective::ipo : eso::DpoObjective::sigmoid,
                      .beta = f.dpo_beta,
                      .label_smoothing = f.dpo_label_smoothing,
                      .reference_free = f.dpo_reference_free};
}

AnyLoss slic_loss(const TrainFlags& f) {
  return eso::SlicLoss{.margin = f.slic_margin, .weight = f.slic_weight};
}

AnyLoss plain_sft_loss(const TrainFlags& f) { return sft_loss(f); }

constexpr std::array all_methods{
    Method{.name = "pretrain", .title = "Pretraining", .loss = plain_sft_loss},
    Method{.name = "sft", .title = "SFT", .loss = plain_sft_loss},
    Method{.name = "eso", .title = "ESO", .samples = true, .loss = eso_loss},
    Method{.name = "unlike", .title = "Unlike", .samples = true, .loss = unlike_loss},
    Method{.name = "drl", .title = "DRL", .samples = true, .greedy = true, .loss = drl_loss},
    Method{.name = "rrhf", .title = "RRHF", .samples = true, .loss = rrhf_loss},
    Method{.name = "dpo", .title = "DPO", .pairs = true, .reference = true, .loss = dpo_loss},
    Method{.name = "slic", .title = "SLiC", .pairs = true, .loss = slic_loss},
};

}  // namespace

std::span<const Method> methods() { return all_methods; }

const Method& method_named(std::string_view name) {
  std::string known;
  for (const Method& method : all_methods) {
    if (method.name == name) return method;
    known += (known.empty() ? "" : ", ") + std::string(method.name);
  }
  for (const char* later : {"ppo", "reward-model", "nes"}) {
    if (name == later)
      throw eso::input_error("--method", fmt::format("{} is not there yet", name), {}, known);
  }
  throw eso::input_error("--method", name.empty() ? "is required" : "unknown", std::string(name), known);
}

void forget_methods(TrainFlags& flags) { static_cast<MethodFlags&>(flags) = {}; }

eso::Temperatures method_sampler(const Method& method, const TrainFlags& f) {
  eso::Temperatures sampler(method.greedy ? std::vector<double>{1} : f.temperatures);
  sampler.max_tokens = f.max_response_tokens;
  sampler.greedy = method.greedy || (method.name == "eso" && f.eso_baseline == "greedy");
  return sampler;
}

eso::RecordStyle method_records(const Method& method, const TrainFlags& f) {
  eso::RecordStyle style{.over_greedy = method.greedy};
  if (method.name == "rrhf" && f.rrhf_include_reference) style.reference_reward = 1;
  return style;
}

}  // namespace eso_program
