// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/tensor.hpp"
#include "eso/testing/tabular.hpp"

/// Mistakes that a backend can make.
enum class ModelFault {
  none,
  // of the gradient
  sign,
  factor,
  tied_part_missing,
  position_part_missing,
  prompt_once,
  beyond_lengths,
  overwrites,
  // of the mask
  value_beyond,
  end_dropped,
  silent_after_end,
  // of positions and history
  position_off_by_one,
  position_off_by_one_in_responses,
  position_restarts,
  last_token_unread,
  sees_itself,
  looks_ahead,
  prompt_ignored,
  left_padded,
  // of the batch and of what is kept
  row_number,
  batch_size,
  stale_logits,
  stale_prompts,
  not_repeatable,
  // of the rest
  unnormalised,
  context_too_short,
  no_check,
  other_exception,
  no_shape_check,
  not_fresh,
};

/// The model of `TabularModel` written a second time, by direct summation over the history, with a mistake.
struct FaultyModel {
  using Table = eso::testing::TabularModel::Table;
  using Row = eso::testing::TabularModel::Row;
  using Index = eso::Index;

  /// What the logits of one token are a sum of, which forward and backward share.
  struct Terms {
    std::vector<std::pair<eso::TokenId, double>> history;
    Index position = 0;
  };

  ModelFault fault = ModelFault::none;
  eso::TokenId end = 3;
  Table history, position, d_history, d_position;
  std::optional<eso::Batch> last;
  eso::LogProbs kept;            // stale_logits
  std::vector<eso::Prompt> old;  // stale_prompts
  int calls = 0;

  FaultyModel(Index vocabulary, Index context, std::uint64_t seed, ModelFault mistake) : fault(mistake) {
    eso::testing::TabularModel model(vocabulary, context, seed);
    const auto list = model.parameters();
    history = Eigen::Map<const Table>(list[0].value, vocabulary, vocabulary);
    position = Eigen::Map<const Table>(list[1].value, context, vocabulary);
    d_history = Table::Zero(vocabulary, vocabulary);
    d_position = Table::Zero(context, vocabulary);
  }

  Index vocabulary_size() const { return history.rows(); }
  Index context_length() const { return position.rows(); }
  eso::TokenId end_of_sequence() const { return end; }
  bool is_end(eso::TokenId id) const { return id == end; }

  eso::ParameterList<double> parameters() {
    return {{"history", {}, history.data(), d_history.data(), history.size(), true},
            {"position", {}, position.data(), d_position.data(), position.size(), true}};
  }

  Terms terms(const eso::Tokens& text, Index i, Index prompt, Index pad) const {
    Terms result;
    const Index newest = fault == ModelFault::last_token_unread ? i - 1 : i;
    const Index oldest = fault == ModelFault::prompt_ignored ? prompt : 0;
    for (Index j = newest; j >= oldest; --j) {
      result.history.emplace_back(text[static_cast<std::size_t>(j)],
                                  std::pow(.5, static_cast<double>(i - j)));
    }
    const Index ahead = i + (fault == ModelFault::sees_itself ? 1 : fault == ModelFault::looks_ahead ? 2 : 0);
    if (ahead > i && ahead < static_cast<Index>(text.size())) {
      result.history.emplace_back(text[static_cast<std::size_t>(ahead)], .5);
    }
    result.position = i;
    if (fault == ModelFault::position_off_by_one) result.position = i + 1;
    if (fault == ModelFault::position_off_by_one_in_responses && i >= prompt) result.position = i + 1;
    if (fault == ModelFault::position_restarts) result.position = i - (prompt - 1);
    if (fault == ModelFault::left_padded) result.position = i + pad;
    result.position = std::min(result.position, context_length() - 1);
    return result;
  }

  Row logits(const Terms& what) const {
    Row z = position.row(what.position);
    for (const auto& [token, weight] : what.history) z += weight * history.row(token);
    return z;
  }

  static Row normalised(const Row& z) { return z - z.maxCoeff() - std::log((z - z.maxCoeff()).exp().sum()); }

  /// Whether the tokens of a response count, for a mask that is made from ids.
  bool counts(const eso::Tokens& tokens, std::size_t t) const {
    if (fault == ModelFault::end_dropped) return tokens[t] != end;
    if (fault == ModelFault::silent_after_end) {
      const auto stop = tokens.begin() + static_cast<std::ptrdiff_t>(t);
      return std::find(tokens.begin(), stop, end) == stop;
    }
    return true;
  }

  const eso::Tokens& prompt_tokens(const eso::Batch& batch, Index p) const {
    const auto i = static_cast<std::size_t>(p);
    return fault == ModelFault::stale_prompts && i < old.size() ? old[i].tokens : batch.prompts[i].tokens;
  }

  void check_batch(const eso::Batch& batch) const {
    const Index context = context_length() - (fault == ModelFault::context_too_short ? 1 : 0);
    if (fault == ModelFault::other_exception) {
      try {
        eso::check(batch, vocabulary_size(), context, "FaultyModel");
      } catch (const eso::Error& error) {
        throw std::out_of_range(error.what());
      }
    }
    if (fault != ModelFault::no_check) eso::check(batch, vocabulary_size(), context, "FaultyModel");
  }

  bool same_tokens(const eso::Batch& batch) const {
    if (!last || last->responses.size() != batch.responses.size()) return false;
    for (Index n = 0; n < batch.response_count(); ++n) {
      if (last->response(n).tokens != batch.response(n).tokens) return false;
    }
    return kept.size() > 0;
  }

  eso::LogProbs log_probs(const eso::Batch& batch) {
    check_batch(batch);
    if (fault == ModelFault::no_check && !usable(batch))
      return eso::LogProbs::Zero(batch.response_count(), batch.longest());
    const bool again = fault == ModelFault::stale_logits && same_tokens(batch);
    last = batch;
    if (again) return kept;
    if (old.empty()) old = batch.prompts;
    ++calls;
    const double beyond = fault == ModelFault::value_beyond ? -1 : 0;
    eso::LogProbs logp = eso::LogProbs::Constant(batch.response_count(), batch.longest(), beyond);
    for (Index n = 0; n < batch.response_count(); ++n) {
      for_each_token(batch, n, [&](Index t, eso::TokenId token, const Terms& what) {
        Row z = logits(what);
        if (fault == ModelFault::row_number) z(0) += .01 * static_cast<double>(n);
        if (fault == ModelFault::batch_size) z(0) += .01 * static_cast<double>(batch.response_count());
        if (fault == ModelFault::not_repeatable) z(0) += 1e-12 * calls;
        logp(n, t) = fault == ModelFault::unnormalised ? z(token) : normalised(z)(token);
        if (!counts(batch.response(n).tokens, static_cast<std::size_t>(t))) logp(n, t) = 0;
      });
    }
    kept = logp;
    return logp;
  }

  void backward(const eso::LogProbs& d_logp) {
    if (!last) {
      if (fault == ModelFault::not_fresh) return;
      throw eso::input_error("FaultyModel", "no log_probs came before backward");
    }
    if (fault == ModelFault::no_shape_check &&
        (d_logp.rows() != last->response_count() || d_logp.cols() != last->longest()))
      return;
    eso::check_shape("FaultyModel", d_logp, *last);
    if (fault == ModelFault::overwrites) eso::zero_gradients(parameters());
    std::set<Index> seen;
    for (Index n = 0; n < last->response_count(); ++n) {
      const Index prompt = static_cast<Index>(prompt_tokens(*last, last->response(n).prompt).size());
      const bool first = seen.insert(last->response(n).prompt).second;
      for_each_token(*last, n, [&](Index t, eso::TokenId token, const Terms& what) {
        if (!counts(last->response(n).tokens, static_cast<std::size_t>(t))) return;
        double d = d_logp(n, t);
        if (fault == ModelFault::sign) d = -d;
        if (fault == ModelFault::factor) d *= 1.01;
        if (fault == ModelFault::beyond_lengths)
          d += 1e-3 * d_logp.row(n).tail(d_logp.cols() - length(n)).sum();
        Row dz = -d * normalised(logits(what)).exp();
        if (fault == ModelFault::unnormalised) dz.setZero();
        dz(token) += d;
        for (std::size_t j = 0; j < what.history.size(); ++j) {
          if (fault == ModelFault::tied_part_missing && j > 0) continue;
          const bool of_prompt = static_cast<Index>(what.history.size() - j) <= prompt;
          if (fault == ModelFault::prompt_once && of_prompt && !first) continue;
          d_history.row(what.history[j].first) += what.history[j].second * dz;
        }
        if (fault != ModelFault::position_part_missing) d_position.row(what.position) += dz;
      });
    }
  }

 private:
  Index length(Index n) const { return static_cast<Index>(last->response(n).tokens.size()); }

  bool usable(const eso::Batch& batch) const {
    try {
      eso::check(batch, vocabulary_size(), context_length(), "");
      return true;
    } catch (const eso::Error&) {
      return false;
    }
  }

  template <class Visit>
  void for_each_token(const eso::Batch& batch, Index n, Visit visit) const {
    const eso::Response& response = batch.response(n);
    eso::Tokens text = prompt_tokens(batch, response.prompt);
    const auto prompt = static_cast<Index>(text.size());
    text.insert(text.end(), response.tokens.begin(), response.tokens.end());
    const auto pad = batch.longest() - static_cast<Index>(response.tokens.size());
    for (Index t = 0; t < static_cast<Index>(response.tokens.size()); ++t) {
      visit(t, response.tokens[static_cast<std::size_t>(t)], terms(text, prompt - 1 + t, prompt, pad));
    }
  }
};
