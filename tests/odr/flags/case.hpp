// SPDX-License-Identifier: MIT
// What plain.cpp, avx2.cpp and avx512.cpp compile, each with flags of its own: see main.cpp.
#pragma once

#include <cmath>
#include <eso/eso.hpp>

#include "interface.hpp"

namespace {

using Matrix = eso::RowMatrix<float>;

Matrix numbers(eso::Index rows, eso::Index columns, std::uint64_t seed) {
  Matrix m(rows, columns);
  for (eso::Index i = 0; i < m.size(); ++i) {
    m.data()[i] = static_cast<float>(
        eso::normal({.seed = seed, .purpose = eso::Purpose::perturbing}, static_cast<std::uint64_t>(i)));
  }
  return m;
}

constexpr eso::Index rows = 5, in = 64, out = 100;

/// Largest distance from x W, summed here in double.
double distance(const Matrix& y, const Matrix& x, const Matrix& w) {
  double largest = 0;
  for (eso::Index i = 0; i < rows; ++i) {
    for (eso::Index j = 0; j < out; ++j) {
      double sum = 0;
      for (eso::Index p = 0; p < in; ++p) sum += static_cast<double>(x(i, p)) * static_cast<double>(w(p, j));
      largest = std::max(largest, std::abs(sum - static_cast<double>(y(i, j))));
    }
  }
  return largest;
}

double product_error(const eso::PackedMatrix* packed) {
  const Matrix x = numbers(rows, in, 1), w = numbers(in, out, 2);
  Matrix y(rows, out);
  if (packed != nullptr) {
    eso::packed_product(x, packed->columns(0), y);
  } else {
    eso::product(x, w, y);
  }
  return distance(y, x, w);
}

eso::PackedMatrix* packed_weights() {
  const Matrix w = numbers(in, out, 2);
  eso::Threads threads(1);
  auto* packed = new eso::PackedMatrix(in, out);
  packed->copy({w.data(), out, 1}, threads);
  return packed;
}

double softmax_error() {
  const Matrix x = numbers(1, 77, 3);
  Matrix y = x;
  const float largest = eso::largest_of(y.data(), y.size());
  eso::exponentiate(y.data(), y.size(), largest);
  const float sum = eso::sum_of(y.data(), y.size());
  double exact = 0, error = 0;
  for (eso::Index i = 0; i < x.size(); ++i) exact += std::exp(static_cast<double>(x(i)));
  for (eso::Index i = 0; i < x.size(); ++i)
    error = std::max(error,
                     std::abs(static_cast<double>(y(i) / sum) - std::exp(static_cast<double>(x(i))) / exact));
  return error;
}

double adamw_error() {
  Matrix value = numbers(1, 45, 4), gradient = numbers(1, 45, 5);
  const Matrix before = value;
  eso::AdamW adamw{.weight_decay = 0};
  const eso::ParameterList<float> list{{"p", {45}, value.data(), gradient.data(), 45, false}};
  adamw.update(list, 0.1, 1);
  double error = 0;  // the first update moves each by the learning rate
  for (eso::Index i = 0; i < value.size(); ++i) {
    const double moved = static_cast<double>(before(i) - value(i)), by = gradient(i) > 0 ? 0.1 : -0.1;
    error = std::max(error, std::abs(moved - by));
  }
  return error;
}

/// Loss after a few steps of training, sampling included.
double training() {
  eso::Architecture shape{.vocabulary = 33, .context = 20, .width = 32, .layers = 2, .heads = 2, .inner = 72};
  shape.embedding_width = shape.width;
  auto model = eso::random_model<float>(shape, 1, std::make_shared<eso::Threads>(2));
  std::vector<eso::Example> examples;
  for (eso::TokenId w = 1; w <= 6; ++w) {
    eso::Example& example = examples.emplace_back();
    example.prompt = {w, w}, example.target = {w, 3, 0}, example.number = w;
  }
  const auto reward = [](const eso::Response& r, const eso::Example&) { return double(r.tokens.size()); };
  eso::Temperatures sampler{1};
  sampler.max_tokens = 12;
  eso::Trainer trainer{model, sampler, reward, eso::SftLoss{}, eso::AdamW{}};
  trainer.epochs = 4;
  trainer.schedule = {.peak = 1e-3};
  double loss = 0;
  for (const eso::Step& step : trainer.run(examples)) loss = step.loss;
  return loss;
}

Case run(const eso::PackedMatrix* packed_elsewhere) {
  std::unique_ptr<eso::PackedMatrix> own(packed_weights());
  return {.product = product_error(nullptr),
          .packed = product_error(own.get()),
          .packed_elsewhere = product_error(packed_elsewhere),
          .softmax = softmax_error(),
          .adamw = adamw_error(),
          .loss = training()};
}

}  // namespace
