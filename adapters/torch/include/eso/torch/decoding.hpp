// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "eso/tensor.hpp"
#include "eso/torch/decoder.hpp"

namespace eso::torch {

/// Texts being continued by a `torch::Decoder`, with the keys and values of everything before on its device:
/// a `Decoding`.
///
/// The keys and values of a prompt are computed and kept once, however many rows continue it; a row keeps
/// those of its own tokens. Each step is one product a weight matrix over all live rows and one batched
/// product over the prompts, and one copy of the logits to the host. The decoder must outlive this and keep
/// its weights.
class Decoding {
 public:
  Decoding(const Decoder& model, std::span<const Prompt> prompts) : model_(&model) {
    Batch batch;
    batch.prompts.assign(prompts.begin(), prompts.end());
    check(batch, model.vocabulary_size(), model.context_length(), "torch::Decoder::decode");
    const c10::NoGradGuard no_grad;
    for (Index layer = 0; layer < model.architecture().layers; ++layer) weights_.push_back(cast(layer));
    head_weight_ = model.head_weight().detach().to(model.compute());
    if (model.packs_for_decoding) pack(head_weight_, head_weight_.t());
    logits_ = at::empty({0, model.vocabulary_size()});
    if (!prompts.empty()) prefill(batch);
  }

  Decoding(Decoding&&) = default;
  Decoding& operator=(Decoding&&) = default;

  /// Another one at the same place, to be continued in another way.
  Decoding copy() const {
    Decoding other(*this);
    other.logits_ = logits_.clone();
    other.room_ = at::empty({0, 0});
    for (std::vector<at::Tensor>* side : {&other.own_keys_, &other.own_values_}) {
      for (at::Tensor& cache : *side) cache = cache.clone();
    }
    return other;
  }

  /// (live rows, V)
  ConstRowMap<float> logits() const {
    return {logits_.const_data_ptr<float>(), logits_.size(0), logits_.size(1)};
  }

  /// New row i continues old row `parents[i]` with `tokens[i]`. Old rows that are nobody's parent are
  /// dropped.
  void advance(std::span<const Index> parents, std::span<const TokenId> tokens) {
    require(parents.size() == tokens.size(), "Decoding::advance", "needs a token for each parent");
    const std::vector<std::int64_t> positions = checked(parents, tokens);
    const c10::NoGradGuard no_grad;
    fork(parents);
    if (rows_.empty()) {
      logits_ = logits_.narrow(0, 0, 0);
      return;
    }
    arrange();
    reserve();
    IndexLists lists;
    const IndexLists::Place fed = lists.add({tokens.begin(), tokens.end()}), at = lists.add(positions);
    lists.send(model_->options().device);
    at::Tensor x = model_->embed(lists[fed], lists[at]);
    const std::optional<Rotation> rotation =
        rotation_of(model_->architecture(), lists[at], model_->compute());
    for (Index layer = 0; layer < model_->architecture().layers; ++layer) {
      x = forward(layer, x, rotation, nullptr,
                  [&](const HeadsOfRows& heads) { return attend_step(layer, heads); });
    }
    ++length_;
    finish(x);
  }

 private:
  Decoding(const Decoding&) = default;

  /// Replaces a weight by its copy for products, where there is one.
  static void pack(at::Tensor& weight, const at::Tensor& in_out) {
    if (at::Tensor copy = packed(in_out); copy.is_mkldnn()) weight = std::move(copy);
  }

  std::vector<at::Tensor> cast(Index layer) const {
    std::vector<at::Tensor> weights = model_->layer_weights(layer);
    for (at::Tensor& weight : weights) weight = weight.detach().to(model_->compute());
    if (!model_->packs_for_decoding) return weights;
    for (const std::size_t matrix : Layer::matrices)
      pack(weights[matrix], in_out(model_->architecture(), weights[matrix]));
    return weights;
  }

  at::Tensor forward(Index layer, const at::Tensor& x, const std::optional<Rotation>& rotation,
                     const at::Tensor* rows, const Layer::Attend& attend) const {
    const Layer compute{model_->architecture(), model_->adapters_.modules(), model_->adapters_.scale()};
    return compute(x, weights_[static_cast<std::size_t>(layer)], rotation ? &*rotation : nullptr, rows,
                   attend);
  }

  void prefill(const Batch& batch) {
    const Architecture& a = model_->architecture();
    const Packed packed = Packer(batch, 1).pack(model_->options().device, model_->compute());
    std::vector<std::int64_t> last, places;
    for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
      lengths_.push_back(static_cast<std::int64_t>(batch.prompts[p].tokens.size()));
      last.push_back(packed.prompt_begin[p] + lengths_.back() - 1);
      rows_.push_back(static_cast<Index>(p));
    }
    stored_ = rows_;
    const std::int64_t longest = *std::max_element(lengths_.begin(), lengths_.end());
    // Rows of the packed batch by prompt, the padding being rows that the mask takes out.
    for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
      for (std::int64_t t = 0; t < longest; ++t) {
        places.push_back(packed.prompt_begin[p] + std::min(t, lengths_[p] - 1));
      }
    }
    IndexLists lists;
    const IndexLists::Place last_place = lists.add(last), place = lists.add(places),
                            length = lists.add(lengths_);
    lists.send(model_->options().device);
    const at::Tensor last_rows = lists[last_place], by_prompt = lists[place];
    if (packed.buckets.size() > 1 || !packed.buckets.front().prompts.even()) {
      const at::Tensor beyond = at::arange(longest, last_rows.options()).ge(lists[length].unsqueeze(1));
      mask_ =
          at::zeros(beyond.sizes(), last_rows.options().dtype(at::kFloat)).masked_fill_(beyond, -INFINITY);
    }
    const auto prompts = static_cast<std::int64_t>(batch.prompts.size());
    const auto kept = [&](const at::Tensor& x) {  // (prompts, heads, longest, width)
      return x.index_select(0, by_prompt)
          .view({prompts, longest, a.heads, a.head_width()})
          .transpose(1, 2)
          .contiguous();
    };
    at::Tensor x = model_->embed(packed.tokens, packed.positions);
    const std::optional<Rotation> rotation = rotation_of(a, packed.positions, model_->compute());
    for (Index layer = 0; layer < a.layers; ++layer) {
      x = forward(layer, x, rotation, model_->last(layer) ? &last_rows : nullptr,
                  [&](const HeadsOfRows& heads) {
                    keys_.push_back(kept(heads.keys));
                    values_.push_back(kept(heads.values));
                    return attend(heads, packed, attention_scale(a, layer));
                  });
    }
    if (a.layers == 0) x = x.index_select(0, last_rows);
    finish(x);
  }

  /// Copies the logits of x to the host.
  void finish(const at::Tensor& x) {
    const at::Tensor logits = model_->head_.logits(model_->to_head(x), head_weight_);
    if (logits.is_cpu()) {
      logits_ = logits.to(at::kFloat).contiguous();
      return;
    }
    // Pinned memory takes a third of the time, and making it is slow: it is kept.
    if (room_.size(0) < logits.size(0)) {
      room_ = at::empty(logits.sizes(), at::TensorOptions(at::kFloat).pinned_memory(true));
    }
    logits_ = room_.narrow(0, 0, logits.size(0));
    logits_.copy_(logits);
  }

  /// The positions of the new tokens. Throws before anything changes.
  std::vector<std::int64_t> checked(std::span<const Index> parents, std::span<const TokenId> tokens) const {
    std::vector<std::int64_t> positions;
    for (std::size_t i = 0; i < parents.size(); ++i) {
      if (parents[i] < 0 || parents[i] >= static_cast<Index>(rows_.size())) {
        throw input_error("Decoding::advance", "a parent is no live row", fmt::format("{}", parents[i]));
      }
      if (tokens[i] < 0 || tokens[i] >= model_->vocabulary_size()) {
        throw input_error("Decoding::advance", "a token is outside the vocabulary",
                          fmt::format("{}", tokens[i]));
      }
      const Index prompt = rows_[static_cast<std::size_t>(parents[i])];
      positions.push_back(lengths_[static_cast<std::size_t>(prompt)] + length_);
      if (positions.back() >= model_->context_length()) {
        throw input_error("Decoding::advance", "the context is full",
                          fmt::format("position {}", positions.back()));
      }
    }
    return positions;
  }

  at::Tensor index_of(const std::vector<std::int64_t>& list) const {
    IndexLists lists;
    const IndexLists::Place place = lists.add(list);
    lists.send(model_->options().device);
    return lists[place];
  }

  void fork(std::span<const Index> parents) {
    bool same = parents.size() == rows_.size();
    for (std::size_t i = 0; same && i < parents.size(); ++i) same = parents[i] == static_cast<Index>(i);
    if (same && arranged_) return;
    arranged_ = false;
    std::vector<Index> next;
    for (const Index parent : parents) next.push_back(rows_[static_cast<std::size_t>(parent)]);
    rows_ = std::move(next);
    if (same || own_keys_.empty()) return;
    const at::Tensor index = index_of({parents.begin(), parents.end()});
    for (std::vector<at::Tensor>* side : {&own_keys_, &own_values_}) {
      for (at::Tensor& cache : *side) cache = cache.index_select(0, index);
    }
  }

  /// Finds each live row a place among those of its prompt.
  void arrange() {
    if (arranged_) return;
    arranged_ = true;
    drop_prompts();
    std::vector<std::int64_t> place_of(lengths_.size(), 0), used(stored_.size(), 0);
    for (std::size_t g = 0; g < stored_.size(); ++g)
      place_of[static_cast<std::size_t>(stored_[g])] = static_cast<std::int64_t>(g);
    std::vector<std::int64_t> group, turn;
    for (const Index prompt : rows_) {
      group.push_back(place_of[static_cast<std::size_t>(prompt)]);
      turn.push_back(used[static_cast<std::size_t>(group.back())]++);
    }
    per_prompt_ = *std::max_element(used.begin(), used.end());
    std::vector<std::int64_t> places;
    bool in_order =
        static_cast<std::int64_t>(rows_.size()) == per_prompt_ * static_cast<std::int64_t>(stored_.size());
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      places.push_back(group[i] * per_prompt_ + turn[i]);
      in_order = in_order && places.back() == static_cast<std::int64_t>(i);
    }
    places_ = in_order ? at::Tensor() : index_of(places);
    if (mask_.defined())
      row_mask_ = mask_.index_select(0, index_of(group)).unsqueeze(1);  // (rows, 1, longest)
  }

  /// Gives the keys and values of prompts back that no row continues, once a quarter of them is dead.
  void drop_prompts() {
    std::vector<std::int64_t> live;
    std::vector<Index> still;
    for (std::size_t g = 0; g < stored_.size(); ++g) {
      if (std::find(rows_.begin(), rows_.end(), stored_[g]) == rows_.end()) continue;
      live.push_back(static_cast<std::int64_t>(g));
      still.push_back(stored_[g]);
    }
    if (4 * live.size() > 3 * stored_.size()) return;
    const at::Tensor index = index_of(live);
    for (std::vector<at::Tensor>* side : {&keys_, &values_}) {
      for (at::Tensor& cache : *side) cache = cache.index_select(0, index);
    }
    if (mask_.defined()) mask_ = mask_.index_select(0, index);
    stored_ = std::move(still);
  }

  /// Makes room for one more token of each row.
  void reserve() {
    const Architecture& a = model_->architecture();
    const std::int64_t capacity = own_keys_.empty() ? 0 : own_keys_.front().size(2);
    if (length_ < capacity) return;
    const auto larger = [&](const at::Tensor* old) {
      at::Tensor cache = at::empty({static_cast<std::int64_t>(rows_.size()), a.heads,
                                    std::max<std::int64_t>(32, 2 * capacity), a.head_width()},
                                   keys_.front().options());
      if (old) cache.narrow(2, 0, length_).copy_(old->narrow(2, 0, length_));
      return cache;
    };
    for (std::vector<at::Tensor>* side : {&own_keys_, &own_values_}) {
      side->resize(static_cast<std::size_t>(a.layers));
      for (at::Tensor& cache : *side) cache = larger(capacity > 0 ? &cache : nullptr);
    }
  }

  /// (rows, heads, x) as (prompts, heads, rows of each, x), zero where a prompt has fewer.
  at::Tensor by_prompt(const at::Tensor& x) const {
    const auto prompts = static_cast<std::int64_t>(stored_.size());
    const at::Tensor all =
        places_.defined()
            ? at::zeros({prompts * per_prompt_, x.size(1), x.size(2)}, x.options()).index_copy_(0, places_, x)
            : x;
    return all.reshape({prompts, per_prompt_, x.size(1), x.size(2)}).transpose(1, 2);
  }

  /// The other way.
  at::Tensor by_row(const at::Tensor& x) const {
    const at::Tensor all = x.transpose(1, 2).reshape({x.size(0) * x.size(2), x.size(1), x.size(3)});
    return places_.defined() ? all.index_select(0, places_) : all;
  }

  /// Appends the keys and values of the rows and attends.
  at::Tensor attend_step(Index index, const HeadsOfRows& heads) {
    const auto layer = static_cast<std::size_t>(index);
    own_keys_[layer].select(2, length_).copy_(heads.keys);
    own_values_[layer].select(2, length_).copy_(heads.values);
    const at::Tensor queries = heads.queries * attention_scale(model_->architecture(), index);
    const at::Tensor own_keys = own_keys_[layer].narrow(2, 0, length_ + 1),
                     own_values = own_values_[layer].narrow(2, 0, length_ + 1);
    at::Tensor shared =
        by_row(at::matmul(by_prompt(queries), keys_[layer].transpose(2, 3))).to(model_->head_.sums);
    if (row_mask_.defined()) shared = shared + row_mask_;
    const at::Tensor own =
        at::matmul(queries.unsqueeze(2), own_keys.transpose(2, 3)).squeeze(2).to(model_->head_.sums);
    const at::Tensor weights = at::softmax(at::cat({shared, own}, 2), 2).to(queries.scalar_type());
    const std::int64_t longest = shared.size(2);
    const at::Tensor from_prompt =
        by_row(at::matmul(by_prompt(weights.narrow(2, 0, longest)), values_[layer]));
    const at::Tensor from_own =
        at::matmul(weights.narrow(2, longest, length_ + 1).unsqueeze(2), own_values).squeeze(2);
    return (from_prompt + from_own).reshape({queries.size(0), model_->architecture().width});
  }

  const Decoder* model_;
  std::vector<std::vector<at::Tensor>> weights_;  ///< of each layer, in the type of products
  at::Tensor head_weight_;
  std::vector<std::int64_t> lengths_;  ///< of the prompts
  std::vector<Index> rows_;            ///< the prompt of each live row
  std::vector<Index> stored_;          ///< the prompts whose keys and values are still there
  std::vector<at::Tensor> keys_,
      values_;  ///< a layer: (stored prompts, heads, longest, width); copies share them
  std::vector<at::Tensor> own_keys_, own_values_;  ///< a layer: (rows, heads, capacity, width)
  std::int64_t length_ = 0;                        ///< own tokens of each row
  at::Tensor mask_;                                ///< (stored prompts, longest): -inf beyond a prompt's end
  bool arranged_ = false;
  std::int64_t per_prompt_ = 0;  ///< most live rows of one prompt
  at::Tensor places_;            ///< of the rows in (stored prompts, per_prompt); undefined: in order
  at::Tensor row_mask_;          ///< (rows, 1, longest)
  at::Tensor logits_;            ///< (rows, V) in host memory
  at::Tensor room_ = at::empty({0, 0});
};

inline Decoding Decoder::decode(std::span<const Prompt> prompts) const { return Decoding(*this, prompts); }

}  // namespace eso::torch
