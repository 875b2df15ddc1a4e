// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/kernels/elementwise.hpp"
#include "eso/model/layers.hpp"
#include "eso/model/packing.hpp"

namespace eso {

/// Log-probabilities of chosen tokens under softmax(x E^T / temperature), and their gradient, without a
/// (rows, V) array.
///
///     logp(target) = x_row . E_token / temperature - log sum over v of exp(x_row . E_v / temperature)
///
/// The product runs over tiles of the vocabulary and blocks of rows; a running maximum and sum make the
/// logarithm exact (Milakov and Gimelshein 2018, arXiv 1805.02867). The backward pass computes the tiles
/// again, 8 M V H operations in all for M rows, unless so few rows were asked for that the logits may be
/// kept: then 6 M V H. Each thread owns a range of the vocabulary, so the gradient of E has one writer;
/// memory beyond inputs, gradients and what is kept is one tile and one (M, H) array a thread.
template <class Scalar>
class VocabularyHead {
 public:
  static constexpr Index tile = 1024;                   ///< rows of E at once
  static constexpr Index block = 256;                   ///< rows of x at once
  static constexpr Index kept_bytes = Index{64} << 20;  ///< logits are kept where all of them take no more

  /// What the backward pass needs of the forward pass.
  struct Kept {
    std::vector<double> log_sum;            ///< (M)
    std::vector<RowMatrix<Scalar>> logits;  ///< tile after tile, (M, columns) each, or empty
  };

  Weight<Scalar> weight;  ///< E, (V, H)
  Index vocabulary = 0, width = 0;
  double temperature = 1;                     ///< above 0: divides the logits
  std::shared_ptr<PackedMatrix> packed = {};  ///< a copy of E for few rows, of floats alone

  /// Copies E as it is now for `logits` of few rows, into `room` if there is one.
  void pack(std::shared_ptr<PackedMatrix> room, Threads& threads) {
    if constexpr (std::is_same_v<Scalar, float>) {
      packed = room ? std::move(room) : std::make_shared<PackedMatrix>(width, vocabulary);
      packed->copy({weight.value, 1, width}, threads);
    }
  }

  /// Fills `logp` (N, R) at the targets and `kept` for the backward pass, if there is to be one.
  void forward(const RowMatrix<Scalar>& x, const std::vector<Packing::Target>& targets, LogProbs& logp,
               Kept& kept, bool backward_follows, Threads& threads) const {
    const Index rows = x.rows(), parts = threads.count();
    const bool keep =
        backward_follows && rows * vocabulary * static_cast<Index>(sizeof(Scalar)) <= kept_bytes;
    kept.logits.resize(keep ? static_cast<std::size_t>(tiles()) : 0);
    Eigen::ArrayXXd largest =
        Eigen::ArrayXXd::Constant(rows, parts, -std::numeric_limits<double>::infinity());
    Eigen::ArrayXXd sum = Eigen::ArrayXXd::Zero(rows, parts);
    const std::vector<Index> first = first_target(targets, rows);
    threads.for_each(parts, [&](Index part) {
      RowMatrix<Scalar> scratch;
      for_tiles(part, parts, rows, [&](Index v, Index columns, Index row, Index count) {
        RowMatrix<Scalar>& tile_logits = keep ? kept.logits[static_cast<std::size_t>(v / tile)] : scratch;
        if (!keep) {
          refit(scratch, count, columns);
        } else if (row == 0) {
          refit(tile_logits, rows, columns);
        }
        auto logits = tile_logits.middleRows(keep ? row : 0, count);
        compute_logits(x, v, columns, row, count, logits);
        for (Index i = 0; i < count; ++i) {
          auto line = logits.row(i).array();
          const Scalar top = largest_of(line.data(), columns);
          double& m = largest(row + i, part);
          double& s = sum(row + i, part);
          if (static_cast<double>(top) > m) {
            s *= std::exp(m - static_cast<double>(top));
            m = static_cast<double>(top);
          }
          s += static_cast<double>(sum_of_exp(line.data(), columns, static_cast<Scalar>(m)));
          for (Index k = first[static_cast<std::size_t>(row + i)];
               k < first[static_cast<std::size_t>(row + i) + 1]; ++k) {
            const Packing::Target& target = targets[static_cast<std::size_t>(k)];
            if (target.token >= v && target.token < v + columns) {
              logp(target.response, target.position) = static_cast<double>(line(target.token - v));
            }
          }
        }
      });
    });
    std::vector<double>& log_sum = kept.log_sum;
    log_sum.resize(static_cast<std::size_t>(rows));
    for (Index row = 0; row < rows; ++row) {
      const double m = largest.row(row).maxCoeff();
      log_sum[static_cast<std::size_t>(row)] =
          m + std::log((sum.row(row) * (largest.row(row) - m).exp()).sum());
    }
    for (const Packing::Target& target : targets) {
      double& value = logp(target.response, target.position);
      value -= log_sum[static_cast<std::size_t>(target.row)];
      if (value > 0) value = 0;  // rounding; not a number stays what it is
    }
  }

  /// Adds the gradient of E and gives that of x, from `d_logp` (N, R) at the targets.
  void backward(const RowMatrix<Scalar>& x, const std::vector<Packing::Target>& targets,
                const LogProbs& d_logp, const Kept& kept, RowMatrix<Scalar>& d_x, Threads& threads) const {
    const Index rows = x.rows(), parts = threads.count();
    const std::vector<Index> first = first_target(targets, rows);
    std::vector<double> total(static_cast<std::size_t>(rows), 0.0);
    for (const Packing::Target& target : targets) {
      total[static_cast<std::size_t>(target.row)] += d_logp(target.response, target.position);
    }
    std::vector<RowMatrix<Scalar>> d_parts(static_cast<std::size_t>(parts));
    threads.for_each(parts, [&](Index part) {
      RowMatrix<Scalar>& d = d_parts[static_cast<std::size_t>(part)];
      refit(d, rows, width);
      d.setZero();
      RowMatrix<Scalar> logits;
      for_tiles(part, parts, rows, [&](Index v, Index columns, Index row, Index count) {
        refit(logits, count, columns);
        if (kept.logits.empty()) compute_logits(x, v, columns, row, count, logits);
        for (Index i = 0; i < count; ++i) {
          const auto r = static_cast<std::size_t>(row + i);
          auto line = logits.row(i).array();
          if (!kept.logits.empty()) line = kept.logits[static_cast<std::size_t>(v / tile)].row(row + i);
          exponentiate(line.data(), columns, static_cast<Scalar>(kept.log_sum[r]),
                       static_cast<Scalar>(-total[r]));
          for (Index k = first[r]; k < first[r + 1]; ++k) {
            const Packing::Target& target = targets[static_cast<std::size_t>(k)];
            if (target.token >= v && target.token < v + columns) {
              line(target.token - v) += static_cast<Scalar>(d_logp(target.response, target.position));
            }
          }
        }
        product(logits, rows_of(v, columns), d.middleRows(row, count), true, factor());
        product(logits.transpose(), x.middleRows(row, count),
                RowMap<Scalar>(weight.gradient + v * width, columns, width), true, factor());
      });
    });
    d_x.swap(d_parts[0]);
    for (std::size_t part = 1; part < d_parts.size(); ++part) d_x += d_parts[part];
  }

  /// (rows, V) logits, for generation.
  void logits(const RowMatrix<Scalar>& x, RowMatrix<Scalar>& out, Threads& threads) const {
    refit(out, x.rows(), vocabulary);
    threads.for_ranges(vocabulary, 64, [&](Index begin, Index end) {
      auto columns = out.middleCols(begin, end - begin);
      if constexpr (std::is_same_v<Scalar, float>) {
        if (packed && x.rows() <= kernels<float>().few)
          return packed_product(x, packed->columns(begin), columns, false, factor());
      }
      product(x, rows_of(begin, end - begin).transpose(), columns, false, factor());
    });
  }

 private:
  Scalar factor() const { return static_cast<Scalar>(1 / temperature); }

  /// Rows of E.
  ConstRowMap<Scalar> rows_of(Index v, Index count) const { return {weight.value + v * width, count, width}; }

  Index tiles() const { return (vocabulary + tile - 1) / tile; }

  template <class Body>
  void for_tiles(Index part, Index parts, Index rows, const Body& body) const {
    for (Index t = tiles() * part / parts; t < tiles() * (part + 1) / parts; ++t) {
      const Index v = t * tile, columns = std::min(tile, vocabulary - v);
      for (Index row = 0; row < rows; row += block) body(v, columns, row, std::min(block, rows - row));
    }
  }

  template <class Matrix>
  void compute_logits(const RowMatrix<Scalar>& x, Index v, Index columns, Index row, Index count,
                      Matrix& logits) const {
    product(x.middleRows(row, count), rows_of(v, columns).transpose(), logits, false, factor());
  }

  /// Where the targets of each row begin, with one entry more than rows.
  static std::vector<Index> first_target(const std::vector<Packing::Target>& targets, Index rows) {
    std::vector<Index> first(static_cast<std::size_t>(rows) + 1, static_cast<Index>(targets.size()));
    for (std::size_t k = targets.size(); k > 0; --k)
      first[static_cast<std::size_t>(targets[k - 1].row)] = static_cast<Index>(k) - 1;
    return first;
  }
};

}  // namespace eso
