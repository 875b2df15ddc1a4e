// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/model/decoder_weights.hpp"
#include "eso/random.hpp"

namespace eso {

template <class Scalar>
class KeyValueDecoding;

/// An autoregressive transformer on the CPU: a `LogProbModel`, a `Generator` and `Checkpointable`.
///
/// One decoder computes every `Architecture`. A batch is one block of rows (`Packing`): a prompt is computed
/// once for all its responses, each weight matrix is one product forward and two backward, only rows whose
/// next token is asked for leave the last layer's attention, no (rows, rows) array exists, and no (tokens, V)
/// one above `VocabularyHead::kept_bytes`.
///
/// Weights are used where they lie (a mapped file, for one); gradients are allocated when `parameters()` is
/// first asked for. Memory of `log_probs`: 16 widths a row and layer, kept for `backward`; of one layer alone
/// where nothing is kept. Cost: 2 operations a weight and row forward, 4 backward, and those of attention.
template <class Scalar>
class Decoder {
 public:
  /// Generation copies the weights, once a response is longer than a few tokens, into the order in which it
  /// reads them. Faster by a fifth; from then on as much memory again as the weights.
  bool packs_for_decoding = true;
  bool keeps_for_backward = true;  ///< false: `log_probs` keeps nothing and `backward` is refused
  DropoutRates dropout = {};       ///< of `log_probs(batch, seed)`; nothing else drops

  /// Takes the arrays of `arrays(a)`, in that order; `owner` keeps their memory alive.
  Decoder(const Architecture& a, std::vector<StoredArray<Scalar>> stored, std::shared_ptr<const void> owner,
          std::shared_ptr<Threads> threads)
      : architecture_(a), stored_(std::move(stored)), owner_(std::move(owner)), threads_(std::move(threads)) {
    require(stored_.size() == arrays(a).size(), "Decoder", "needs every array of its architecture");
    weights_.bind(architecture_, stored_, gradients_);
  }

  /// A copy would train the same arrays: `clone` has its own.
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  Decoder(Decoder&&) = default;
  Decoder& operator=(Decoder&&) = default;

  /// Another decoder with weights of its own, equal to these: a frozen reference, for one.
  Decoder clone() const {
    Index total = 0;
    for (const StoredArray<Scalar>& array : stored_) total += array.spec.size();
    auto memory = std::make_shared<Eigen::Array<Scalar, Eigen::Dynamic, 1>>(total);
    std::vector<StoredArray<Scalar>> copies = stored_;
    Scalar* next = memory->data();
    for (StoredArray<Scalar>& array : copies) {
      array.value = std::copy_n(array.value, array.spec.size(), next) - array.spec.size();
      next += array.spec.size();
    }
    Decoder copy(architecture_, std::move(copies), std::move(memory), threads_);
    copy.keeps_for_backward = keeps_for_backward;
    copy.packs_for_decoding = packs_for_decoding;
    copy.dropout = dropout;
    copy.set_temperature(weights_.head.temperature);
    return copy;
  }

  const Architecture& architecture() const { return architecture_; }
  Index vocabulary_size() const { return architecture_.vocabulary; }
  Index context_length() const { return architecture_.context; }
  std::optional<TokenId> end_of_sequence() const { return architecture_.end_of_sequence; }
  bool is_end(TokenId id) const { return architecture_.is_end(id); }
  Threads& threads() const { return *threads_; }

  /// From here on the logits are divided by `temperature`, which is 1 unless it is set.
  void set_temperature(double temperature) {
    require(temperature > 0 && std::isfinite(temperature), "Decoder::set_temperature",
            "must be finite and above 0");
    weights_.head.temperature = temperature;
    has_forward_ = false;
  }

  /// (N, R) log-probabilities in nats. Keeps what `backward` needs until the next call.
  LogProbs log_probs(const Batch& batch) { return forward(batch, std::nullopt); }

  /// The same as the model trains: through the masks of dropout that the step has, see `DropoutMasks`.
  LogProbs log_probs(const Batch& batch, StepSeed seed) { return forward(batch, seed); }

  /// Adds the gradient of sum(d_logp * log_probs) to the gradients. May be called more than once after one
  /// `log_probs`.
  void backward(const LogProbs& d_logp) {
    require(has_forward_, "Decoder::backward", "no log_probs came before it");
    if (d_logp.rows() != logp_.rows() || d_logp.cols() != logp_.cols()) {
      throw input_error("Decoder::backward", "d_logp has the wrong shape",
                        fmt::format("({}, {})", d_logp.rows(), d_logp.cols()),
                        fmt::format("({}, {})", logp_.rows(), logp_.cols()));
    }
    allocate_gradients();
    RowMatrix<Scalar> d_head;
    weights_.head.backward(head_out_, packing_.targets, d_logp, head_kept_, d_head, *threads_);
    d_x_ = from_head(d_head);
    for (Index layer = architecture_.layers; layer-- > 0;) {
      backward_layer(layer, saved_[static_cast<std::size_t>(layer)]);
    }
    if (architecture_.layers == 0) scatter(d_x_);
    embed_backward();
  }

  /// Every trainable array with its gradient.
  ParameterList<Scalar> parameters() {
    allocate_gradients();
    return parameter_list(stored_, gradients_);
  }

  /// The prompts computed once, ready to be continued.
  KeyValueDecoding<Scalar> decode(std::span<const Prompt> prompts) const {
    return KeyValueDecoding<Scalar>(*this, prompts);
  }

  std::vector<TensorView> state() const { return tensor_views(stored_, owner_); }

  void load_state(const TensorLookup& lookup) {
    copy_tensors(lookup, stored_);
    has_forward_ = false;
  }

 private:
  friend class KeyValueDecoding<Scalar>;

  using Layer = DecoderLayer<Scalar>;

  /// What a layer keeps for its backward pass. `norm1_in`, `norm2_in` are what was normalised.
  struct Saved {
    RowMatrix<Scalar> norm1_in, normed1, qkv, attended, attended_rows, log_sum, norm2_in, normed2, inner,
        active;
  };

  LogProbs forward(const Batch& batch, std::optional<StepSeed> seed) {
    check(batch, vocabulary_size(), context_length(), "Decoder::log_probs");
    has_forward_ = false;
    packing_ = pack(batch);
    masks_ =
        seed && dropout.any() ? DropoutMasks(dropout, architecture_, batch, packing_, *seed) : DropoutMasks();
    saved_.resize(keeps_for_backward ? static_cast<std::size_t>(architecture_.layers) : 1);
    embed(packing_.tokens, packing_.positions, x_, embedded_);
    masks_.apply(DropoutPlace::embedding, 0, nullptr, x_, *threads_);
    for (Index layer = 0; layer < architecture_.layers; ++layer) {
      Saved& saved = saved_[keeps_for_backward ? static_cast<std::size_t>(layer) : 0];
      const std::vector<Index>* rows = last(layer) ? &packing_.head_rows : nullptr;
      const auto attend = [&](const Attention<Scalar>& attention) {
        attention.forward(packing_, last(layer), saved.qkv, saved.attended, saved.log_sum, *threads_,
                          &masks_);
      };
      forward_layer(weights_, layer, packing_.positions, rows, x_, saved, attend, masks_);
    }
    if (architecture_.layers == 0) x_ = RowMatrix<Scalar>(x_(packing_.head_rows, Eigen::all));
    to_head(x_, head_normed_, head_out_);
    refit(logp_, batch.response_count(), batch.longest());
    logp_.setZero();
    weights_.head.forward(head_out_, packing_.targets, logp_, head_kept_, keeps_for_backward, *threads_);
    has_forward_ = keeps_for_backward;
    return logp_;
  }

  /// What a layer adds to the residual, and which `rows` of a pass it is of, where they were chosen.
  struct Branch {
    const DropoutMasks& masks;
    DropoutPlace place;
    Index layer;
    const std::vector<Index>* rows;
  };

  bool after() const { return architecture_.norm_order == NormOrder::after; }

  void allocate_gradients() {
    if (!gradients_.empty()) return;
    Index total = 0;
    for (const StoredArray<Scalar>& array : stored_) total += array.spec.size();
    gradient_memory_.setZero(total);
    Scalar* next = gradient_memory_.data();
    std::vector<Scalar*> gradients;
    for (const StoredArray<Scalar>& array : stored_) {
      gradients.push_back(next);
      next += array.spec.size();
    }
    weights_.bind(architecture_, stored_, gradients);
    gradients_ = std::move(gradients);
  }

  /// Rows of embeddings: token, projected where the widths differ, plus position.
  void embed(const Tokens& tokens, const std::vector<Index>& positions, RowMatrix<Scalar>& x,
             RowMatrix<Scalar>& embedded) const {
    const Architecture& a = architecture_;
    RowMatrix<Scalar>& rows = a.projects() ? embedded : x;
    refit(rows, static_cast<Index>(tokens.size()), a.embedding_width);
    for (Index row = 0; row < rows.rows(); ++row) {
      rows.row(row) = ConstRowMap<Scalar>(
          weights_.token_embedding.value + tokens[static_cast<std::size_t>(row)] * a.embedding_width, 1,
          a.embedding_width);
    }
    if (a.projects()) weights_.project_in.forward(embedded, x, false, *threads_);
    if (a.positions == Positions::rotary) return;
    for (Index row = 0; row < x.rows(); ++row) {
      const Index position = positions[static_cast<std::size_t>(row)] + a.position_offset;
      x.row(row) += ConstRowMap<Scalar>(weights_.position_embedding.value + position * a.width, 1, a.width);
    }
  }

  void embed_backward() {
    const Architecture& a = architecture_;
    masks_.apply(DropoutPlace::embedding, 0, nullptr, d_x_, *threads_);
    if (a.positions == Positions::learned) {
      for (Index row = 0; row < packing_.rows(); ++row) {
        const Index position = packing_.positions[static_cast<std::size_t>(row)] + a.position_offset;
        RowMap<Scalar>(weights_.position_embedding.gradient + position * a.width, 1, a.width) +=
            d_x_.row(row);
      }
    }
    RowMatrix<Scalar> d_tokens;
    if (a.projects()) weights_.project_in.backward(embedded_, d_x_, &d_tokens, false, *threads_);
    const RowMatrix<Scalar>& d = a.projects() ? d_tokens : d_x_;
    for (Index row = 0; row < packing_.rows(); ++row) {
      RowMap<Scalar>(weights_.token_embedding.gradient +
                         packing_.tokens[static_cast<std::size_t>(row)] * a.embedding_width,
                     1, a.embedding_width) += d.row(row);
    }
  }

  bool last(Index layer) const { return layer + 1 == architecture_.layers; }

  /// x becomes the layer's output, of these `rows` alone where they are given. `s` holds everything the
  /// backward pass reads; `attend` makes `s.attended` from `s.qkv`.
  template <class Attend>
  void forward_layer(const DecoderWeights<Scalar>& weights, Index index, const std::vector<Index>& positions,
                     const std::vector<Index>* rows, RowMatrix<Scalar>& x, Saved& s, const Attend& attend,
                     const DropoutMasks& masks = {}) const {
    const Branch attention{masks, DropoutPlace::attention_out, index, rows};
    const Layer& layer = weights.layers[static_cast<std::size_t>(index)];
    if (after()) {
      copy_into(s.normed1, x);
    } else {
      copy_into(s.norm1_in, x);
      layer.norm1.forward(x, s.normed1, *threads_);
    }
    layer.qkv.forward(s.normed1, s.qkv, false, *threads_);
    if (architecture_.positions == Positions::rotary)
      rotate(architecture_, positions, false, s.qkv, *threads_);
    attend(layer.attention);
    if (rows) {
      x = RowMatrix<Scalar>(x(*rows, Eigen::all));
      copy_into(s.attended_rows, s.attended(*rows, Eigen::all));
      if (architecture_.parallel_residual) copy_into(s.norm2_in, s.norm1_in(*rows, Eigen::all));
    }
    add_branch(attention, layer.attention_out, rows ? s.attended_rows : s.attended, x);
    feed_forward(layer, {masks, DropoutPlace::feed_forward, index, rows}, x, s);
  }

  /// What the second normalisation is of: in a parallel residual the same as the first, unless rows were
  /// chosen.
  const RowMatrix<Scalar>& norm2_in(const Saved& s, bool rows_chosen) const {
    return architecture_.parallel_residual && !rows_chosen ? s.norm1_in : s.norm2_in;
  }

  /// x += linear(in), or what dropout leaves of it.
  void add_branch(const Branch& b, const Linear<Scalar>& linear, const RowMatrix<Scalar>& in,
                  RowMatrix<Scalar>& x) const {
    if (!b.masks.on(b.place)) return linear.forward(in, x, true, *threads_);
    RowMatrix<Scalar> branch;
    linear.forward(in, branch, false, *threads_);
    b.masks.apply(b.place, b.layer, b.rows, branch, *threads_);
    x += branch;
  }

  /// The gradient of what a branch of `layer` added, from d_x_, that of the sum.
  const RowMatrix<Scalar>& d_branch(DropoutPlace place, Index layer) {
    if (!masks_.on(place)) return d_x_;
    copy_into(d_branch_, d_x_);
    masks_.apply(place, layer, last(layer) ? &packing_.head_rows : nullptr, d_branch_, *threads_);
    return d_branch_;
  }

  /// The second half of a layer, from x = input + attention.
  void feed_forward(const Layer& layer, const Branch& branch, RowMatrix<Scalar>& x, Saved& s) const {
    if (after()) {
      copy_into(s.norm1_in, x);
      layer.norm1.forward(s.norm1_in, x, *threads_);
      copy_into(s.normed2, x);
    } else {
      if (!architecture_.parallel_residual) copy_into(s.norm2_in, x);
      layer.norm2.forward(norm2_in(s, branch.rows != nullptr), s.normed2, *threads_);
    }
    layer.inner.forward(s.normed2, s.inner, false, *threads_);
    activate(architecture_.activation, s.inner, s.active, *threads_);
    add_branch(branch, layer.outer, s.active, x);
    if (after()) {
      copy_into(s.norm2_in, x);
      layer.norm2.forward(s.norm2_in, x, *threads_);
    }
  }

  /// d_x_ from the gradient of a layer's output to that of its input.
  void backward_layer(Index index, Saved& s) {
    const Layer& layer = weights_.layers[static_cast<std::size_t>(index)];
    RowMatrix<Scalar> d_inner, d_normed, d_attended, d_qkv;
    if (after()) {
      RowMatrix<Scalar> d_sum = RowMatrix<Scalar>::Zero(d_x_.rows(), d_x_.cols());
      layer.norm2.backward(s.norm2_in, d_x_, d_sum, *threads_);
      d_x_.swap(d_sum);
    }
    layer.outer.backward(s.active, d_branch(DropoutPlace::feed_forward, index), &d_inner, false, *threads_);
    activate_backward(architecture_.activation, s.inner, d_inner, *threads_);
    layer.inner.backward(s.normed2, d_inner, after() ? &d_x_ : &d_normed, after(), *threads_);
    RowMatrix<Scalar> d_parallel;
    if (after()) {
      RowMatrix<Scalar> d_sum = RowMatrix<Scalar>::Zero(d_x_.rows(), d_x_.cols());
      layer.norm1.backward(s.norm1_in, d_x_, d_sum, *threads_);
      d_x_.swap(d_sum);
    } else if (architecture_.parallel_residual) {
      refit(d_parallel, d_x_.rows(), d_x_.cols());
      d_parallel.setZero();
      layer.norm2.backward(norm2_in(s, last(index)), d_normed, d_parallel, *threads_);
    } else {
      layer.norm2.backward(s.norm2_in, d_normed, d_x_, *threads_);
    }
    layer.attention_out.backward(last(index) ? s.attended_rows : s.attended,
                                 d_branch(DropoutPlace::attention_out, index), &d_attended, false, *threads_);
    if (last(index)) {
      scatter(d_x_);
      scatter(d_attended);
      if (d_parallel.cols() > 0) scatter(d_parallel);
    }
    layer.attention.backward(packing_, last(index), s.qkv, s.attended, s.log_sum, d_attended, d_qkv,
                             *threads_, &masks_);
    if (architecture_.positions == Positions::rotary)
      rotate(architecture_, packing_.positions, true, d_qkv, *threads_);
    layer.qkv.backward(s.normed1, d_qkv, after() ? &d_x_ : &d_normed, after(), *threads_);
    if (!after()) layer.norm1.backward(s.norm1_in, d_normed, d_x_, *threads_);
    if (d_parallel.cols() > 0) d_x_ += d_parallel;
  }

  /// Rows of the head back to where they stand among all rows.
  void scatter(RowMatrix<Scalar>& rows) const {
    RowMatrix<Scalar> all = RowMatrix<Scalar>::Zero(packing_.rows(), rows.cols());
    for (std::size_t i = 0; i < packing_.head_rows.size(); ++i) {
      all.row(packing_.head_rows[i]) = rows.row(static_cast<Index>(i));
    }
    rows.swap(all);
  }

  /// Rows of the last layer to rows that meet the vocabulary.
  void to_head(const RowMatrix<Scalar>& x, RowMatrix<Scalar>& normed, RowMatrix<Scalar>& out) const {
    if (architecture_.final_norm) {
      weights_.final_norm.forward(x, normed, *threads_);
    } else {
      copy_into(normed, x);
    }
    if (architecture_.projects()) {
      weights_.project_out.forward(normed, out, false, *threads_);
    } else {
      copy_into(out, normed);
    }
  }

  RowMatrix<Scalar> from_head(RowMatrix<Scalar>& d_out) {
    RowMatrix<Scalar> d_normed;
    if (architecture_.projects()) {
      weights_.project_out.backward(head_normed_, d_out, &d_normed, false, *threads_);
    } else {
      d_normed.swap(d_out);
    }
    if (!architecture_.final_norm) return d_normed;
    RowMatrix<Scalar> d = RowMatrix<Scalar>::Zero(d_normed.rows(), d_normed.cols());
    weights_.final_norm.backward(x_, d_normed, d, *threads_);
    return d;
  }

  Architecture architecture_;
  std::vector<StoredArray<Scalar>> stored_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<Threads> threads_;
  /// Aligned the same in every process, so that sums over it round the same.
  Eigen::Array<Scalar, Eigen::Dynamic, 1> gradient_memory_;
  std::vector<Scalar*> gradients_;

  DecoderWeights<Scalar> weights_;
  std::shared_ptr<PackedWeights<Scalar>> packed_ = std::make_shared<PackedWeights<Scalar>>();

  // The last forward pass.
  bool has_forward_ = false;
  Packing packing_;
  DropoutMasks masks_;
  RowMatrix<Scalar> embedded_, x_, d_x_, d_branch_, head_normed_, head_out_;
  std::vector<Saved> saved_;
  typename VocabularyHead<Scalar>::Kept head_kept_;
  LogProbs logp_;
};

}  // namespace eso

#include "eso/model/key_value_decoding.hpp"
