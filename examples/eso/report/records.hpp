// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace eso_program {

/// A number of `object`, `missing` where it is absent or null. Errors: anything else, named with `where`.
double number_or_missing(const nlohmann::json& object, std::string_view key, const std::string& where);

/// A text of `object`, empty where it is absent or null. Errors: anything else, named with `where`.
std::string text_or_empty(const nlohmann::json& object, std::string_view key, const std::string& where);

/// Whether a file is there that can be told to be one.
bool is_file(const std::filesystem::path& path);

/// The whole content of a file. Errors: it cannot be read.
std::string read_text(const std::filesystem::path& path);

/// Parses a file that holds one JSON object. Errors: it cannot be read, or holds anything else.
nlohmann::json read_json(const std::filesystem::path& path);

/// The value of a top-level `key = value` line of a TOML text, without its quotes; empty where there is none.
std::string toml_value(std::string_view text, std::string_view key);

/// What a line of a JSON-lines file holds and where it stands.
struct Line {
  nlohmann::json object;
  std::string where;       ///< "PATH:LINE"
  std::size_t number = 0;  ///< 1-based, blank lines counted
  std::uint64_t offset = 0;
};

/// Calls `visit` with each line that is not blank, from `start` on, until it returns false. Errors: the file
/// cannot be read; a line that is no JSON object, named PATH:LINE.
void for_each_line(const std::filesystem::path& path, const Line& start,
                   const std::function<bool(const Line&)>& visit);

/// `metrics.jsonl` by columns, a value a step; `missing` where a line lacks the field.
struct Metrics {
  std::vector<double> step;
  std::vector<bool> active;
  std::map<std::string, std::vector<double>> columns;

  /// The column, or one of missing values.
  std::vector<double> column(const std::string& name) const;
  /// Whether any step has the field.
  bool has(const std::string& name) const;
};

/// Reads the fields that the pages plot. Errors: as `for_each_line`; a step that is missing, a field of
/// another type.
Metrics read_metrics(const std::filesystem::path& path);

/// A line of `completions.jsonl`.
struct Completion {
  double step = 0, example = 0, sample = 0;
  std::string kind;
  double temperature = 0, reward = 0, advantage = 0;
  std::string prompt, response, reference, finish;
  double tokens = 0;
};

/// The rewards of the responses that share kind, sample number and temperature: their mean at each step.
struct RewardStream {
  std::string kind;
  double sample = 0, temperature = 0;
  std::vector<double> step, reward;
};

/// What one pass over `completions.jsonl` leaves: where each step starts, and the rewards by stream.
struct CompletionIndex {
  struct Step {
    double step = 0;
    Line first;  ///< only the place; no object
  };
  std::vector<Step> steps;
  std::vector<RewardStream> streams;
  std::size_t responses = 0;
};

/// Reads the file once, keeping no text. Errors: as `for_each_line`; a field of another type.
CompletionIndex index_completions(const std::filesystem::path& path);

/// The responses to the first `examples` examples of a step. Errors: as `index_completions`.
std::vector<Completion> read_completions(const std::filesystem::path& path, const CompletionIndex::Step& step,
                                         std::size_t examples);

}  // namespace eso_program
