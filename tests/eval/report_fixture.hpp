// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "eso/error.hpp"

/// What the tests of the report pages share: folders, searching a page, and small comparisons.
namespace report_fixture {

using nlohmann::json;

/// A fresh directory that goes with the test.
struct Folder {
  std::filesystem::path path;
  explicit Folder(const std::string& name)
      : path(std::filesystem::temp_directory_path() / ("eso_report_" + name + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
  }
};

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

inline std::string what_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const eso::Error& error) {
    return error.what();
  }
  return "no error";
}

inline json result(double temperature, double rouge_l, double entropy) {
  const json std_of = temperature == 0 ? json(nullptr) : json(0.002);
  return {{"temperature", temperature},
          {"seeds", temperature == 0 ? json{10} : json{10, 20}},
          {"rouge1", {{"mean", rouge_l + 0.02}, {"std", std_of}}},
          {"rouge2", {{"mean", rouge_l / 2}, {"std", std_of}}},
          {"rougeL", {{"mean", rouge_l}, {"std", std_of}}},
          {"length", {{"mean", 11.0}, {"std", nullptr}}},
          {"entropy", {{"mean", entropy}, {"std", nullptr}}},
          {"eos_rate", {{"mean", 0.98}, {"std", nullptr}}}};
}

/// An arm by its ROUGE-L at T=1 and greedy and its entropy at T=1.
inline json method(double sampled, double greedy, double entropy) {
  return {{"flags", "--method eso"},
          {"method", "eso"},
          {"eval",
           {{{"examples", 500},
             {"nll", 3.25},
             {"results", {result(1, sampled, entropy), result(0, greedy, entropy)}}}}},
          {"train_seconds", {103.4}},
          {"runs", json::array()}};
}

inline json paired(double temperature, double low, double high) {
  return {{"temperature", temperature},
          {"difference", (low + high) / 2},
          {"standard_error", (high - low) / 3.92},
          {"low", low},
          {"high", high}};
}

/// A baseline of 16.0 sampled and 27.0 greedy, and one arm.
inline json comparison_with(const json& arm) {
  return {{"methods", {{"SFT", method(0.16, 0.27, 2.74)}, {"arm", arm}}},
          {"order", {"SFT", "arm"}},
          {"baseline", "SFT"},
          {"lead", {{"words", 12}, {"rouge1", 0.346}, {"rouge2", 0.159}, {"rougeL", 0.3}}},
          {"examples", json::array()},
          {"settings", {{"threads", 2}}}};
}

inline json arm_with(double sampled, double greedy, double entropy, const std::vector<json>& differences) {
  json arm = method(sampled, greedy, entropy);
  arm["paired"] = differences;
  return arm;
}

/// A line of completions.jsonl at T=1; the advantage is taken against .2.
inline std::string completion_line(int step, int example, int sample, const std::string& response,
                                   double reward) {
  return json{{"step", step},         {"example", example},
              {"sample", sample},     {"kind", "sample"},
              {"temperature", 1},     {"prompt", "the prompt"},
              {"response", response}, {"response_ids", {1, 2, 3}},
              {"reward", reward},     {"advantage", reward - 0.2},
              {"finish", "eos"},      {"reference", "the reference"}}
             .dump() +
         "\n";
}

}  // namespace report_fixture
