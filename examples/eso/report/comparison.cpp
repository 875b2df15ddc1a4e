// SPDX-License-Identifier: MIT
#include "report/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "eso/error.hpp"
#include "eso/eval/statistics.hpp"
#include "report/records.hpp"

namespace eso_program {
namespace {

using nlohmann::json;

/// The member `key` if it is of the wanted type; null where absent or null. Errors: another type.
const json& member(const json& object, std::string_view key, json::value_t type, const std::string& where) {
  static const json null;
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return null;
  if (found->type() != type) {
    throw eso::input_error(where, fmt::format("field \"{}\"", key), found->type_name(),
                           json(type).type_name());
  }
  return *found;
}

const json& list(const json& object, std::string_view key, const std::string& where) {
  return member(object, key, json::value_t::array, where);
}

const json& object_of(const json& parent, std::string_view key, const std::string& where) {
  return member(parent, key, json::value_t::object, where);
}

void require_object(const json& value, const std::string& what, const std::string& where) {
  if (!value.is_object()) throw eso::input_error(where, what, value.type_name(), "an object");
}

Figure figure(const json& parent, std::string_view key, const std::string& where) {
  const json& found = object_of(parent, key, where);
  if (found.is_null()) return {};
  return {number_or_missing(found, "mean", where), number_or_missing(found, "std", where)};
}

std::vector<double> numbers(const json& parent, std::string_view key, const std::string& where) {
  std::vector<double> out;
  for (const json& value : list(parent, key, where)) {
    if (!value.is_number() && !value.is_null()) {
      throw eso::input_error(where, fmt::format("field \"{}\"", key), value.type_name(), "numbers or null");
    }
    out.push_back(value.is_null() ? missing : value.get<double>());
  }
  return out;
}

std::vector<std::string> texts(const json& parent, std::string_view key, const std::string& where) {
  std::vector<std::string> out;
  for (const json& value : list(parent, key, where)) {
    if (!value.is_string()) {
      throw eso::input_error(where, fmt::format("field \"{}\"", key), value.type_name(), "strings");
    }
    out.push_back(value.get<std::string>());
  }
  return out;
}

TemperatureResult temperature_result(const json& value, const std::string& where) {
  require_object(value, "an entry of \"results\"", where);
  TemperatureResult out;
  out.temperature = number_or_missing(value, "temperature", where);
  out.seeds = list(value, "seeds", where).size();
  out.rouge_1 = figure(value, "rouge1", where);
  out.rouge_2 = figure(value, "rouge2", where);
  out.rouge_l = figure(value, "rougeL", where);
  out.length = figure(value, "length", where);
  out.entropy = figure(value, "entropy", where);
  out.eos_rate = figure(value, "eos_rate", where);
  return out;
}

std::vector<CurvePoint> curve(const json& value, const std::string& where) {
  if (!value.is_array())
    throw eso::input_error(where, "an entry of \"curve\"", value.type_name(), "an array");
  std::vector<CurvePoint> out;
  for (const json& point : value) {
    require_object(point, "a point of \"curve\"", where);
    out.push_back({number_or_missing(point, "temperature", where), number_or_missing(point, "rougeL", where),
                   number_or_missing(point, "entropy", where)});
  }
  return out;
}

Arm arm_of(const std::string& name, const json& value, const std::string& where, double& examples) {
  require_object(value, "a method", where);
  Arm arm;
  arm.name = name;
  arm.flags = text_or_empty(value, "flags", where);
  arm.method = text_or_empty(value, "method", where);
  const json& never_on = member(value, "never_on", json::value_t::boolean, where);
  arm.never_on = !never_on.is_null() && never_on.get<bool>();
  for (const json& evaluation : list(value, "eval", where)) {
    require_object(evaluation, "an entry of \"eval\"", where);
    arm.nll.push_back(number_or_missing(evaluation, "nll", where));
    examples = std::fmax(examples, number_or_missing(evaluation, "examples", where));
    std::vector<TemperatureResult>& results = arm.results.emplace_back();
    for (const json& result : list(evaluation, "results", where))
      results.push_back(temperature_result(result, where));
  }
  for (const json& one : list(value, "curve", where)) arm.curves.push_back(curve(one, where));
  arm.train_seconds = numbers(value, "train_seconds", where);
  arm.runs = texts(value, "runs", where);
  for (const json& one : list(value, "paired", where)) {
    require_object(one, "an entry of \"paired\"", where);
    arm.paired.push_back({number_or_missing(one, "temperature", where),
                          number_or_missing(one, "difference", where),
                          number_or_missing(one, "standard_error", where),
                          number_or_missing(one, "low", where), number_or_missing(one, "high", where)});
  }
  return arm;
}

ComparedExample example_of(const json& value, const std::vector<Arm>& arms, const std::string& where) {
  require_object(value, "an entry of \"examples\"", where);
  ComparedExample out;
  out.number = number_or_missing(value, "example", where);
  out.prompt = text_or_empty(value, "prompt", where);
  out.reference = text_or_empty(value, "reference", where);
  const json& responses = object_of(value, "responses", where);
  for (const Arm& arm : arms) {
    if (responses.is_null()) break;
    const json& of_arm = object_of(responses, arm.name, where);
    if (of_arm.is_null()) continue;
    Answer answer;
    answer.arm = arm.name;
    const json& greedy = object_of(of_arm, "greedy", where);
    const json& sampled = object_of(of_arm, "sampled", where);
    if (!greedy.is_null()) {
      answer.greedy = text_or_empty(greedy, "text", where);
      answer.greedy_rouge_l = number_or_missing(greedy, "rougeL", where);
    }
    if (!sampled.is_null()) {
      answer.sampled = text_or_empty(sampled, "text", where);
      answer.sampled_rouge_l = number_or_missing(sampled, "rougeL", where);
    }
    out.answers.push_back(std::move(answer));
  }
  return out;
}

}  // namespace

Comparison read_comparison(const json& value, const std::string& where) {
  require_object(value, "the comparison", where);
  Comparison out;
  const json& methods = object_of(value, "methods", where);
  if (methods.is_null()) throw eso::input_error(where, "no object \"methods\"");
  std::vector<std::string> order = texts(value, "order", where);
  if (order.empty()) {
    for (const auto& [name, unused] : methods.items()) order.push_back(name);
  }
  const std::string baseline = text_or_empty(value, "baseline", where);
  for (const std::string& name : order) {
    const auto found = methods.find(name);
    if (found == methods.end())
      throw eso::input_error(where, fmt::format("\"order\" names \"{}\"", name), {}, "a name of \"methods\"");
    if (name == baseline) out.baseline = out.arms.size();
    out.arms.push_back(arm_of(name, *found, fmt::format("{}: method \"{}\"", where, name), out.examples));
  }
  const json& lead = object_of(value, "lead", where);
  if (!lead.is_null()) {
    out.lead = Lead{number_or_missing(lead, "words", where), number_or_missing(lead, "rouge1", where),
                    number_or_missing(lead, "rouge2", where), number_or_missing(lead, "rougeL", where)};
  }
  for (const json& example : list(value, "examples", where)) {
    out.compared_examples.push_back(example_of(example, out.arms, where));
  }
  out.settings = object_of(value, "settings", where);
  return out;
}

std::vector<double> Comparison::temperatures() const {
  std::set<double, std::greater<>> all;
  for (const Arm& arm : arms) {
    for (const auto& results : arm.results) {
      for (const TemperatureResult& result : results) {
        if (std::isfinite(result.temperature)) all.insert(result.temperature);
      }
    }
  }
  return {all.begin(), all.end()};
}

std::string Comparison::evaluation_format() const {
  if (!settings.is_object()) return {};
  const auto found = settings.find("evaluation_format");
  return found != settings.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::size_t Comparison::training_seeds() const {
  std::size_t most = 0;
  for (const Arm& arm : arms) most = std::max(most, arm.results.size());
  return most;
}

Figure figure_of(const std::vector<double>& values) {
  std::vector<double> there;
  for (const double value : values) {
    if (std::isfinite(value)) there.push_back(value);
  }
  if (there.empty()) return {};
  const eso::MeanStd result = eso::mean_std(there);
  return {result.mean, result.std.value_or(missing)};
}

std::vector<double> values_at(const Arm& arm, double temperature, Figure TemperatureResult::* member) {
  std::vector<double> values;
  for (const auto& results : arm.results) {
    for (const TemperatureResult& result : results) {
      if (result.temperature == temperature) values.push_back((result.*member).mean);
    }
  }
  return values;
}

Figure figure_at(const Arm& arm, double temperature, Figure TemperatureResult::* member) {
  if (arm.results.size() > 1) return figure_of(values_at(arm, temperature, member));
  for (const auto& results : arm.results) {
    for (const TemperatureResult& result : results) {
      if (result.temperature == temperature) return result.*member;
    }
  }
  return {};
}

std::optional<Paired> paired_at(const Arm& arm, double temperature) {
  for (const Paired& paired : arm.paired) {
    if (paired.temperature == temperature && std::isfinite(paired.difference)) return paired;
  }
  return std::nullopt;
}

std::vector<CurvePoint> mean_curve(const Arm& arm) {
  std::vector<CurvePoint> out;
  if (arm.curves.empty()) return out;
  for (const CurvePoint& point : arm.curves.front()) {
    std::vector<double> scores;
    std::vector<double> entropies;
    for (const auto& curve : arm.curves) {
      for (const CurvePoint& other : curve) {
        if (other.temperature != point.temperature) continue;
        scores.push_back(other.rouge_l);
        entropies.push_back(other.entropy);
      }
    }
    const double entropy = point.temperature == 0 ? 0 : figure_of(entropies).mean;
    const CurvePoint mean{point.temperature, figure_of(scores).mean, entropy};
    if (std::isfinite(mean.temperature + mean.rouge_l + mean.entropy)) out.push_back(mean);
  }
  return out;
}

double interpolated(const std::vector<CurvePoint>& curve, double entropy) {
  std::vector<CurvePoint> sorted = curve;
  std::sort(sorted.begin(), sorted.end(),
            [](const CurvePoint& a, const CurvePoint& b) { return a.entropy < b.entropy; });
  if (sorted.size() == 1 && sorted.front().entropy == entropy) return sorted.front().rouge_l;
  for (std::size_t i = 0; i + 1 < sorted.size(); ++i) {
    const CurvePoint& a = sorted[i];
    const CurvePoint& b = sorted[i + 1];
    if (entropy < a.entropy || entropy > b.entropy) continue;
    const double width = b.entropy - a.entropy;
    const double share = width > 0 ? (entropy - a.entropy) / width : 0;
    return a.rouge_l + share * (b.rouge_l - a.rouge_l);
  }
  return missing;
}

}  // namespace eso_program
