// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "eso/kernels/elementwise.hpp"
#include "eso/model/decoder.hpp"

namespace eso {

/// Texts being continued by a `Decoder`, with the keys and values of everything before: a `Decoding`.
///
/// The keys and values of a prompt are computed and kept once, however many rows continue it; a row keeps
/// those of its own tokens. Each step is one product a weight matrix over all live rows, and one product a
/// head and prompt over the rows that share it. A copy goes its own way from where this one stands. The
/// decoder must outlive this and keep its weights.
template <class Scalar>
class KeyValueDecoding {
 public:
  static constexpr Index patience = 8;  ///< steps after which a copy of the weights pays

  KeyValueDecoding(const Decoder<Scalar>& model, std::span<const Prompt> prompts)
      : model_(&model), packs_(model.packs_for_decoding) {
    Batch batch;
    batch.prompts.assign(prompts.begin(), prompts.end());
    check(batch, model.vocabulary_size(), model.context_length(), "Decoder::decode");
    prefill(prompts);
  }

  /// (live rows, V)
  const RowMatrix<Scalar>& logits() const { return logits_; }

  /// New row i continues old row `parents[i]` with `tokens[i]`. Old rows that are nobody's parent are
  /// dropped.
  void advance(std::span<const Index> parents, std::span<const TokenId> tokens) {
    require(parents.size() == tokens.size(), "Decoding::advance", "needs a token for each parent");
    fork(parents);
    Tokens fed(tokens.begin(), tokens.end());
    std::vector<Index> positions;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (fed[i] < 0 || fed[i] >= model_->vocabulary_size()) {
        throw input_error("Decoding::advance", "a token is outside the vocabulary",
                          fmt::format("{}", fed[i]));
      }
      positions.push_back(prefix_->prompts[static_cast<std::size_t>(rows_[i].prompt)].size() +
                          rows_[i].length);
      if (positions.back() >= model_->context_length()) {
        throw input_error("Decoding::advance", "the context is full",
                          fmt::format("position {}", positions.back()));
      }
      reserve(rows_[i]);
    }
    if (rows_.empty()) {
      refit(logits_, 0, model_->vocabulary_size());
      return;
    }
    if (++steps_ == patience && packs_) packed_ = model_->packed_->copy(model_->weights_, *model_->threads_);
    RowMatrix<Scalar> x, embedded;
    model_->embed(fed, positions, x, embedded);
    for (Index layer = 0; layer < model_->architecture().layers; ++layer) {
      model_->forward_layer(weights(), layer, positions, nullptr, x, saved_,
                            [&](const Attention<Scalar>& a) { attend(layer, a); });
    }
    for (Row& row : rows_) ++row.length;
    finish(x);
  }

 private:
  /// A live row: which prompt it continues and the keys and values of its own tokens, (layers, 2, capacity,
  /// H).
  struct Row {
    Index prompt = 0, length = 0, capacity = 0;
    std::vector<Scalar> memory;
  };

  /// What the prompts left behind.
  struct Prefix {
    std::vector<Packing::Segment> prompts;        ///< rows of `keys` and `values`
    std::vector<RowMatrix<Scalar>> keys, values;  ///< a layer: (prompt rows, H)
  };

  const DecoderWeights<Scalar>& weights() const { return packed_ ? *packed_ : model_->weights_; }

  void prefill(std::span<const Prompt> prompts) {
    const auto prefix = std::make_shared<Prefix>();
    prefix_ = prefix;
    const Packing packing = pack(prompts);
    for (const Packing::Group& group : packing.groups) {
      rows_.push_back({static_cast<Index>(prefix->prompts.size()), 0, 0, {}});
      prefix->prompts.push_back(group.prompt);
    }
    if (prompts.empty()) {
      refit(logits_, 0, model_->vocabulary_size());
      return;
    }
    RowMatrix<Scalar> x, embedded;
    model_->embed(packing.tokens, packing.positions, x, embedded);
    prefix->keys.resize(static_cast<std::size_t>(model_->architecture().layers));
    prefix->values.resize(prefix->keys.size());
    for (Index layer = 0; layer < model_->architecture().layers; ++layer) {
      const bool last = model_->last(layer);
      const std::vector<Index>* rows = last ? &packing.head_rows : nullptr;
      model_->forward_layer(
          weights(), layer, packing.positions, rows, x, saved_, [&](const Attention<Scalar>& a) {
            a.forward(packing, last, saved_.qkv, saved_.attended, saved_.log_sum, *model_->threads_);
            take_columns(
                a, [&](Index h) { return a.key_column(h); }, prefix->keys[static_cast<std::size_t>(layer)]);
            take_columns(
                a, [&](Index h) { return a.value_column(h); },
                prefix->values[static_cast<std::size_t>(layer)]);
          });
    }
    if (model_->architecture().layers == 0) x = RowMatrix<Scalar>(x(packing.head_rows, Eigen::all));
    finish(x);
    saved_ = {};  // as large as the prompts, and what follows needs a row each
  }

  /// Copies a head's columns of `saved_.qkv` for all heads: (rows, H).
  template <class Column>
  void take_columns(const Attention<Scalar>& a, const Column& column, RowMatrix<Scalar>& to) const {
    refit(to, saved_.qkv.rows(), a.heads() * a.width());
    for (Index h = 0; h < a.heads(); ++h) {
      to.middleCols(h * a.width(), a.width()) = saved_.qkv.middleCols(column(h), a.width());
    }
  }

  void finish(const RowMatrix<Scalar>& x) {
    model_->to_head(x, normed_, head_);
    weights().head.logits(head_, logits_, *model_->threads_);
  }

  void fork(std::span<const Index> parents) {
    std::vector<Row> next(parents.size());
    std::vector<Index> uses(rows_.size(), 0);
    for (const Index parent : parents) {
      if (parent < 0 || parent >= static_cast<Index>(rows_.size())) {
        throw input_error("Decoding::advance", "a parent is no live row", fmt::format("{}", parent));
      }
      ++uses[static_cast<std::size_t>(parent)];
    }
    for (std::size_t i = 0; i < parents.size(); ++i) {
      const auto parent = static_cast<std::size_t>(parents[i]);
      if (--uses[parent] == 0) {
        next[i] = std::move(rows_[parent]);
      } else {
        next[i] = rows_[parent];
      }
    }
    rows_ = std::move(next);
  }

  Index width() const { return model_->architecture().width; }

  /// Makes room for one more token.
  void reserve(Row& row) const {
    if (row.length < row.capacity) return;
    const Index capacity = std::max<Index>(16, 2 * row.capacity), sides = 2 * model_->architecture().layers;
    std::vector<Scalar> memory(static_cast<std::size_t>(sides * capacity * width()));
    for (Index side = 0; side < sides; ++side) {
      std::copy_n(row.memory.begin() + side * row.capacity * width(), row.length * width(),
                  memory.begin() + side * capacity * width());
    }
    row.memory = std::move(memory);
    row.capacity = capacity;
  }

  Scalar* own(Row& row, Index layer, Index side) const {
    return row.memory.data() + (2 * layer + side) * row.capacity * width();
  }

  /// Appends the keys and values of the rows and attends: `saved_.attended` from `saved_.qkv`.
  void attend(Index layer, const Attention<Scalar>& a) {
    refit(saved_.attended, saved_.qkv.rows(), width());
    std::vector<Index> runs;  // where a run of rows of one prompt begins
    for (Index i = 0; i < static_cast<Index>(rows_.size()); ++i) {
      if (i == 0 ||
          rows_[static_cast<std::size_t>(i)].prompt != rows_[static_cast<std::size_t>(i) - 1].prompt)
        runs.push_back(i);
    }
    runs.push_back(static_cast<Index>(rows_.size()));
    model_->threads_->for_each(static_cast<Index>(runs.size()) - 1, [&](Index run) {
      for (Index h = 0; h < a.heads(); ++h) {
        attend_run(layer, a, h, runs[static_cast<std::size_t>(run)], runs[static_cast<std::size_t>(run) + 1]);
      }
    });
  }

  void attend_run(Index layer, const Attention<Scalar>& a, Index h, Index begin, Index end) {
    const Packing::Segment prompt =
        prefix_->prompts[static_cast<std::size_t>(rows_[static_cast<std::size_t>(begin)].prompt)];
    const Index w = a.width(), H = width(), shared = prompt.size();
    const auto queries = saved_.qkv.block(begin, a.query_column(h), end - begin, w);
    auto out = saved_.attended.block(begin, h * w, end - begin, w);
    RowMatrix<Scalar> scores(end - begin, shared);
    product(queries,
            prefix_->keys[static_cast<std::size_t>(layer)].block(prompt.begin, h * w, shared, w).transpose(),
            scores, false, a.scale());
    for (Index i = 0; i < end - begin; ++i) {
      Row& row = rows_[static_cast<std::size_t>(begin + i)];
      const Index count = row.length + 1;
      Scalar* key = own(row, layer, 0) + h * w;
      Scalar* value = own(row, layer, 1) + h * w;
      std::copy_n(&saved_.qkv(begin + i, a.key_column(h)), w, key + row.length * H);
      std::copy_n(&saved_.qkv(begin + i, a.value_column(h)), w, value + row.length * H);
      const ConstStridedRows<Scalar> keys(key, count, w, Eigen::OuterStride<>(H));
      const ConstStridedRows<Scalar> values(value, count, w, Eigen::OuterStride<>(H));
      Scalar* const shared_score = scores.row(i).data();
      Eigen::Matrix<Scalar, 1, Eigen::Dynamic> own_score = a.scale() * queries.row(i) * keys.transpose();
      const Scalar largest = std::max(largest_of(shared_score, shared), largest_of(own_score.data(), count));
      exponentiate(shared_score, shared, largest);
      exponentiate(own_score.data(), count, largest);
      const Scalar sum = sum_of(shared_score, shared) + sum_of(own_score.data(), count);
      scores.row(i) /= sum;
      out.row(i).noalias() = (own_score / sum) * values;
    }
    product(scores, prefix_->values[static_cast<std::size_t>(layer)].block(prompt.begin, h * w, shared, w),
            out, true);
  }

  const Decoder<Scalar>* model_;
  std::shared_ptr<const Prefix> prefix_;  ///< copies share it
  std::shared_ptr<const DecoderWeights<Scalar>> packed_;
  bool packs_;
  Index steps_ = 0;
  std::vector<Row> rows_;
  typename Decoder<Scalar>::Saved saved_;
  RowMatrix<Scalar> normed_, head_, logits_;
};

}  // namespace eso
