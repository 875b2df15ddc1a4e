// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/sample/temperatures.hpp"
#include "eso/train/records.hpp"
#include "train.hpp"

namespace eso_program {

/// A loss chosen when the program runs: a `Loss`.
class AnyLoss {
 public:
  template <eso::Loss L>
    requires(!std::same_as<L, AnyLoss>)
  AnyLoss(L loss)  // NOLINT(google-explicit-constructor): every loss is one
      : value_([loss](const eso::Batch& batch, const eso::LogProbs& logp, const eso::Totals& totals) {
          return loss(batch, logp, totals);
        }),
        reads_(loss.reads()) {
    if constexpr (requires(const eso::Batch& batch, eso::Totals& totals) { loss.count(batch, totals); })
      count_ = [loss](const eso::Batch& batch, eso::Totals& totals) { loss.count(batch, totals); };
  }

  eso::LossResult operator()(const eso::Batch& batch, const eso::LogProbs& logp,
                             const eso::Totals& totals) const {
    return value_(batch, logp, totals);
  }
  eso::Reads reads() const { return reads_; }
  void count(const eso::Batch& batch, eso::Totals& totals) const {
    if (count_) count_(batch, totals);
  }

 private:
  std::function<eso::LossResult(const eso::Batch&, const eso::LogProbs&, const eso::Totals&)> value_;
  eso::Reads reads_;
  std::function<void(const eso::Batch&, eso::Totals&)> count_;
};

/// What `--method` names.
struct Method {
  std::string_view name;   ///< as in the flag
  std::string_view title;  ///< as in a sentence
  bool samples = false;    ///< draws responses and rewards them while it is active
  bool pairs = false;      ///< learns from a chosen and a rejected response, with no SFT part
  bool reference = false;  ///< reads the log-probabilities of a frozen model
  bool greedy = false;     ///< one sample at temperature 1 and a greedy response, its baseline
  AnyLoss (*loss)(const TrainFlags&);
};

/// All of them.
std::span<const Method> methods();

/// The method of this name. \throws eso::Error (input) naming the flag.
const Method& method_named(std::string_view name);

/// What draws its responses.
eso::Temperatures method_sampler(const Method& method, const TrainFlags& flags);

/// How its records are written.
eso::RecordStyle method_records(const Method& method, const TrainFlags& flags);

/// The flags of the methods and their checks.
void add_method_flags(FlagSet& set, TrainFlags& flags);
void check_method_flags(const TrainFlags& flags);
/// Refuses flags that the method does not read beside its others, or with which it could learn nothing.
void check_method_meaning(const TrainFlags& flags);
/// Whether the reduction of the ESO part over the prompts reads --eso-min-mean-reward.
bool reads_min_mean_reward(const TrainFlags& flags);
/// Says in one line, after `title`, which flags of the command line belong to none of these methods.
void advise_unread_flags(const FlagSet& set, const std::vector<std::string>& methods,
                         const std::string& title = {});
/// Gives the flags that only methods beside SFT read their defaults.
void forget_methods(TrainFlags& flags);

}  // namespace eso_program
