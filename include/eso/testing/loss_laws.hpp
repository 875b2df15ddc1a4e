// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/loss/totals.hpp"
#include "eso/testing/report.hpp"
#include "eso/testing/texts.hpp"

namespace eso::testing {

/// What the law suite for losses tries and how closely it looks.
struct LossLaws {
  int batches = 4;                   ///< random ones
  Index prompts = 4;                 ///< of each
  Index least_samples = 2;           ///< of a prompt that has samples
  Index most_samples = 4;            ///< as above
  bool some_without_samples = true;  ///< the last prompt of a batch has targets and pairs alone
  double tolerance = 1e-12;          ///< what rounding may change, relative to the size of the value
  double gradient_tolerance = 1e-6;  ///< relative error of central differences
  double step = 1e-5;                ///< of central differences, nats
  std::uint64_t seed = 0;
};

/// A batch with responses of all kinds and ragged lengths, scored, with reference and old log-probabilities
/// near `logp`; the second prompt has no rejected response.
inline Batch random_loss_batch(const LossLaws& laws, std::uint64_t seed, LogProbs& logp) {
  Dice dice(seed);
  Batch batch;
  const auto respond = [&](Index prompt, Kind kind, Index sample) {
    Response response = plain_response(prompt, sample, dice.tokens(1 + dice.below(6), 50));
    response.kind = kind;
    response.finished = dice.below(2) == 0;
    if (response.finished) response.tokens.back() = 50;
    response.reward = dice.between(0, 1);
    batch.responses.push_back(std::move(response));
  };
  for (Index p = 0; p < laws.prompts; ++p) {
    batch.prompts.push_back({.tokens = dice.tokens(1 + dice.below(4), 50), .example = p});
    respond(p, Kind::target, 0);
    respond(p, Kind::chosen, 0);
    if (p != 1) respond(p, Kind::rejected, 0);
    if (laws.some_without_samples && p + 1 == laws.prompts) continue;
    respond(p, Kind::greedy, 0);
    const Index samples = laws.least_samples + dice.below(laws.most_samples - laws.least_samples + 1);
    for (Index k = 0; k < samples; ++k) respond(p, Kind::sample, k);
  }
  logp = (random_weights(batch, dice) - 1.1) * 1.5;  // within the lengths: -3.15 to -0.15
  batch.reference_logp = (logp + random_weights(batch, dice)).min(0);
  batch.old_logp = (logp + 0.3 * random_weights(batch, dice)).min(0);
  for (Index n = 0; n < batch.response_count(); ++n) {
    Response& response = batch.responses[static_cast<std::size_t>(n)];
    const auto length = static_cast<Index>(response.tokens.size());
    for (LogProbs* array : {&logp, &batch.reference_logp, &batch.old_logp}) {
      array->row(n).tail(array->cols() - length).setZero();
    }
    for (Index t = 0; t < length; ++t) response.logp.push_back(batch.old_logp(n, t));
  }
  return batch;
}

/// The laws of `Loss` on one loss and batch; use `check_loss`. Every public member checks one law and is
/// named after it.
template <Loss L>
class LossCheck {
 public:
  LossCheck(const L& loss, Batch batch, LogProbs logp, const LossLaws& laws)
      : loss_(loss), batch_(std::move(batch)), logp_(std::move(logp)), laws_(laws) {
    totals_ = totals_of(loss_, batch_);
  }

  /// Adds the checks of all laws to the report.
  void all(LawReport& report) {
    report_ = &report;
    const auto run = [&](std::string_view name, void (LossCheck::*law)(std::string_view)) {
      report.run(name, [&](std::string_view running) { (this->*law)(running); });
    };
    run("gradient", &LossCheck::gradient);
    run("lengths", &LossCheck::lengths);
    run("order", &LossCheck::order);
    run("split", &LossCheck::split);
    run("finite", &LossCheck::finite);
    run("pure", &LossCheck::pure);
    run("reads", &LossCheck::reads);
    run("errors", &LossCheck::errors);
  }

  /// `d_logp` is the gradient of `value`: every entry is the central difference.
  void gradient(std::string_view law) {
    const LossResult result = evaluate(law, batch_, logp_);
    const double largest = result.d_logp.size() > 0 ? result.d_logp.abs().maxCoeff() : 0;
    for (Index n = 0; n < logp_.rows(); ++n) {
      for (Index t = 0; t < length(n); ++t) {
        LogProbs moved = logp_;
        moved(n, t) = logp_(n, t) + laws_.step;
        const double ahead = evaluate(law, batch_, moved).value;
        moved(n, t) = logp_(n, t) - laws_.step;
        const double difference = (ahead - evaluate(law, batch_, moved).value) / (2 * laws_.step);
        const double rounding = laws_.tolerance * (1 + std::abs(result.value)) / laws_.step;
        report_->expect_near(law, result.d_logp(n, t), difference,
                             laws_.gradient_tolerance * largest + rounding,
                             fmt::format("d_logp({}, {})", n, t));
      }
    }
  }

  /// What stands beyond the lengths is not read, not even if it is not a number, and has the gradient 0.
  void lengths(std::string_view law) {
    const LossResult expected = evaluate(law, batch_, logp_);
    LogProbs other = logp_;
    for (Index n = 0; n < other.rows(); ++n) {
      other.row(n).tail(other.cols() - length(n)) = std::numeric_limits<double>::quiet_NaN();
    }
    const LossResult found = evaluate(law, batch_, other);
    report_->expect(law, found.value == expected.value && (found.d_logp == expected.d_logp).all(),
                    [] { return "entries beyond the lengths are read"; });
    for (Index n = 0; n < other.rows(); ++n) {
      report_->expect(law, (found.d_logp.row(n).tail(other.cols() - length(n)) == 0).all(),
                      [&] { return fmt::format("response {} has a gradient beyond its length", n); });
    }
  }

  /// Permuting prompts and responses permutes `d_logp` and leaves the value.
  void order(std::string_view law) {
    Dice dice(laws_.seed + 41);
    const LossResult expected = evaluate(law, batch_, logp_);
    const std::vector<Index> rows = dice.order(batch_.response_count());
    const Batch other = reordered(batch_, dice.order(batch_.prompt_count()), rows);
    const LossResult found = loss_(other, logp_(rows, Eigen::all), totals_);
    expect_value(law, found.value, expected.value, "value in another order");
    const LogProbs d_logp = expected.d_logp(rows, Eigen::all);
    expect_array(law, found.d_logp, d_logp, "in another order");
  }

  /// With the totals of the whole, values, parts and gradients of the parts of a batch are those of the
  /// whole.
  void split(std::string_view law) {
    const LossResult whole = evaluate(law, batch_, logp_);
    for (const Index size : {Index{1}, Index{2}, batch_.prompt_count()}) {
      double value = 0;
      LogProbs d_logp = LogProbs::Zero(logp_.rows(), logp_.cols());
      std::map<std::string, double> expected, found;
      for (const auto& [name, number] : whole.parts) expected[name] += number;
      for (Index p = 0; p < batch_.prompt_count(); p += size) {
        const Index count = std::min(size, batch_.prompt_count() - p);
        const Batch piece = part(batch_, p, count);
        std::vector<Index> rows;
        for (Index n = 0; n < batch_.response_count(); ++n) {
          if (batch_.response(n).prompt >= p && batch_.response(n).prompt < p + count) rows.push_back(n);
        }
        const auto columns = Eigen::seqN(0, piece.longest());
        const LossResult result = evaluate(law, piece, logp_(rows, columns));
        value += result.value;
        d_logp(rows, columns) = result.d_logp;
        for (const auto& [name, number] : result.parts) found[name] += number;
      }
      expect_value(law, value, whole.value, fmt::format("value in parts of {} prompts", size));
      expect_array(law, d_logp, whole.d_logp, "in parts");
      for (const auto& entry : expected) {
        expect_value(law, found[entry.first], entry.second, fmt::format("part \"{}\" added up", entry.first));
      }
      report_->expect(law, found.size() == expected.size(), [] { return "the parts have other names"; });
    }
  }

  /// Log-probabilities of -1e4 and 0, equal rewards and a batch without responses give finite results.
  void finite(std::string_view law) {
    const auto expect_finite = [&](const Batch& batch, const LogProbs& logp, const Totals& totals,
                                   std::string_view what) {
      const LossResult result = loss_(batch, logp, totals);
      report_->expect(law, std::isfinite(result.value) && result.d_logp.isFinite().all(),
                      [&] { return fmt::format("{} gives {}", what, result.value); });
    };
    const LogProbs zero = LogProbs::Zero(logp_.rows(), logp_.cols());
    expect_finite(batch_, logp_ * (1e4 / 3.15), totals_, "a log-probability of -1e4 for some");
    expect_finite(batch_, zero, totals_, "a log-probability of 0");
    Batch improbable = batch_;  // under every model, as a sampled text may be
    improbable.old_logp = LogProbs::Constant(logp_.rows(), logp_.cols(), -1e4);
    improbable.reference_logp = improbable.old_logp;
    expect_finite(improbable, improbable.old_logp, totals_, "a log-probability of -1e4 for all");
    Batch equal = batch_;
    for (Response& response : equal.responses) response.reward = 0.1;
    expect_finite(equal, logp_, totals_of(loss_, equal), "equal rewards");
    Batch empty = batch_;
    empty.responses.clear();
    empty.reference_logp = empty.old_logp = LogProbs();
    expect_finite(empty, LogProbs(0, 0), totals_, "a part without responses");
  }

  /// Equal arguments give equal results.
  void pure(std::string_view law) {
    const LossResult first = evaluate(law, batch_, logp_), second = evaluate(law, batch_, logp_);
    report_->expect(
        law,
        first.value == second.value && (first.d_logp == second.d_logp).all() && first.parts == second.parts,
        [] { return "a second call gives another result"; });
  }

  /// Responses and arrays that `reads()` leaves out change nothing.
  void reads(std::string_view law) {
    const Reads reads = loss_.reads();
    const auto is_read = [&](Kind kind) {
      return kind == Kind::target   ? reads.targets
             : kind == Kind::sample ? reads.samples
             : kind == Kind::greedy ? reads.greedy
                                    : reads.pairs;
    };
    const LossResult whole = evaluate(law, batch_, logp_);
    Batch least = batch_;
    least.responses.clear();
    std::vector<Index> rows;
    for (Index n = 0; n < batch_.response_count(); ++n) {
      if (is_read(batch_.response(n).kind)) {
        rows.push_back(n);
        least.responses.push_back(batch_.response(n));
      } else {
        report_->expect(law, (whole.d_logp.row(n) == 0).all(),
                        [&] { return fmt::format("response {} has a gradient and is not read", n); });
      }
    }
    const auto columns = Eigen::seqN(0, least.longest());
    const auto cut = [&](const LogProbs& from, bool read) -> LogProbs {
      if (!read || from.size() == 0) return {};
      return from(rows, columns);
    };
    least.reference_logp = cut(batch_.reference_logp, reads.reference);
    least.old_logp = cut(batch_.old_logp, reads.old);
    const LossResult found = evaluate(law, least, logp_(rows, columns));
    expect_value(law, found.value, whole.value, "value without what is not read");
    expect_array(law, found.d_logp, whole.d_logp(rows, columns), "without what is not read");
  }

  /// Log-probabilities of another shape are refused with `Error`.
  void errors(std::string_view law) {
    report_->expect_error(law, "a row too few",
                          [&] { loss_(batch_, LogProbs::Zero(logp_.rows() - 1, logp_.cols()), totals_); });
    report_->expect_error(law, "a column too many",
                          [&] { loss_(batch_, LogProbs::Zero(logp_.rows(), logp_.cols() + 1), totals_); });
  }

 private:
  Index length(Index n) const { return static_cast<Index>(batch_.response(n).tokens.size()); }

  /// The loss's answer under the totals of the whole, made sure to have the right shape.
  LossResult evaluate(std::string_view law, const Batch& batch, const LogProbs& logp) const {
    LossResult result = loss_(batch, logp, totals_);
    check_shape(law, result.d_logp, batch);
    return result;
  }

  void expect_value(std::string_view law, double found, double expected, std::string_view what) {
    report_->expect_near(law, found, expected, 100 * laws_.tolerance * (1 + std::abs(expected)), what);
  }

  void expect_array(std::string_view law, const LogProbs& found, const LogProbs& expected,
                    std::string_view what) {
    for (Index n = 0; n < expected.rows(); ++n) {
      for (Index t = 0; t < expected.cols(); ++t) {
        expect_value(law, found(n, t), expected(n, t), fmt::format("d_logp({}, {}) {}", n, t, what));
      }
    }
  }

  const L& loss_;
  Batch batch_;
  LogProbs logp_;
  Totals totals_;
  LossLaws laws_;
  LawReport* report_ = nullptr;
};

/// Runs the laws of `Loss` on one batch with these log-probabilities, (N, R).
///
/// The names of the laws are `gradient lengths order split finite pure reads errors`, the members of `LossCheck`.
/// They do not pin the formula: test values of your loss as well. Choose the batch away from kinks, where a
/// central difference says nothing. Cost: 2 N R calls of the loss.
template <Loss L>
LawReport check_loss(const L& loss, const Batch& batch, const LogProbs& logp, const LossLaws& laws = {}) {
  LawReport report;
  LossCheck<L>(loss, batch, logp, laws).all(report);
  return report;
}

/// Runs the laws of `Loss` on random batches, see `random_loss_batch`, and one more, `learns`:
/// responses of all kinds give a gradient.
template <Loss L>
LawReport check_loss(const L& loss, const LossLaws& laws = {}) {
  LawReport report;
  bool learned = false;
  for (int i = 0; i < laws.batches; ++i) {
    LogProbs logp;
    const Batch batch = random_loss_batch(laws, laws.seed + static_cast<std::uint64_t>(i), logp);
    LossCheck<L>(loss, batch, logp, laws).all(report);
    report.run("learns", [&](std::string_view) {
      learned = learned || (loss(batch, logp, totals_of(loss, batch)).d_logp != 0).any();
    });
  }
  report.expect("learns", learned, [] { return "no batch with all kinds of responses gives a gradient"; });
  return report;
}

}  // namespace eso::testing
