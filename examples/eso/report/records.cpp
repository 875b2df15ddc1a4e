// SPDX-License-Identifier: MIT
#include "report/records.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <tuple>

#include "eso/error.hpp"
#include "eso/text/json_file.hpp"
#include "report/numbers.hpp"

namespace eso_program {
namespace {

using nlohmann::json;

/// Fields of `metrics.jsonl` that the pages show, beside `loss/<method>`.
bool is_shown(std::string_view key) {
  static constexpr std::string_view shown[] = {"epoch",
                                               "loss",
                                               "grad_norm",
                                               "learning_rate",
                                               "num_tokens",
                                               "step_time",
                                               "reward",
                                               "reward_std",
                                               "entropy",
                                               "completions/mean_length",
                                               "completions/min_length",
                                               "completions/max_length",
                                               "completions/clipped_ratio",
                                               "frac_reward_zero_std",
                                               "rewards/chosen",
                                               "rewards/rejected",
                                               "rewards/accuracies",
                                               "rewards/margins",
                                               "logps/chosen",
                                               "logps/rejected"};
  return std::find(std::begin(shown), std::end(shown), key) != std::end(shown) || key.starts_with("loss/");
}

double required_number(const json& object, std::string_view key, const std::string& where) {
  const double value = number_or_missing(object, key, where);
  if (!std::isfinite(value)) throw eso::input_error(where, fmt::format("no number \"{}\"", key));
  return value;
}

Completion completion_of(const Line& line) {
  const json& object = line.object;
  Completion out;
  out.step = required_number(object, "step", line.where);
  out.example = required_number(object, "example", line.where);
  out.sample = number_or_missing(object, "sample", line.where);
  out.kind = text_or_empty(object, "kind", line.where);
  out.temperature = number_or_missing(object, "temperature", line.where);
  out.reward = number_or_missing(object, "reward", line.where);
  out.advantage = number_or_missing(object, "advantage", line.where);
  out.prompt = text_or_empty(object, "prompt", line.where);
  out.response = text_or_empty(object, "response", line.where);
  out.reference = text_or_empty(object, "reference", line.where);
  out.finish = text_or_empty(object, "finish", line.where);
  const auto ids = object.find("response_ids");
  out.tokens = ids != object.end() && ids->is_array() ? static_cast<double>(ids->size()) : missing;
  return out;
}

/// Sums of a stream at one step.
struct Sum {
  double total = 0, count = 0;
};
using StreamKey = std::tuple<std::string, double, double>;  // kind, sample, temperature (-1 for none)

/// Ends a step: appends the means of its sums to their streams.
void flush(std::map<StreamKey, Sum>& sums, double step, std::map<StreamKey, RewardStream>& streams) {
  constexpr std::size_t most_streams = 64;
  for (const auto& [key, sum] : sums) {
    if (!streams.contains(key) && streams.size() >= most_streams) continue;
    RewardStream& stream = streams[key];
    std::tie(stream.kind, stream.sample, stream.temperature) = key;
    stream.step.push_back(step);
    stream.reward.push_back(sum.total / sum.count);
  }
  sums.clear();
}

}  // namespace

double number_or_missing(const json& object, std::string_view key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return missing;
  if (!found->is_number()) {
    throw eso::input_error(where, fmt::format("field \"{}\"", key), found->type_name(), "a number or null");
  }
  return found->get<double>();
}

std::string text_or_empty(const json& object, std::string_view key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  if (!found->is_string()) {
    throw eso::input_error(where, fmt::format("field \"{}\"", key), found->type_name(), "a string or null");
  }
  return found->get<std::string>();
}

bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw eso::system_error(path.string(), "cannot be opened");
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) throw eso::system_error(path.string(), "cannot be read");
  return text.str();
}

namespace {

/// Discarded where the text is not JSON, or nested so deep that a copy of it would exhaust the stack.
json parsed(const std::string& text) {
  if (eso::first_nested_beyond(64, text)) return json(json::value_t::discarded);
  return json::parse(text, nullptr, false);
}

}  // namespace

json read_json(const std::filesystem::path& path) {
  json value = parsed(read_text(path));
  if (!value.is_object()) throw eso::input_error(path.string(), "no JSON object");
  return value;
}

std::string toml_value(std::string_view text, std::string_view key) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find_first_not_of(" \t");
    if (first == std::string::npos || line[first] == '#') continue;
    if (line[first] == '[') break;
    const auto equals = line.find('=', first);
    if (equals == std::string::npos) continue;
    const std::string name = line.substr(first, line.find_last_not_of(" \t", equals - 1) + 1 - first);
    if (name != key) continue;
    auto start = line.find_first_not_of(" \t", equals + 1);
    if (start == std::string::npos) return {};
    const char quote = line[start];
    if (quote != '"' && quote != '\'') return line.substr(start, line.find_last_not_of(" \t\r") + 1 - start);
    std::string value;
    for (++start; start < line.size() && line[start] != quote; ++start) {
      if (quote == '"' && line[start] == '\\' && start + 1 < line.size()) ++start;
      value += line[start];
    }
    return value;
  }
  return {};
}

void for_each_line(const std::filesystem::path& path, const Line& start,
                   const std::function<bool(const Line&)>& visit) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw eso::system_error(path.string(), "cannot be opened");
  file.seekg(static_cast<std::streamoff>(start.offset));
  Line line;
  line.offset = start.offset;
  line.number = start.number == 0 ? 1 : start.number;
  std::string text;
  for (; std::getline(file, text); ++line.number) {
    const std::uint64_t next = line.offset + text.size() + 1;
    if (text.find_first_not_of(" \t\r") != std::string::npos) {
      line.where = fmt::format("{}:{}", path.string(), line.number);
      line.object = parsed(text);
      if (!line.object.is_object()) throw eso::input_error(line.where, "not a JSON object");
      if (!visit(line)) return;
    }
    line.offset = next;
  }
  if (file.bad()) throw eso::system_error(path.string(), "cannot be read");
}

std::vector<double> Metrics::column(const std::string& name) const {
  const auto found = columns.find(name);
  return found == columns.end() ? std::vector<double>(step.size(), missing) : found->second;
}

bool Metrics::has(const std::string& name) const {
  const auto found = columns.find(name);
  return found != columns.end() && std::any_of(found->second.begin(), found->second.end(),
                                               [](double value) { return std::isfinite(value); });
}

Metrics read_metrics(const std::filesystem::path& path) {
  constexpr std::size_t most_columns = 40;
  Metrics metrics;
  for_each_line(path, {}, [&](const Line& line) {
    const std::size_t rows = metrics.step.size();
    metrics.step.push_back(required_number(line.object, "step", line.where));
    const auto active = line.object.find("active");
    metrics.active.push_back(active != line.object.end() && active->is_boolean() && active->get<bool>());
    for (const auto& [key, unused] : line.object.items()) {
      if (!is_shown(key) || (!metrics.columns.contains(key) && metrics.columns.size() >= most_columns))
        continue;
      std::vector<double>& column = metrics.columns[key];
      column.resize(rows, missing);
      column.push_back(number_or_missing(line.object, key, line.where));
    }
    return true;
  });
  for (auto& [key, column] : metrics.columns) column.resize(metrics.step.size(), missing);
  return metrics;
}

CompletionIndex index_completions(const std::filesystem::path& path) {
  CompletionIndex index;
  std::map<StreamKey, Sum> sums;
  std::map<StreamKey, RewardStream> streams;
  for_each_line(path, {}, [&](const Line& line) {
    const Completion response = completion_of(line);
    if (index.steps.empty() || index.steps.back().step != response.step) {
      if (!index.steps.empty()) flush(sums, index.steps.back().step, streams);
      Line place;
      place.offset = line.offset;
      place.number = line.number;
      index.steps.push_back({response.step, std::move(place)});
    }
    ++index.responses;
    if (!std::isfinite(response.reward) || response.kind == "reference") return true;
    const double temperature = std::isfinite(response.temperature) ? response.temperature : -1;
    const double sample = std::isfinite(response.sample) ? response.sample : -1;
    Sum& sum = sums[{response.kind, sample, temperature}];
    sum.total += response.reward;
    ++sum.count;
    return true;
  });
  if (!index.steps.empty()) flush(sums, index.steps.back().step, streams);
  for (auto& [key, stream] : streams) index.streams.push_back(std::move(stream));
  return index;
}

std::vector<Completion> read_completions(const std::filesystem::path& path, const CompletionIndex::Step& step,
                                         std::size_t examples) {
  std::vector<Completion> kept;
  std::set<double> seen;
  for_each_line(path, step.first, [&](const Line& line) {
    Completion response = completion_of(line);
    if (response.step != step.step) return false;
    if (!seen.contains(response.example)) {
      if (seen.size() == examples) return true;
      seen.insert(response.example);
    }
    kept.push_back(std::move(response));
    return true;
  });
  return kept;
}

}  // namespace eso_program
