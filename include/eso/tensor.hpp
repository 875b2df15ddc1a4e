// SPDX-License-Identifier: MIT
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// A matrix in host memory whose rows are tokens.
template <class Scalar>
using RowMatrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Gives a matrix this shape; its values mean nothing where the number of them changes. Where memory gives out it
/// is left empty: Eigen 3.4's own `resize` leaves it with memory that is freed, to be freed once more.
template <class Matrix>
void refit(Matrix& matrix, Index rows, Index columns) {
  if (rows * columns != matrix.size()) matrix.resize(0, 0);
  matrix.resize(rows, columns);
}

/// Copies a matrix or an expression of one into `to`, which gets its shape as `refit` gives it.
template <class Matrix, class Source>
void copy_into(Matrix& to, const Source& from) {
  refit(to, from.rows(), from.cols());
  to = from;
}

/// A matrix somewhere in memory.
template <class Scalar>
using RowMap = Eigen::Map<RowMatrix<Scalar>>;
template <class Scalar>
using ConstRowMap = Eigen::Map<const RowMatrix<Scalar>>;

/// Type of a stored number, little-endian.
enum class DataType : std::uint8_t { float64, float32, float16, bfloat16 };

/// Bytes of one number.
constexpr std::size_t size_of(DataType type) {
  return type == DataType::float64 ? 8 : type == DataType::float32 ? 4 : 2;
}

/// The type that a `float` or `double` is stored as.
template <class Scalar>
inline constexpr DataType data_type_of = sizeof(Scalar) == 8 ? DataType::float64 : DataType::float32;

/// A named array in host memory, seen and not owned unless `owner` says so: what checkpoints and model files
/// are made of.
struct TensorView {
  std::string name;
  DataType type = DataType::float32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;  ///< keeps `bytes` alive where they are a copy (a device's array, say)
};

/// Finds a tensor by name; nothing where there is none.
using TensorLookup = std::function<std::optional<TensorView>(std::string_view name)>;

/// One trainable array of a model in host memory, with its gradient.
template <class Scalar>
struct Parameter {
  std::string name;
  std::vector<Index> shape;
  Scalar* value = nullptr;
  Scalar* gradient = nullptr;
  Index size = 0;
  bool decays = true;  ///< weight decay applies: matrices yes, biases and normalisations no
};

/// The trainable arrays of a model in host memory. A backend whose arrays live elsewhere has a list of its
/// own, with `global_norm` and the optimizers that go with it.
template <class Scalar>
using ParameterList = std::vector<Parameter<Scalar>>;

/// Square root of the sum of all squared gradients, accumulated in double. Not finite if any gradient is not.
template <class Scalar>
double global_norm(const ParameterList<Scalar>& parameters) {
  double sum = 0;
  for (const Parameter<Scalar>& parameter : parameters) {
    // Blocks keep the float accumulation short and the order of the sum fixed.
    for (Index begin = 0; begin < parameter.size; begin += 4096) {
      const Index count = std::min<Index>(4096, parameter.size - begin);
      const Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>> block(parameter.gradient + begin,
                                                                            count);
      sum += static_cast<double>(block.square().sum());
    }
  }
  return std::sqrt(sum);
}

/// Sets all gradients to zero.
template <class Scalar>
void zero_gradients(const ParameterList<Scalar>& parameters) {
  for (const Parameter<Scalar>& parameter : parameters) {
    std::fill(parameter.gradient, parameter.gradient + parameter.size, Scalar(0));
  }
}

}  // namespace eso
