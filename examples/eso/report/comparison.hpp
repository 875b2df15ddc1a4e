// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "report/numbers.hpp"

namespace eso_program {

/// A mean with its standard deviation over seeds, `missing` where there is one seed.
struct Figure {
  double mean = missing;
  double std = missing;
};

/// What an evaluation found at one temperature.
struct TemperatureResult {
  double temperature = missing;
  std::size_t seeds = 0;
  Figure rouge_1, rouge_2, rouge_l, length, entropy, eos_rate;
};

/// ROUGE-L of an arm minus that of the baseline, paired over examples; in [-1, 1].
struct Paired {
  double temperature = missing, difference = missing, standard_error = missing, low = missing, high = missing;
};

/// A point of the curve over decoding temperatures.
struct CurvePoint {
  double temperature = missing, rouge_l = missing, entropy = missing;
};

/// A method of the comparison with its settings. Lists by training seed stand in the order of the seeds.
struct Arm {
  std::string name, flags, method;
  bool never_on = false;  ///< its runs ended before its method began
  std::vector<std::vector<TemperatureResult>> results;
  std::vector<double> nll, train_seconds;
  std::vector<std::vector<CurvePoint>> curves;
  std::vector<std::string> runs;
  std::vector<Paired> paired;
};

/// ROUGE of the first words of each document.
struct Lead {
  double words = missing, rouge_1 = missing, rouge_2 = missing, rouge_l = missing;
};

/// One arm's answers to an example.
struct Answer {
  std::string arm, greedy, sampled;
  double greedy_rouge_l = missing, sampled_rouge_l = missing;
};

/// An evaluation example with the answers of all arms.
struct ComparedExample {
  double number = missing;
  std::string prompt, reference;
  std::vector<Answer> answers;
};

/// The content of `comparison.json`, arms in the order shown.
struct Comparison {
  std::vector<Arm> arms;
  std::optional<std::size_t> baseline;  ///< index of the arm that the others are compared with
  double examples = missing;
  std::optional<Lead> lead;
  std::vector<ComparedExample> compared_examples;
  nlohmann::json settings;

  /// All temperatures evaluated, hottest first, greedy (0) last.
  std::vector<double> temperatures() const;
  const Arm* baseline_arm() const { return baseline ? &arms[*baseline] : nullptr; }
  std::string baseline_name() const { return baseline ? arms[*baseline].name : std::string("the baseline"); }
  /// The format of the examples evaluated on, empty where `settings` does not say.
  std::string evaluation_format() const;
  /// The largest number of training seeds of an arm.
  std::size_t training_seeds() const;
};

/// Reads the JSON value. Errors: a field of the wrong type, an arm of `order` that `methods` lacks; `where`
/// names the file.
Comparison read_comparison(const nlohmann::json& value, const std::string& where);

/// The figure of an arm at a temperature: the mean over training seeds with the standard deviation over them,
/// or, of a single training seed, over its sampling seeds.
Figure figure_at(const Arm& arm, double temperature, Figure TemperatureResult::* member);

/// The values of the single training seeds behind `figure_at`.
std::vector<double> values_at(const Arm& arm, double temperature, Figure TemperatureResult::* member);

/// The paired difference of an arm at a temperature, if the file holds one.
std::optional<Paired> paired_at(const Arm& arm, double temperature);

/// The mean and the standard deviation of the values that are not missing.
Figure figure_of(const std::vector<double>& values);

/// The curve over decoding temperatures, averaged over training seeds, in the order of the first. At
/// temperature 0 the entropy is 0: that of a distribution with one outcome.
std::vector<CurvePoint> mean_curve(const Arm& arm);

/// ROUGE-L of a curve at an entropy, linear between its points; missing outside of it.
double interpolated(const std::vector<CurvePoint>& curve, double entropy);

}  // namespace eso_program
