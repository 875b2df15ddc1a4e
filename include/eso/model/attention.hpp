// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <vector>

#include "eso/kernels/elementwise.hpp"
#include "eso/model/dropout.hpp"
#include "eso/model/layers.hpp"
#include "eso/model/packing.hpp"

namespace eso {

/// Causal attention over packed rows: every row of a prompt attends to the prompt up to itself, every row of
/// a response to its whole prompt and to its own response up to itself.
///
///     out = softmax(scale * q k^T) v          for each head
///
/// The keys and values of a prompt stay where they are for all its responses: the scores of up to `block`
/// rows, of any of the responses, against the prompt are one product. No (rows, rows) array is kept; the
/// backward pass computes the probabilities again from the scores and `log_sum` (Dao et al. 2022, arXiv
/// 2205.14135).
template <class Scalar>
class Attention {
 public:
  static constexpr Index block = 64;  ///< rows whose scores are in memory at once, per thread

  Attention(const Architecture& a, Index layer)
      : layer_(layer),
        heads_(a.heads),
        width_(a.head_width()),
        stride_(a.qkv_order == QkvOrder::heads ? 3 * width_ : width_),
        to_key_(a.qkv_order == QkvOrder::heads ? width_ : a.width),
        scale_(attention_scale(a, layer)) {}

  /// What the scores of this layer are multiplied by.
  static Scalar attention_scale(const Architecture& a, Index layer) {
    double scale = a.scale_attention ? 1 / std::sqrt(static_cast<double>(a.head_width())) : 1;
    if (a.scale_by_inverse_layer) scale /= static_cast<double>(layer + 1);
    return static_cast<Scalar>(scale);
  }

  /// `qkv` (rows, 3H) to `out` (rows, H) and `log_sum` (rows, heads), which the backward pass needs. With
  /// `last_rows` the rows of prompts but for the last of each are left out: their `out` means nothing.
  /// `masks`, where given, drop probabilities.
  void forward(const Packing& packing, bool last_rows, const RowMatrix<Scalar>& qkv, RowMatrix<Scalar>& out,
               RowMatrix<Scalar>& log_sum, Threads& threads, const DropoutMasks* masks = nullptr) const {
    const bool drops = masks && masks->on(DropoutPlace::attention);
    refit(out, qkv.rows(), heads_ * width_);
    refit(log_sum, qkv.rows(), heads_);
    for_tasks(packing, threads, [&](const Packing::Group& group, Index h) {
      RowMatrix<Scalar> scores;
      RowArray<Scalar> mask;
      for_blocks(group, last_rows, [&](const Block& b) {
        compute_scores(qkv, h, b, scores);
        for (const Piece& piece : b.pieces) {
          for (Index row = piece.begin; row < piece.end; ++row) {
            const Index own = row - piece.segment + 1, columns = b.shared + own;
            auto line = scores.row(row - b.begin).array();
            const Scalar largest = largest_of(line.data(), columns);
            exponentiate(line.data(), columns, largest);
            const Scalar sum = sum_of(line.data(), columns);
            line.head(columns) /= sum;
            line.segment(columns, piece.end - piece.segment - own).setZero();
            log_sum(row, h) = largest + std::log(sum);
            if (drops) line.head(columns) *= factors(*masks, row, h, columns, mask);
          }
        }
        auto o = out.block(b.begin, h * width_, b.rows(), width_);
        if (b.shared > 0) {
          product(scores.leftCols(b.shared), values(qkv, h, b.prefix, b.shared), o);
        } else {
          o.setZero();
        }
        for (const Piece& piece : b.pieces) {
          product(own_part(scores, b, piece), values(qkv, h, piece.segment, piece.end - piece.segment),
                  o.middleRows(piece.begin - b.begin, piece.end - piece.begin), true);
        }
      });
    });
  }

  /// The gradient of `qkv` from that of `out`, `last_rows` and `masks` as they were in the forward pass.
  void backward(const Packing& packing, bool last_rows, const RowMatrix<Scalar>& qkv,
                const RowMatrix<Scalar>& out, const RowMatrix<Scalar>& log_sum,
                const RowMatrix<Scalar>& d_out, RowMatrix<Scalar>& d_qkv, Threads& threads,
                const DropoutMasks* masks = nullptr) const {
    if (masks && !masks->on(DropoutPlace::attention)) masks = nullptr;
    refit(d_qkv, qkv.rows(), qkv.cols());
    d_qkv.setZero();
    for_tasks(packing, threads, [&](const Packing::Group& group, Index h) {
      RowMatrix<Scalar> p, d_p;
      for_blocks(group, last_rows, [&](const Block& b) {
        backward_block(b, h, qkv, out, log_sum, d_out, d_qkv, p, d_p, masks);
      });
    });
  }

  /// Columns of head `h` in `qkv`.
  Index query_column(Index h) const { return h * stride_; }
  Index key_column(Index h) const { return h * stride_ + to_key_; }
  Index value_column(Index h) const { return h * stride_ + 2 * to_key_; }
  Index width() const { return width_; }
  Index heads() const { return heads_; }
  Scalar scale() const { return scale_; }

 private:
  /// Rows begin ... end - 1 of the segment that starts at row `segment`.
  struct Piece {
    Index begin, end, segment;
  };
  /// Rows whose scores are computed together: against `shared` keys from row `prefix` on, then against the
  /// keys of their own segments.
  struct Block {
    Index begin, end, prefix, shared;
    std::vector<Piece> pieces;
    Index rows() const { return end - begin; }
  };

  /// What the probabilities of the first `count` keys are multiplied by: a key's number is its position.
  const RowArray<Scalar>& factors(const DropoutMasks& masks, Index row, Index h, Index count,
                                  RowArray<Scalar>& mask) const {
    mask.resize(count);
    masks.factors(DropoutPlace::attention, layer_, row, h, count, mask.data());
    return mask;
  }

  template <class Body>
  void for_tasks(const Packing& packing, Threads& threads, const Body& body) const {
    threads.for_each(static_cast<Index>(packing.groups.size()) * heads_, [&](Index task) {
      body(packing.groups[static_cast<std::size_t>(task / heads_)], task % heads_);
    });
  }

  template <class Body>
  static void for_blocks(const Packing::Group& group, bool last_rows, const Body& body) {
    for (Index begin = last_rows ? group.prompt.end - 1 : group.prompt.begin; begin < group.prompt.end;
         begin += block) {
      const Index end = std::min(group.prompt.end, begin + block);
      body(Block{begin, end, group.prompt.begin, 0, {{begin, end, group.prompt.begin}}});
    }
    Block b{group.prompt.end, group.prompt.end, group.prompt.begin, group.prompt.size(), {}};
    for (const Packing::Segment& segment : group.responses) {
      for (Index begin = segment.begin; begin < segment.end;) {
        const Index end = std::min(segment.end, b.begin + block);
        b.pieces.push_back({begin, end, segment.begin});
        b.end = begin = end;
        if (b.rows() == block) {
          body(b);
          b.begin = b.end;
          b.pieces.clear();
        }
      }
    }
    if (b.rows() > 0) body(b);
  }

  ConstStridedRows<Scalar> columns(const RowMatrix<Scalar>& m, Index column, Index row, Index rows) const {
    return {m.data() + row * m.cols() + column, rows, width_, Eigen::OuterStride<>(m.cols())};
  }
  ConstStridedRows<Scalar> queries(const RowMatrix<Scalar>& qkv, Index h, Index row, Index rows) const {
    return columns(qkv, query_column(h), row, rows);
  }
  ConstStridedRows<Scalar> keys(const RowMatrix<Scalar>& qkv, Index h, Index row, Index rows) const {
    return columns(qkv, key_column(h), row, rows);
  }
  ConstStridedRows<Scalar> values(const RowMatrix<Scalar>& qkv, Index h, Index row, Index rows) const {
    return columns(qkv, value_column(h), row, rows);
  }

  /// The part of a block's (rows, shared + own) array that belongs to a piece's own segment.
  template <class Matrix>
  static auto own_part(Matrix& scores, const Block& b, const Piece& piece) {
    return scores.block(piece.begin - b.begin, b.shared, piece.end - piece.begin, piece.end - piece.segment);
  }

  static Index width_of(const Block& b) {
    Index own = 0;
    for (const Piece& piece : b.pieces) own = std::max(own, piece.end - piece.segment);
    return b.shared + own;
  }

  void compute_scores(const RowMatrix<Scalar>& qkv, Index h, const Block& b,
                      RowMatrix<Scalar>& scores) const {
    refit(scores, b.rows(), width_of(b));
    if (b.shared > 0) {
      product(queries(qkv, h, b.begin, b.rows()), keys(qkv, h, b.prefix, b.shared).transpose(),
              scores.leftCols(b.shared), false, scale_);
    }
    for (const Piece& piece : b.pieces) {
      product(queries(qkv, h, piece.begin, piece.end - piece.begin),
              keys(qkv, h, piece.segment, piece.end - piece.segment).transpose(), own_part(scores, b, piece),
              false, scale_);
    }
  }

  void backward_block(const Block& b, Index h, const RowMatrix<Scalar>& qkv, const RowMatrix<Scalar>& out,
                      const RowMatrix<Scalar>& log_sum, const RowMatrix<Scalar>& d_out,
                      RowMatrix<Scalar>& d_qkv, RowMatrix<Scalar>& p, RowMatrix<Scalar>& d_p,
                      const DropoutMasks* masks) const {
    const Index H = out.cols(), rows = b.rows();
    const ConstStridedRows<Scalar> d_o(d_out.data() + b.begin * H + h * width_, rows, width_,
                                       Eigen::OuterStride<>(H));
    const auto gradient = [&](Index column, Index row, Index count) {
      return StridedRows<Scalar>(d_qkv.data() + row * d_qkv.cols() + column, count, width_,
                                 Eigen::OuterStride<>(d_qkv.cols()));
    };
    RowArray<Scalar> mask;
    compute_scores(qkv, h, b, p);
    refit(d_p, rows, p.cols());
    if (b.shared > 0) {
      product(d_o, values(qkv, h, b.prefix, b.shared).transpose(), d_p.leftCols(b.shared));
    }
    for (const Piece& piece : b.pieces) {
      product(d_o.middleRows(piece.begin - b.begin, piece.end - piece.begin),
              values(qkv, h, piece.segment, piece.end - piece.segment).transpose(), own_part(d_p, b, piece));
      for (Index row = piece.begin; row < piece.end; ++row) {
        const Index own = row - piece.segment + 1, count = b.shared + own;
        auto line = p.row(row - b.begin).array();
        auto d_line = d_p.row(row - b.begin).array();
        exponentiate(line.data(), count, log_sum(row, h));
        line.segment(count, piece.end - piece.segment - own).setZero();
        const Scalar inner = d_o.row(row - b.begin).dot(out.row(row).segment(h * width_, width_));
        if (masks) d_line.head(count) *= factors(*masks, row, h, count, mask);
        d_line.head(count) = line.head(count) * (d_line.head(count) - inner) * scale_;
        if (masks) line.head(count) *= mask;
        d_line.segment(count, piece.end - piece.segment - own).setZero();
      }
    }
    // p holds the probabilities as they met the values, d_p the gradient of the unscaled scores.
    auto d_q = gradient(query_column(h), b.begin, rows);
    if (b.shared > 0) {
      product(d_p.leftCols(b.shared), keys(qkv, h, b.prefix, b.shared), d_q, true);
      product(d_p.leftCols(b.shared).transpose(), queries(qkv, h, b.begin, rows),
              gradient(key_column(h), b.prefix, b.shared), true);
      product(p.leftCols(b.shared).transpose(), d_o, gradient(value_column(h), b.prefix, b.shared), true);
    }
    for (const Piece& piece : b.pieces) {
      const Index first = piece.begin - b.begin, count = piece.end - piece.begin,
                  own = piece.end - piece.segment;
      product(own_part(d_p, b, piece), keys(qkv, h, piece.segment, own), d_q.middleRows(first, count), true);
      product(own_part(d_p, b, piece).transpose(), queries(qkv, h, piece.begin, count),
              gradient(key_column(h), piece.segment, own), true);
      product(own_part(p, b, piece).transpose(), d_o.middleRows(first, count),
              gradient(value_column(h), piece.segment, own), true);
    }
  }

  Index layer_, heads_, width_, stride_, to_key_;
  Scalar scale_;
};

}  // namespace eso
