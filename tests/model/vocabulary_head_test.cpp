// SPDX-License-Identifier: MIT
#include "eso/model/vocabulary_head.hpp"

#include <Eigen/Core>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "eso/random.hpp"

namespace {

using eso::Index;
using Head = eso::VocabularyHead<double>;
using Rows = eso::RowMatrix<double>;

Rows random(Index rows, Index columns, std::uint64_t seed) {
  Rows m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) {
    m.data()[i] =
        eso::normal({.seed = seed, .purpose = eso::Purpose::perturbing}, static_cast<std::uint64_t>(i));
  }
  return m;
}

/// More rows than a block and more tokens than a tile.
struct Case {
  Index rows = Head::block + 30, vocabulary = Head::tile + 50, width = 6;
  Rows x = random(rows, width, 1), e = random(vocabulary, width, 2), d_e = Rows::Zero(vocabulary, width);
  Head head;
  std::vector<eso::Packing::Target> targets;
  eso::LogProbs logp = eso::LogProbs::Zero(1, rows), weights = eso::LogProbs::Zero(1, rows);
  Head::Kept kept;
  Rows d_x;

  Case() {
    head.weight = {e.data(), d_e.data()};
    head.vocabulary = vocabulary, head.width = width;
    for (Index i = 0; i < rows; ++i) {
      targets.push_back({i, static_cast<eso::TokenId>(i * 131 % vocabulary), 0, i});
      weights(0, i) = 0.1 * static_cast<double>(i % 7 - 3);
    }
  }

  void run(bool keep) {
    eso::Threads threads(2);
    head.forward(x, targets, logp, kept, keep, threads);
    head.backward(x, targets, weights, kept, d_x, threads);
  }
};

}  // namespace

TEST_CASE("the head's log-probabilities and gradients are those of a softmax written out") {
  Case c;
  c.run(true);
  const Rows logits = c.x * c.e.transpose();
  Rows d_logits = Rows::Zero(c.rows, c.vocabulary);
  for (Index i = 0; i < c.rows; ++i) {
    const double log_sum = std::log(logits.row(i).array().exp().sum());
    const Index token = c.targets[static_cast<std::size_t>(i)].token;
    CHECK(c.logp(0, i) == Approx(logits(i, token) - log_sum).epsilon(1e-12));
    d_logits.row(i) = -c.weights(0, i) * (logits.row(i).array() - log_sum).exp();
    d_logits(i, token) += c.weights(0, i);
  }
  CHECK((c.d_x - d_logits * c.e).cwiseAbs().maxCoeff() < 1e-12);
  CHECK((c.d_e - d_logits.transpose() * c.x).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("logits that were not kept are computed again, to the same gradients bit for bit") {
  Case kept, again;
  kept.run(true);
  again.run(false);
  CHECK(!kept.kept.logits.empty());
  CHECK(again.kept.logits.empty());
  CHECK((kept.logp == again.logp).all());
  CHECK(kept.d_x == again.d_x);
  CHECK(kept.d_e == again.d_e);
}
