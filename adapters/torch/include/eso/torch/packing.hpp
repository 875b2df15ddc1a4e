// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/model/dropout.hpp"
#include "eso/torch/tensors.hpp"

namespace eso::torch {

/// Texts that go through attention together: consecutive rows, of which text i has `lengths[i]`.
struct Block {
  std::int64_t begin = 0, rows = 0;  ///< of the packed batch
  std::int64_t texts = 0, longest = 0;
  std::vector<std::int64_t> lengths;  ///< of each text
  IndexLists::Place places;           ///< of each row in (texts, longest), where the texts differ in length
  at::Tensor index;                   ///< the same on the device

  bool even() const { return rows == texts * longest; }
};

/// Prompts of like lengths with equally many responses each. A prompt with one response is one text with it,
/// which stands among the prompts.
struct Bucket {
  Block prompts, responses;
  std::int64_t per_prompt = 0;  ///< responses of each prompt that stand apart from it
  IndexLists::Place lengths;    ///< of the prompts
  at::Tensor mask;  ///< (1 or prompts * per_prompt, 1, R, m + R) added to the scores of responses: 0 or -inf
};

/// What the head is asked for: (row, token) pairs in an order in which no row stands twice in one run.
struct Targets {
  /// Pairs first ... first + count - 1 belong to rows of one chunk and to as many different rows.
  struct Run {
    std::int64_t first = 0, count = 0;
  };
  /// Consecutive rows that become logits together.
  struct Chunk {
    std::int64_t begin = 0, end = 0;
    std::vector<Run> runs;
  };
  std::vector<Chunk> chunks;
  std::vector<std::pair<Index, Index>> places;  ///< a pair's (response, position) in the log-probabilities
  IndexLists::Place row_places, token_places;
  at::Tensor rows, tokens;  ///< on the device; a row counts from the begin of its chunk
};

/// A batch as one block of rows, a row a token that is fed to the model, on a device: bucket after bucket, in
/// each first its prompts, then their responses without the last token (nothing is predicted from it).
struct Packed {
  std::vector<Bucket> buckets;
  std::vector<Index> prompt_begin;  ///< first row of each prompt of the batch
  IndexLists::Place token_places, position_places, head_places;
  at::Tensor tokens, positions;  ///< of each row
  at::Tensor head_rows;          ///< rows whose next token is asked for
  std::int64_t head_count = 0;
  std::vector<std::int64_t> head_list;  ///< `head_rows` on the host
  std::vector<DropoutRow> names;        ///< of each row
  Targets targets;
};

/// Packs a checked batch. O(tokens log tokens) on the host and one copy to the device.
class Packer {
 public:
  /// `chunk` rows are asked of the head at once.
  Packer(const Batch& batch, std::int64_t chunk) : batch_(batch), chunk_(chunk) {
    responses_.resize(batch.prompts.size());
    for (Index n = 0; n < batch.response_count(); ++n) {
      responses_[static_cast<std::size_t>(batch.response(n).prompt)].push_back(n);
    }
    packed_.prompt_begin.resize(batch.prompts.size());
  }

  Packed pack(at::Device device, at::ScalarType mask_type) && {
    for (const std::vector<std::size_t>& prompts : buckets()) add_bucket(prompts);
    add_targets();
    packed_.token_places = lists_.add(tokens_);
    packed_.position_places = lists_.add(positions_);
    lists_.send(device);
    packed_.tokens = lists_[packed_.token_places];
    packed_.positions = lists_[packed_.position_places];
    packed_.head_rows = lists_[packed_.head_places];
    packed_.targets.rows = lists_[packed_.targets.row_places];
    packed_.targets.tokens = lists_[packed_.targets.token_places];
    for (Bucket& bucket : packed_.buckets) {
      for (Block* block : {&bucket.prompts, &bucket.responses}) block->index = lists_[block->places];
      if (bucket.responses.rows > 0) bucket.mask = mask(bucket, mask_type);
    }
    return std::move(packed_);
  }

 private:
  /// A row of the head and what is asked of it.
  struct Asked {
    std::int64_t row;
    TokenId token;
    Index response, position;
  };

  bool joined(std::size_t p) const { return responses_[p].size() == 1; }

  std::int64_t prompt_tokens(std::size_t p) const {
    return static_cast<std::int64_t>(batch_.prompts[p].tokens.size());
  }

  /// Rows among the prompts.
  std::int64_t prompt_rows(std::size_t p) const {
    return prompt_tokens(p) + (joined(p) ? row_count(responses_[p].front()) : 0);
  }

  /// Rows of each response to a prompt that stand apart from it.
  std::vector<std::int64_t> response_rows(std::size_t p) const {
    std::vector<std::int64_t> rows;
    if (joined(p)) return rows;
    for (const Index n : responses_[p]) rows.push_back(row_count(n));
    return rows;
  }

  std::int64_t row_count(Index n) const {
    return static_cast<std::int64_t>(batch_.response(n).tokens.size()) - 1;
  }

  /// Prompts to be computed together: padding makes neither block more than a quarter larger.
  std::vector<std::vector<std::size_t>> buckets() const {
    std::vector<std::size_t> order(batch_.prompts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto longest_of = [&](std::size_t p) {
      const std::vector<std::int64_t> each = response_rows(p);
      return each.empty() ? std::int64_t{0} : *std::max_element(each.begin(), each.end());
    };
    const auto key = [&](std::size_t p) {
      return std::tuple(responses_[p].size(), prompt_rows(p), longest_of(p), p);
    };
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    std::vector<std::vector<std::size_t>> result;
    std::int64_t count = 0, rows = 0, longest = 0, own_rows = 0, own_longest = 0, per_prompt = -1;
    for (const std::size_t p : order) {
      const auto responses = static_cast<std::int64_t>(responses_[p].size());
      const std::vector<std::int64_t> each = response_rows(p);
      const std::int64_t own = std::accumulate(each.begin(), each.end(), std::int64_t{0});
      const auto fits = [](std::int64_t padded, std::int64_t real) { return 4 * padded <= 5 * real; };
      if (responses != per_prompt ||
          !fits((count + 1) * std::max(longest, prompt_rows(p)), rows + prompt_rows(p)) ||
          !fits((count + 1) * responses * std::max(own_longest, longest_of(p)), own_rows + own)) {
        result.emplace_back();
        count = rows = longest = own_rows = own_longest = 0;
        per_prompt = responses;
      }
      result.back().push_back(p);
      ++count, rows += prompt_rows(p), own_rows += own;
      longest = std::max(longest, prompt_rows(p)), own_longest = std::max(own_longest, longest_of(p));
    }
    return result;
  }

  void add_row(std::size_t p, std::uint32_t sample, TokenId token, std::int64_t position) {
    tokens_.push_back(token);
    positions_.push_back(position);
    packed_.names.push_back({static_cast<std::uint32_t>(batch_.prompts[p].example), sample, position});
  }

  Block block_of(const std::vector<std::int64_t>& lengths, std::int64_t begin) {
    Block block{begin, 0, std::ssize(lengths), 0, lengths, {}, {}};
    for (const std::int64_t length : lengths)
      block.rows += length, block.longest = std::max(block.longest, length);
    if (block.even()) return block;
    std::vector<std::int64_t> places;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      for (std::int64_t t = 0; t < lengths[i]; ++t)
        places.push_back(static_cast<std::int64_t>(i) * block.longest + t);
    }
    block.places = lists_.add(places);
    return block;
  }

  /// The rows of a response but its last token, and what is asked of them and of the prompt's last row.
  void add_response(std::size_t p, Index n) {
    const Tokens& tokens = batch_.response(n).tokens;
    asked_.push_back({packed_.prompt_begin[p] + prompt_tokens(p) - 1, tokens[0], n, 0});
    for (std::int64_t t = 0; t < row_count(n); ++t) {
      asked_.push_back(
          {static_cast<std::int64_t>(tokens_.size()), tokens[static_cast<std::size_t>(t) + 1], n, t + 1});
      add_row(p, DropoutRow::sample_of(batch_.response(n)), tokens[static_cast<std::size_t>(t)],
              prompt_tokens(p) + t);
    }
  }

  void add_bucket(const std::vector<std::size_t>& prompts) {
    Bucket& bucket = packed_.buckets.emplace_back();
    std::vector<std::int64_t> lengths, own_lengths;
    const auto begin = static_cast<std::int64_t>(tokens_.size());
    for (const std::size_t p : prompts) {
      packed_.prompt_begin[p] = static_cast<Index>(tokens_.size());
      for (std::int64_t t = 0; t < prompt_tokens(p); ++t)
        add_row(p, 0, batch_.prompts[p].tokens[static_cast<std::size_t>(t)], t);
      if (joined(p)) add_response(p, responses_[p].front());
      lengths.push_back(prompt_rows(p));
    }
    const auto own_begin = static_cast<std::int64_t>(tokens_.size());
    for (const std::size_t p : prompts) {
      const std::vector<std::int64_t> each = response_rows(p);
      own_lengths.insert(own_lengths.end(), each.begin(), each.end());
      if (joined(p)) continue;
      for (const Index n : responses_[p]) add_response(p, n);
    }
    bucket.per_prompt = joined(prompts.front()) ? 0 : std::ssize(responses_[prompts.front()]);
    bucket.prompts = block_of(lengths, begin);
    bucket.responses = block_of(own_lengths, own_begin);
    bucket.lengths = lists_.add(lengths);
  }

  void add_targets() {
    std::stable_sort(asked_.begin(), asked_.end(),
                     [](const Asked& a, const Asked& b) { return a.row < b.row; });
    std::vector<std::int64_t> heads, turn;  // rows of the model, and how often a row was asked before
    std::vector<std::int64_t> head_of;
    for (std::size_t i = 0; i < asked_.size(); ++i) {
      const bool again = i > 0 && asked_[i].row == asked_[i - 1].row;
      if (!again) heads.push_back(asked_[i].row);
      turn.push_back(again ? turn.back() + 1 : 0);
      head_of.push_back(static_cast<std::int64_t>(heads.size()) - 1);
    }
    std::vector<std::size_t> order(asked_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::pair(head_of[a] / chunk_, turn[a]) < std::pair(head_of[b] / chunk_, turn[b]);
    });
    Targets& targets = packed_.targets;
    packed_.head_count = static_cast<std::int64_t>(heads.size());
    for (std::int64_t begin = 0; begin < packed_.head_count; begin += chunk_) {
      targets.chunks.push_back({begin, std::min(begin + chunk_, packed_.head_count), {}});
    }
    std::vector<std::int64_t> rows, tokens;
    for (const std::size_t i : order) {
      Targets::Chunk& chunk = targets.chunks[static_cast<std::size_t>(head_of[i] / chunk_)];
      if (turn[i] == static_cast<std::int64_t>(chunk.runs.size())) {
        chunk.runs.push_back({static_cast<std::int64_t>(rows.size()), 0});
      }
      ++chunk.runs.back().count;
      rows.push_back(head_of[i] - chunk.begin);
      tokens.push_back(asked_[i].token);
      targets.places.emplace_back(asked_[i].response, asked_[i].position);
    }
    packed_.head_places = lists_.add(heads);
    packed_.head_list = std::move(heads);
    targets.row_places = lists_.add(rows);
    targets.token_places = lists_.add(tokens);
  }

  /// A response sees its prompt and of itself what was before.
  at::Tensor mask(const Bucket& bucket, at::ScalarType type) const {
    const std::int64_t m = bucket.prompts.longest, R = bucket.responses.longest;
    const auto options = packed_.tokens.options();
    const at::Tensor key = at::arange(m + R, options), query = at::arange(R, options).unsqueeze(1);
    at::Tensor seen = key.le(query + m);  // (R, m + R): all of the prompt, padding too
    if (bucket.prompts.even()) {
      seen = seen.view({1, 1, R, m + R});
    } else {
      const at::Tensor lengths = lists_[bucket.lengths].repeat_interleave(bucket.per_prompt).view({-1, 1, 1});
      seen = seen.logical_and(key.lt(lengths).logical_or(key.ge(m))).unsqueeze(1);
    }
    return at::zeros(seen.sizes(), options.dtype(type)).masked_fill_(seen.logical_not(), -INFINITY);
  }

  const Batch& batch_;
  std::int64_t chunk_;
  std::vector<std::vector<Index>> responses_;
  std::vector<std::int64_t> tokens_, positions_;
  std::vector<Asked> asked_;
  IndexLists lists_;
  Packed packed_;
};

}  // namespace eso::torch
