// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/model/layers.hpp"
#include "eso/model/packing.hpp"
#include "eso/random.hpp"

namespace eso {

/// Where a decoder drops units.
enum class DropoutPlace : std::uint8_t {
  embedding,      ///< what goes into the first layer
  attention,      ///< the probabilities of attention
  attention_out,  ///< what attention adds to the residual
  feed_forward,   ///< what the feed-forward part adds to it
};

/// What a row's masks follow from: see `DropoutMasks`.
struct DropoutRow {
  std::uint32_t example = 0, sample = 0;
  Index position = 0;

  /// The number of a response among those of its prompt; a prompt's own rows have 0.
  static std::uint32_t sample_of(const Response& response) {
    return ((1 + static_cast<std::uint32_t>(response.kind)) << 20) +
           static_cast<std::uint32_t>(response.sample);
  }
};

/// The masks of dropout of one training pass: a unit is set to 0 with probability `rate`, else divided by
/// 1 - rate.
///
/// Nothing is stored: whether a unit is kept follows from the seed, the step, the example of its prompt, the
/// kind and number of its response (a prompt's rows have one mask for all its responses), its position, layer
/// and place. Neither the batch nor its order nor the number of threads matters, and the backward pass makes
/// the same masks again. In a stream `Purpose::dropout` whose sample is 0 for a prompt's rows and
/// 2^20 (1 + kind) + number for a response's, block
///
///     ((4 layer + place) context + position) blocks + head ceil(context / 4) + floor(unit / 4)
///
/// decides with its word unit mod 4: below rate 2^32 it is dropped. `blocks` is the larger of ceil(H / 4) and
/// heads ceil(context / 4); units are columns (head 0) or, of attention, the positions of keys.
///
/// Source: Srivastava et al. 2014, "Dropout", JMLR 15, in the inverted form of PyTorch.
class DropoutMasks {
 public:
  /// Drops nothing.
  DropoutMasks() = default;

  /// For a pass over these rows.
  DropoutMasks(const DropoutRates& rates, const Architecture& a, std::vector<DropoutRow> rows, StepSeed seed)
      : seed_(seed),
        context_(a.context),
        head_blocks_((a.context + 3) / 4),
        blocks_(std::max((a.width + 3) / 4, a.heads * head_blocks_)),
        rows_(std::move(rows)) {
    for (const double rate : {rates.embedding, rates.attention, rates.residual})
      require(rate >= 0 && rate < 1, "Decoder::dropout", "rates must be at least 0 and below 1");
    const double of_place[] = {rates.embedding, rates.attention, rates.residual, rates.residual};
    std::copy(std::begin(of_place), std::end(of_place), std::begin(rates_));
  }

  /// For a pass over `batch`, packed as `packing`.
  DropoutMasks(const DropoutRates& rates, const Architecture& a, const Batch& batch, const Packing& packing,
               StepSeed seed)
      : DropoutMasks(rates, a, rows_of(batch, packing), seed) {}

  bool on(DropoutPlace place) const { return rate(place) > 0; }
  /// What a unit that is kept is multiplied by.
  double kept(DropoutPlace place) const { return 1 / (1 - rate(place)); }

  const std::vector<DropoutRow>& rows() const { return rows_; }

  /// What units 0 ... count - 1 of a row are multiplied by; of attention those of one head.
  template <class Scalar>
  void factors(DropoutPlace place, Index layer, Index row, Index head, Index count, Scalar* to) const {
    const DropoutRow& name = rows_[static_cast<std::size_t>(row)];
    const StreamName stream{seed_.seed, Purpose::dropout, seed_.step, name.example, name.sample};
    const auto first = static_cast<std::uint64_t>(
        ((4 * layer + static_cast<Index>(place)) * context_ + name.position) * blocks_ + head * head_blocks_);
    const auto threshold = static_cast<std::uint32_t>(std::floor(rate(place) * 0x1p32));
    const auto factor = static_cast<Scalar>(kept(place));
    for (Index unit = 0; unit < count; unit += 4) {
      const auto words = random_words(stream, first + static_cast<std::uint64_t>(unit / 4));
      for (Index i = 0; i < std::min<Index>(4, count - unit); ++i)
        to[unit + i] = words[static_cast<std::size_t>(i)] < threshold ? Scalar(0) : factor;
    }
  }

  /// Multiplies the rows of `x`, which are the rows `rows` of the packing where they are given.
  template <class Scalar>
  void apply(DropoutPlace place, Index layer, const std::vector<Index>* rows, RowMatrix<Scalar>& x,
             Threads& threads) const {
    if (!on(place)) return;
    threads.for_ranges(x.rows(), 4, [&](Index begin, Index end) {
      RowArray<Scalar> mask(x.cols());
      for (Index i = begin; i < end; ++i) {
        const Index row = rows ? (*rows)[static_cast<std::size_t>(i)] : i;
        factors(place, layer, row, 0, x.cols(), mask.data());
        x.row(i).array() *= mask;
      }
    });
  }

 private:
  static std::vector<DropoutRow> rows_of(const Batch& batch, const Packing& packing) {
    std::vector<DropoutRow> rows(static_cast<std::size_t>(packing.rows()));
    for (std::size_t p = 0; p < packing.groups.size(); ++p) {
      const Packing::Group& group = packing.groups[p];
      for (Index row = group.prompt.begin; row < group.end; ++row)
        rows[static_cast<std::size_t>(row)].example = static_cast<std::uint32_t>(batch.prompts[p].example);
    }
    for (const Packing::Target& target : packing.targets) {
      if (target.position == 0) continue;  // predicted by the prompt's last row
      const Index row = packing.head_rows[static_cast<std::size_t>(target.row)];
      rows[static_cast<std::size_t>(row)].sample = DropoutRow::sample_of(batch.response(target.response));
    }
    for (std::size_t row = 0; row < rows.size(); ++row) rows[row].position = packing.positions[row];
    return rows;
  }

  double rate(DropoutPlace place) const { return rates_[static_cast<std::size_t>(place)]; }

  double rates_[4] = {0, 0, 0, 0};
  StepSeed seed_;
  Index context_ = 0, head_blocks_ = 0, blocks_ = 0;
  std::vector<DropoutRow> rows_;
};

}  // namespace eso
