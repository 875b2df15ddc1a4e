// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "eso/batch.hpp"
#include "eso/kernels/kernels.hpp"

namespace eso {

/// A matrix somewhere in memory, seen and not owned, of which either the rows or the columns lie without
/// gaps.
template <class Scalar>
struct MatrixView {
  using Value = std::remove_const_t<Scalar>;

  Scalar* data;
  Index rows, cols;
  Index outer;            ///< from one row, or column, to the next
  bool row_major = true;  ///< the rows lie without gaps

  MatrixView(Scalar* data_in, Index rows_in, Index cols_in, Index outer_in, bool row_major_in = true)
      : data(data_in), rows(rows_in), cols(cols_in), outer(outer_in), row_major(row_major_in) {}

  /// Of a matrix, map, block or transpose of Eigen's that lies in memory.
  template <class Matrix>
    requires std::is_same_v<typename std::remove_cvref_t<Matrix>::Scalar, Value>
  MatrixView(Matrix&& m)
      : MatrixView(m.data(), m.rows(), m.cols(), m.outerStride(), std::remove_cvref_t<Matrix>::IsRowMajor) {
    static_assert(std::remove_cvref_t<Matrix>::InnerStrideAtCompileTime == 1);
  }

  /// As the kernels see it.
  FloatMatrix steps() const
    requires std::is_same_v<Value, float>
  {
    return row_major ? FloatMatrix{data, outer, 1} : FloatMatrix{data, 1, outer};
  }
};

/// c += factor a b by Eigen.
template <bool a_by_rows, bool b_by_rows, class Scalar>
void add_product(const MatrixView<const Scalar>& a, const MatrixView<const Scalar>& b,
                 const MatrixView<Scalar>& c, Scalar factor) {
  using Stride = Eigen::OuterStride<>;
  const auto map = []<bool by_rows>(const MatrixView<const Scalar>& m) {
    using Matrix =
        Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, by_rows ? Eigen::RowMajor : Eigen::ColMajor>;
    return Eigen::Map<const Matrix, 0, Stride>(m.data, m.rows, m.cols, Stride(m.outer));
  };
  using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Rows, 0, Stride>(c.data, c.rows, c.cols, Stride(c.outer)).noalias() +=
      factor * (map.template operator()<a_by_rows>(a) * map.template operator()<b_by_rows>(b));
}

/// c = factor a b or, with `add`, c += factor a b by Eigen.
template <class Scalar>
void product_by_eigen(const MatrixView<const Scalar>& a, const MatrixView<const Scalar>& b,
                      const MatrixView<Scalar>& c, bool add, Scalar factor) {
  for (Index i = 0; i < c.rows && !add; ++i) std::fill_n(c.data + i * c.outer, c.cols, Scalar(0));
  if (a.row_major) {
    if (b.row_major) return add_product<true, true>(a, b, c, factor);
    return add_product<true, false>(a, b, c, factor);
  }
  if (b.row_major) return add_product<false, true>(a, b, c, factor);
  add_product<false, false>(a, b, c, factor);
}

/// c = factor a b or, with `add`, c += factor a b; c is row-major and apart from a and b. One thread.
inline void product(const MatrixView<const double>& a, const MatrixView<const double>& b,
                    const MatrixView<double>& c, bool add = false, double factor = 1) {
  product_by_eigen(a, b, c, add, factor);
}

/// The same for floats, by the kernels of this processor.
inline void product(const MatrixView<const float>& a, const MatrixView<const float>& b,
                    const MatrixView<float>& c, bool add = false, float factor = 1) {
#ifdef EIGEN_USE_BLAS
  product_by_eigen(a, b, c, add, factor);
#else
  kernels<float>().multiply(a.rows, b.cols, a.cols, a.steps(), b.steps(), c.data, c.outer, add, factor);
#endif
}

}  // namespace eso
