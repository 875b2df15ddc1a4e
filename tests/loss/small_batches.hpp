// SPDX-License-Identifier: MIT
#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/concepts.hpp"
#include "eso/loss/totals.hpp"

/// A batch that is written down response by response, with its log-probabilities.
struct SmallBatch {
  eso::Batch batch;
  std::vector<std::vector<double>> rows;

  explicit SmallBatch(eso::Index prompts) {
    for (eso::Index p = 0; p < prompts; ++p) batch.prompts.push_back({.tokens = {1}, .example = p});
  }

  /// A response with these token log-probabilities.
  SmallBatch& add(eso::Index prompt, eso::Kind kind, std::vector<double> logp, double reward = 0,
                  bool finished = false) {
    eso::Response response;
    response.prompt = prompt;
    response.kind = kind;
    response.sample = static_cast<eso::Index>(batch.rows_of(prompt, kind).size());
    response.tokens.assign(logp.size(), 2);
    response.finished = finished;
    response.reward = reward;
    batch.responses.push_back(response);
    rows.push_back(std::move(logp));
    return *this;
  }

  /// (N, R), with a number beyond the lengths that a loss would not survive reading.
  eso::LogProbs logp() const {
    eso::LogProbs result = eso::LogProbs::Constant(batch.response_count(), batch.longest(), 1e300);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      for (std::size_t t = 0; t < rows[n].size(); ++t) {
        result(static_cast<eso::Index>(n), static_cast<eso::Index>(t)) = rows[n][t];
      }
    }
    return result;
  }
};

/// The loss of a batch that is a whole step.
template <eso::Loss L>
eso::LossResult evaluate(const L& loss, const SmallBatch& small) {
  return loss(small.batch, small.logp(), eso::totals_of(loss, small.batch));
}

/// The message of the `Error` that `body` throws, empty if it throws none.
template <class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const eso::Error& error) {
    return error.what();
  }
  return {};
}

/// Algorithms' golden lines: two prompts with target NLLs (1, 2) and (.5, 1, 1.5, 1), and four samples each
/// with R = (.1, .4, .2, .5), LP = (-10, -12, -8, -20) and R = (0, .1, .05, .05), LP = (-5, -6, -7, -9).
inline SmallBatch two_prompts() {
  SmallBatch small(2);
  small.add(0, eso::Kind::target, {-1, -2}).add(1, eso::Kind::target, {-.5, -1, -1.5, -1});
  small.add(0, eso::Kind::sample, {-4, -6}, .1).add(0, eso::Kind::sample, {-12}, .4);
  small.add(0, eso::Kind::sample, {-1, -3, -4}, .2).add(0, eso::Kind::sample, {-15, -5}, .5);
  small.add(1, eso::Kind::sample, {-5}, 0).add(1, eso::Kind::sample, {-3, -3}, .1);
  small.add(1, eso::Kind::sample, {-7}, .05).add(1, eso::Kind::sample, {-1, -2, -3, -3}, .05);
  return small;
}

/// tests/golden/method_losses.json, made by make_method_losses.py.
inline const nlohmann::json& golden_methods() {
  static const nlohmann::json golden =
      nlohmann::json::parse(std::ifstream(std::string(ESO_TEST_DIR) + "/golden/method_losses.json"));
  return golden;
}

/// Compares value and gradient, against the stored weights, with an entry of them.
template <eso::Loss L>
void check_golden_method(const L& loss, const nlohmann::json& entry) {
  CAPTURE(entry.dump());
  const nlohmann::json& stored = golden_methods().at("batches").at(entry.at("batch").get<std::size_t>());
  const std::map<std::string, eso::Kind> kinds{{"target", eso::Kind::target},
                                               {"sample", eso::Kind::sample},
                                               {"greedy", eso::Kind::greedy},
                                               {"chosen", eso::Kind::chosen},
                                               {"rejected", eso::Kind::rejected}};
  SmallBatch small(stored.at("prompts").get<eso::Index>()), reference = small, weights = small;
  for (const nlohmann::json& r : stored.at("responses")) {
    const auto prompt = r.at("prompt").get<eso::Index>();
    const eso::Kind kind = kinds.at(r.at("kind").get<std::string>());
    small.add(prompt, kind, r.at("logp").get<std::vector<double>>(), r.at("reward").get<double>());
    reference.add(prompt, kind, r.at("reference").get<std::vector<double>>());
    weights.add(prompt, kind, r.at("weights").get<std::vector<double>>());
  }
  small.batch.reference_logp = reference.logp();
  const eso::LossResult result = evaluate(loss, small);
  CHECK(result.value == Approx(entry.at("value").get<double>()).epsilon(1e-11).margin(1e-12));
  double projection = 0;
  for (std::size_t n = 0; n < weights.rows.size(); ++n) {
    for (std::size_t t = 0; t < weights.rows[n].size(); ++t)
      projection +=
          weights.rows[n][t] * result.d_logp(static_cast<eso::Index>(n), static_cast<eso::Index>(t));
  }
  CHECK(projection == Approx(entry.at("projection").get<double>()).epsilon(1e-11).margin(1e-12));
}

/// tests/golden/losses.json, made by make_losses.py.
inline const nlohmann::json& golden_losses() {
  static const nlohmann::json golden =
      nlohmann::json::parse(std::ifstream(std::string(ESO_TEST_DIR) + "/golden/losses.json"));
  return golden;
}

inline SmallBatch golden_batch(const nlohmann::json& entry) {
  const nlohmann::json& stored = golden_losses().at("batches").at(entry.at("batch").get<std::size_t>());
  const std::map<std::string, eso::Kind> kinds{
      {"target", eso::Kind::target}, {"sample", eso::Kind::sample}, {"greedy", eso::Kind::greedy}};
  SmallBatch small(stored.at("prompts").get<eso::Index>());
  for (const nlohmann::json& r : stored.at("responses")) {
    small.add(r.at("prompt").get<eso::Index>(), kinds.at(r.at("kind").get<std::string>()),
              r.at("logp").get<std::vector<double>>(), r.at("reward").get<double>(),
              r.at("finished").get<bool>());
  }
  return small;
}

/// Compares value, gradient against the stored weights and, where it is stored, the whole gradient.
template <eso::Loss L>
void check_golden(const L& loss, const nlohmann::json& entry) {
  CAPTURE(entry.dump());
  const SmallBatch small = golden_batch(entry);
  const eso::LossResult result = evaluate(loss, small);
  CHECK(result.value == Approx(entry.at("value").get<double>()).epsilon(1e-11).margin(1e-12));
  const nlohmann::json& stored = golden_losses().at("batches").at(entry.at("batch").get<std::size_t>());
  double projection = 0;
  for (std::size_t n = 0; n < small.rows.size(); ++n) {
    const auto weights = stored.at("responses").at(n).at("weights").get<std::vector<double>>();
    for (std::size_t t = 0; t < weights.size(); ++t) {
      const double d = result.d_logp(static_cast<eso::Index>(n), static_cast<eso::Index>(t));
      projection += weights[t] * d;
      if (!entry.contains("d_logp")) continue;
      CHECK(d == Approx(entry.at("d_logp").at(n).at(t).get<double>()).epsilon(1e-11).margin(1e-12));
    }
  }
  CHECK(projection == Approx(entry.at("projection").get<double>()).epsilon(1e-11).margin(1e-12));
}
