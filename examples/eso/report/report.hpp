// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace eso_program {

/// The report on one run: a self-contained HTML page from `config.toml`, `metrics.jsonl`, `completions.jsonl`
/// and, if it is there, `eval.json` of the directory.
///
/// What a file lacks is left out. Errors: neither `config.toml` nor `metrics.jsonl` is there; a line that is
/// no JSON object, or a field of another type, named PATH:LINE.
std::string run_report(const std::filesystem::path& run_directory);

/// The report on a comparison: a self-contained HTML page from `comparison.json` of the directory and the
/// runs that it names.
///
/// Errors: `comparison.json` is missing or has a field of another type; a run that lies outside the
/// directory; a broken line of a run's files, named PATH:LINE.
std::string comparison_report(const std::filesystem::path& directory);

/// The comparison as plain text for a terminal, at most 110 columns wide: a row a method and one for the lead
/// baseline. Errors: a field of another type.
std::string comparison_table(const nlohmann::json& comparison);

}  // namespace eso_program
