// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/random.hpp"
#include "eso/tensor.hpp"

namespace eso::testing {

class TabularDecoding;

/// The reference language model, without a backend and in double: two tables, yet every token depends on its
/// position and on all tokens before it, the nearer the more, so that a wrong mask, position or prompt shows.
///
///     state(i)  = history(token i) + state(i - 1) / 2      (V), state(-1) = 0
///     logits(i) = state(i) + position(i)                   (V), of token i + 1
///
/// with i counted from the prompt's start.
/// `history` is (V, V) and read once for every earlier token, so its gradient is a sum of many parts;
/// `position` is (context, V). A model of `LogProbModel`, `Generator` and `Checkpointable`. For tests and
/// examples; cost O(tokens V).
class TabularModel {
 public:
  using Table = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Row = Eigen::Array<double, 1, Eigen::Dynamic>;

  /// Entries uniform on [-1, 1), named by the seed.
  ///
  /// \throws Error for less than 2 tokens, a context below 2 or an end of sequence outside the vocabulary.
  TabularModel(Index vocabulary, Index context, std::uint64_t seed = 0, TokenId end_of_sequence = 0)
      : end_of_sequence_(end_of_sequence) {
    require(vocabulary >= 2 && context >= 2, "TabularModel", "vocabulary and context must be at least 2");
    require(end_of_sequence >= 0 && end_of_sequence < vocabulary, "TabularModel",
            "the end of sequence lies outside the vocabulary");
    const auto random_table = [&](Index rows, std::uint32_t number) {
      const StreamName stream{.seed = seed, .purpose = Purpose::initialising, .prompt = number};
      Table table(rows, vocabulary);
      for (Index i = 0; i < table.size(); ++i) {
        table.data()[i] = 2 * uniform01(stream, static_cast<std::uint64_t>(i)) - 1;
      }
      return table;
    };
    history_ = random_table(vocabulary, 0);
    position_ = random_table(context, 1);
    d_history_ = Table::Zero(vocabulary, vocabulary);
    d_position_ = Table::Zero(context, vocabulary);
  }

  Index vocabulary_size() const { return history_.cols(); }
  Index context_length() const { return position_.rows(); }
  TokenId end_of_sequence() const { return end_of_sequence_; }
  bool is_end(TokenId id) const { return id == end_of_sequence_; }

  /// (N, R) log-probabilities; see `LogProbModel`.
  LogProbs log_probs(const Batch& batch) {
    check(batch, vocabulary_size(), context_length(), "TabularModel::log_probs");
    last_ = batch;
    LogProbs logp = LogProbs::Zero(batch.response_count(), batch.longest());
    const std::vector<Row> states = prompt_states(batch);
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Tokens& tokens = batch.response(n).tokens;
      const Table rows = continuation(batch, n, states);
      for (Index t = 0; t < rows.rows(); ++t) logp(n, t) = rows(t, tokens[static_cast<std::size_t>(t)]);
    }
    return logp;
  }

  /// Adds d_logp * d log_probs / d tables to the gradients; see `LogProbModel`.
  void backward(const LogProbs& d_logp) {
    require(last_.has_value(), "TabularModel::backward", "no log_probs came before it");
    const Batch& batch = *last_;
    check_shape("TabularModel::backward", d_logp, batch);
    const std::vector<Row> states = prompt_states(batch);
    std::vector<Row> d_states(states.size(), Row::Zero(vocabulary_size()));
    for (Index n = 0; n < batch.response_count(); ++n) {
      const Response& response = batch.response(n);
      const Table rows = continuation(batch, n, states);
      const Index first = prompt_length(batch, response.prompt) - 1;
      Row d_state = Row::Zero(vocabulary_size());  // of the state that token t was predicted from
      for (Index t = rows.rows() - 1; t >= 0; --t) {
        const TokenId token = response.tokens[static_cast<std::size_t>(t)];
        d_history_.row(token) += d_state;
        Row d_logits = -d_logp(n, t) * rows.row(t).exp();
        d_logits(token) += d_logp(n, t);
        d_position_.row(first + t) += d_logits;
        d_state = d_logits + d_state / 2;
      }
      d_states[static_cast<std::size_t>(response.prompt)] += d_state;
    }
    for (std::size_t p = 0; p < d_states.size(); ++p) {
      const Tokens& tokens = batch.prompts[p].tokens;
      for (std::size_t i = tokens.size(); i > 0; --i) {
        d_history_.row(tokens[i - 1]) += d_states[p];
        d_states[p] /= 2;
      }
    }
  }

  ParameterList<double> parameters() {
    const Index v = vocabulary_size(), c = context_length();
    return {{"history", {v, v}, history_.data(), d_history_.data(), history_.size(), true},
            {"position", {c, v}, position_.data(), d_position_.data(), position_.size(), true}};
  }

  /// The prompts, ready to be continued; the model must outlive it and stay unchanged meanwhile.
  TabularDecoding decode(std::span<const Prompt> prompts) const;

  std::vector<TensorView> state() const { return {view("history", history_), view("position", position_)}; }

  /// \throws Error naming the first table that is missing or has another shape or type; then nothing changed.
  void load_state(const TensorLookup& lookup) {
    const TensorView history = found(lookup, view("history", history_));
    const TensorView position = found(lookup, view("position", position_));
    std::memcpy(history_.data(), history.bytes.data(), history.bytes.size());
    std::memcpy(position_.data(), position.bytes.data(), position.bytes.size());
  }

  /// (1, V) state after `token` with `before` the state ahead of it.
  Row next_state(const Row& before, TokenId token) const { return history_.row(token) + before / 2; }

  /// (1, V) logits of the token after `length` tokens that ended in `state`.
  Row logits(const Row& state, Index length) const { return state + position_.row(length - 1); }

  /// (1, V) state after these tokens.
  Row state_after(const Tokens& tokens) const {
    Row state = Row::Zero(vocabulary_size());
    for (const TokenId token : tokens) state = next_state(state, token);
    return state;
  }

 private:
  static Index prompt_length(const Batch& batch, Index p) {
    return static_cast<Index>(batch.prompts[static_cast<std::size_t>(p)].tokens.size());
  }

  std::vector<Row> prompt_states(const Batch& batch) const {
    std::vector<Row> states;
    for (const Prompt& prompt : batch.prompts) states.push_back(state_after(prompt.tokens));
    return states;
  }

  /// (length, V): log-probabilities of all tokens at each place of response n.
  Table continuation(const Batch& batch, Index n, const std::vector<Row>& states) const {
    const Response& response = batch.response(n);
    Row state = states[static_cast<std::size_t>(response.prompt)];
    Index length = prompt_length(batch, response.prompt);
    Table rows(static_cast<Index>(response.tokens.size()), vocabulary_size());
    for (Index t = 0; t < rows.rows(); ++t, ++length) {
      const Row z = logits(state, length);
      rows.row(t) = z - z.maxCoeff() - std::log((z - z.maxCoeff()).exp().sum());
      state = next_state(state, response.tokens[static_cast<std::size_t>(t)]);
    }
    return rows;
  }

  static TensorView view(const char* name, const Table& table) {
    const std::span<const double> numbers(table.data(), static_cast<std::size_t>(table.size()));
    return {name, DataType::float64, {table.rows(), table.cols()}, std::as_bytes(numbers), nullptr};
  }

  static TensorView found(const TensorLookup& lookup, const TensorView& own) {
    std::optional<TensorView> tensor = lookup(own.name);
    if (!tensor) throw input_error(own.name, "the tensor is missing");
    if (tensor->type != own.type || tensor->shape != own.shape || tensor->bytes.size() != own.bytes.size()) {
      throw input_error(own.name, "the tensor has another shape or type",
                        fmt::format("{} bytes", tensor->bytes.size()),
                        fmt::format("({}, {}) of float64", own.shape[0], own.shape[1]));
    }
    return *std::move(tensor);
  }

  Table history_, position_, d_history_, d_position_;
  TokenId end_of_sequence_;
  std::optional<Batch> last_;  // what backward differentiates
};

/// Texts of a `TabularModel` being continued; see `Decoding`.
class TabularDecoding {
 public:
  /// \throws Error for a prompt without a token, an id outside the vocabulary or a prompt beyond the context.
  TabularDecoding(const TabularModel& model, std::span<const Prompt> prompts) : model_(&model) {
    Batch batch;
    batch.prompts.assign(prompts.begin(), prompts.end());
    check(batch, model.vocabulary_size(), model.context_length(), "TabularModel::decode");
    for (const Prompt& prompt : prompts) {
      const auto length = static_cast<Index>(prompt.tokens.size());
      require_room(length);
      rows_.push_back({model.state_after(prompt.tokens), length});
    }
    compute_logits();
  }

  /// (rows, V) of the token after each live row.
  const TabularModel::Table& logits() const { return logits_; }

  /// New row i is old row `parents[i]` with `tokens[i]`.
  ///
  /// \throws Error for lists of different sizes, a parent or an id that does not exist or a text beyond the
  ///         context; then nothing changed.
  void advance(std::span<const Index> parents, std::span<const TokenId> tokens) {
    require(parents.size() == tokens.size(), "TabularDecoding::advance",
            "parents and tokens differ in number");
    std::vector<Text> rows;
    for (std::size_t i = 0; i < parents.size(); ++i) {
      require(parents[i] >= 0 && parents[i] < static_cast<Index>(rows_.size()), "TabularDecoding::advance",
              "a parent does not exist");
      require(tokens[i] >= 0 && tokens[i] < model_->vocabulary_size(), "TabularDecoding::advance",
              "an id lies outside the vocabulary");
      const Text& parent = rows_[static_cast<std::size_t>(parents[i])];
      require_room(parent.length + 1);
      rows.push_back({model_->next_state(parent.state, tokens[i]), parent.length + 1});
    }
    rows_ = std::move(rows);
    compute_logits();
  }

 private:
  struct Text {
    TabularModel::Row state;
    Index length;
  };

  void require_room(Index length) const {
    if (length <= model_->context_length()) return;
    throw input_error("TabularDecoding", "a text exceeds the context", fmt::format("{} tokens", length),
                      fmt::format("at most {}", model_->context_length()));
  }

  void compute_logits() {
    logits_.resize(static_cast<Index>(rows_.size()), model_->vocabulary_size());
    for (Index i = 0; i < logits_.rows(); ++i) {
      const Text& text = rows_[static_cast<std::size_t>(i)];
      logits_.row(i) = model_->logits(text.state, text.length);
    }
  }

  const TabularModel* model_;
  std::vector<Text> rows_;
  TabularModel::Table logits_;
};

inline TabularDecoding TabularModel::decode(std::span<const Prompt> prompts) const {
  return {*this, prompts};
}

}  // namespace eso::testing
