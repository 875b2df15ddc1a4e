// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <memory>
#include <numbers>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/kernels/elementwise.hpp"
#include "eso/model/architecture.hpp"
#include "eso/model/packed_matrix.hpp"
#include "eso/model/product.hpp"
#include "eso/tensor.hpp"
#include "eso/threads.hpp"

namespace eso {

/// Columns of a wider matrix.
template <class Scalar>
using StridedRows = Eigen::Map<RowMatrix<Scalar>, 0, Eigen::OuterStride<>>;
template <class Scalar>
using ConstStridedRows = Eigen::Map<const RowMatrix<Scalar>, 0, Eigen::OuterStride<>>;

template <class Scalar>
using RowArray = Eigen::Array<Scalar, 1, Eigen::Dynamic>;

/// An array of weights and the array of its gradient, null while only inference is asked for.
template <class Scalar>
struct Weight {
  Scalar* value = nullptr;
  Scalar* gradient = nullptr;
};

/// y = x W + b over rows, with W stored (in, out) or (out, in).
template <class Scalar>
struct Linear {
  Weight<Scalar> weight, bias;  ///< `bias.value` null: no bias
  Index in = 0, out = 0;
  bool in_out = true;
  std::shared_ptr<PackedMatrix> packed = {};  ///< a copy of W for few rows, of floats alone

  /// Copies W as it is now for products with few rows, into `room` if there is one.
  void pack(std::shared_ptr<PackedMatrix> room, Threads& threads) {
    if constexpr (std::is_same_v<Scalar, float>) {
      packed = room ? std::move(room) : std::make_shared<PackedMatrix>(in, out);
      packed->copy(in_out ? FloatMatrix{weight.value, out, 1} : FloatMatrix{weight.value, 1, in}, threads);
    }
  }

  /// (rows, in) to (rows, out). With `add`, y += instead of y =.
  void forward(const RowMatrix<Scalar>& x, RowMatrix<Scalar>& y, bool add, Threads& threads) const {
    if (!add) refit(y, x.rows(), out);
    const auto part = [&](Index row, Index rows, Index column, Index columns) {
      auto block = y.block(row, column, rows, columns);
      times_columns(x.middleRows(row, rows), column, columns, block, add);
      if (bias.value) {
        block.rowwise() +=
            Eigen::Map<const Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>(bias.value + column, columns);
      }
    };
    // A product copies its share of x and of W: the larger of the two is what the threads divide.
    if (x.rows() >= out && !packed) {
      threads.for_ranges(x.rows(), 16, [&](Index begin, Index end) { part(begin, end - begin, 0, out); });
    } else {
      threads.for_ranges(out, 64, [&](Index begin, Index end) { part(0, x.rows(), begin, end - begin); });
    }
  }

  /// Columns of x W.
  void times_columns(const MatrixView<const Scalar>& x, Index column, Index columns,
                     const MatrixView<Scalar>& y, bool add) const {
    if constexpr (std::is_same_v<Scalar, float>) {
      if (packed && x.rows <= kernels<float>().few) return packed_product(x, packed->columns(column), y, add);
    }
    if (in_out) {
      product(x, ConstRowMap<Scalar>(weight.value, in, out).middleCols(column, columns), y, add);
    } else {
      product(x, ConstRowMap<Scalar>(weight.value, out, in).middleRows(column, columns).transpose(), y, add);
    }
  }

  /// Adds the gradients of the weights and, where `d_x` is given, writes that of x (or adds it, with `add`).
  void backward(const RowMatrix<Scalar>& x, const RowMatrix<Scalar>& d_y, RowMatrix<Scalar>* d_x, bool add,
                Threads& threads) const {
    if (d_x && !add) refit(*d_x, x.rows(), in);
    if (x.rows() == 0) return;
    if (d_x) {
      const auto part = [&](Index row, Index rows, Index column, Index columns) {
        auto block = d_x->block(row, column, rows, columns);
        const auto d_rows = d_y.middleRows(row, rows);
        if (in_out) {
          product(d_rows, ConstRowMap<Scalar>(weight.value, in, out).middleRows(column, columns).transpose(),
                  block, add);
        } else {
          product(d_rows, ConstRowMap<Scalar>(weight.value, out, in).middleCols(column, columns), block, add);
        }
      };
      if (x.rows() >= in) {
        threads.for_ranges(x.rows(), 16, [&](Index begin, Index end) { part(begin, end - begin, 0, in); });
      } else {
        threads.for_ranges(in, 64, [&](Index begin, Index end) { part(0, x.rows(), begin, end - begin); });
      }
    }
    threads.for_ranges(out, 64, [&](Index begin, Index end) {
      const auto d_columns = d_y.middleCols(begin, end - begin);
      if (in_out) {
        product(x.transpose(), d_columns,
                RowMap<Scalar>(weight.gradient, in, out).middleCols(begin, end - begin), true);
      } else {
        product(d_columns.transpose(), x,
                RowMap<Scalar>(weight.gradient, out, in).middleRows(begin, end - begin), true);
      }
      if (bias.value) {
        Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>(bias.gradient + begin, end - begin) +=
            d_columns.colwise().sum();
      }
    });
  }
};

/// Layer normalisation over the columns: (x - mean) / sqrt(variance + epsilon) * weight + bias, with the
/// biased variance (Ba et al. 2016, arXiv 1607.06450).
template <class Scalar>
struct LayerNorm {
  Weight<Scalar> weight, bias;
  Scalar epsilon = Scalar(1e-5);

  void forward(const RowMatrix<Scalar>& x, RowMatrix<Scalar>& y, Threads& threads) const {
    refit(y, x.rows(), x.cols());
    const Eigen::Map<const RowArray<Scalar>> w(weight.value, x.cols()), b(bias.value, x.cols());
    threads.for_ranges(x.rows(), 4, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const auto [mean, scale] = moments(x.row(row));
        y.row(row).array() = (x.row(row).array() - mean) * scale * w + b;
      }
    });
  }

  /// Adds the gradient of x to `d_x` and those of the weights to theirs.
  void backward(const RowMatrix<Scalar>& x, const RowMatrix<Scalar>& d_y, RowMatrix<Scalar>& d_x,
                Threads& threads) const {
    if (x.rows() == 0) return;
    const Index columns = x.cols();
    const Eigen::Map<const RowArray<Scalar>> w(weight.value, columns);
    // One sum a chunk of rows, added in the order of the chunks: the same for every number of threads.
    const Index chunk = 256, chunks = (x.rows() + chunk - 1) / chunk;
    RowMatrix<Scalar> d_w = RowMatrix<Scalar>::Zero(chunks, columns),
                      d_b = RowMatrix<Scalar>::Zero(chunks, columns);
    threads.for_each(chunks, [&](Index c) {
      RowArray<Scalar> normal(columns), scaled(columns);
      for (Index row = c * chunk; row < std::min(x.rows(), (c + 1) * chunk); ++row) {
        const auto [mean, scale] = moments(x.row(row));
        normal = (x.row(row).array() - mean) * scale;
        d_w.row(c).array() += d_y.row(row).array() * normal;
        d_b.row(c) += d_y.row(row);
        scaled = d_y.row(row).array() * w;
        const Scalar mean_d = scaled.mean(), mean_dn = (scaled * normal).mean();
        d_x.row(row).array() += (scaled - mean_d - normal * mean_dn) * scale;
      }
    });
    Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>(weight.gradient, columns) += d_w.colwise().sum();
    Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>(bias.gradient, columns) += d_b.colwise().sum();
  }

 private:
  struct Moments {
    Scalar mean, scale;  ///< scale: 1 / sqrt(variance + epsilon)
  };
  template <class Row>
  Moments moments(const Row& row) const {
    const Scalar mean = row.mean();
    const Scalar variance = (row.array() - mean).square().mean();
    return {mean, Scalar(1) / std::sqrt(variance + epsilon)};
  }
};

/// y = activation(x), elementwise.
template <class Scalar>
void activate(Activation kind, const RowMatrix<Scalar>& x, RowMatrix<Scalar>& y, Threads& threads) {
  refit(y, x.rows(), x.cols());
  threads.for_ranges(x.rows(), 4, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const auto in = x.row(row).array();
      auto out = y.row(row).array();
      switch (kind) {
        case Activation::gelu_tanh:
          gelu_tanh(in.data(), in.size(), out.data());
          break;
        case Activation::gelu:
          for (Index i = 0; i < in.size(); ++i) {
            out(i) = Scalar(0.5) * in(i) * (Scalar(1) + std::erf(in(i) / std::numbers::sqrt2_v<Scalar>));
          }
          break;
        case Activation::relu:
          out = in.max(Scalar(0));
          break;
      }
    }
  });
}

/// d *= activation'(x), elementwise.
template <class Scalar>
void activate_backward(Activation kind, const RowMatrix<Scalar>& x, RowMatrix<Scalar>& d, Threads& threads) {
  const Scalar density = Scalar(1) / std::sqrt(Scalar(2) * std::numbers::pi_v<Scalar>);
  threads.for_ranges(x.rows(), 4, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const auto in = x.row(row).array();
      auto out = d.row(row).array();
      switch (kind) {
        case Activation::gelu_tanh:
          gelu_tanh_backward(in.data(), in.size(), out.data());
          break;
        case Activation::gelu:
          for (Index i = 0; i < in.size(); ++i) {
            out(i) *= Scalar(0.5) * (Scalar(1) + std::erf(in(i) / std::numbers::sqrt2_v<Scalar>)) +
                      in(i)*density * std::exp(Scalar(-0.5) * in(i)*in(i));
          }
          break;
        case Activation::relu:
          out = (in > Scalar(0)).select(out, Scalar(0));
          break;
      }
    }
  });
}

/// Turns the first `a.rotary_width` entries of every query and key of `qkv` (rows, 3H) by the angles of their
/// positions, or back for a gradient: entries i and i + w/2 by position * base^(-2i/w) (Su et al. 2021, arXiv
/// 2104.09864, in the halves layout of GPT-NeoX).
template <class Scalar>
void rotate(const Architecture& a, const std::vector<Index>& positions, bool back, RowMatrix<Scalar>& qkv,
            Threads& threads) {
  const Index half = a.rotary_width / 2, head = a.head_width();
  const Index head_stride = a.qkv_order == QkvOrder::heads ? 3 * head : head;
  const Index to_key = a.qkv_order == QkvOrder::heads ? head : a.width;
  threads.for_ranges(qkv.rows(), 8, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      for (Index i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(positions[static_cast<std::size_t>(row)]) *
            std::pow(a.rotary_base, -2.0 * static_cast<double>(i) / static_cast<double>(a.rotary_width));
        const auto c = static_cast<Scalar>(std::cos(angle));
        const auto s = static_cast<Scalar>(back ? -std::sin(angle) : std::sin(angle));
        for (Index h = 0; h < a.heads; ++h) {
          for (const Index offset : {h * head_stride, h * head_stride + to_key}) {
            Scalar& x = qkv(row, offset + i);
            Scalar& y = qkv(row, offset + i + half);
            const Scalar turned = x * c - y * s;
            y = y * c + x * s;
            x = turned;
          }
        }
      }
    }
  });
}

}  // namespace eso
