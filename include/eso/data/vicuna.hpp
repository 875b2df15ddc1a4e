// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "eso/data/json_lines.hpp"
#include "eso/error.hpp"

namespace eso {

/// Reference answers to Vicuna's questions, whose own file has none: the text by the id of its question.
using Answers = std::map<std::string, std::string>;

/// The `question_id` of a line, an integer or a string, as JSON.
///
/// \throws Error (input) with the line's place if it is missing or anything else.
inline std::string question_id(const JsonLines& line) {
  if (!line.has("question_id")) throw input_error(line.where(), "field \"question_id\" is missing");
  const nlohmann::json id = line.value("question_id");
  if (!id.is_number_integer() && !id.is_string()) {
    throw input_error(line.where(), "field \"question_id\" has the wrong type", JsonLines::kind_of(id.dump()),
                      "an integer or a string");
  }
  return id.dump();
}

/// Reads answers: JSON lines with `question_id` and `text`, also `.gz`. `between` is called before each line.
///
/// \throws Error as `JsonLines` does, and (input) with the line's place if a field is missing or of the wrong
///         type, or a question is answered twice.
inline Answers read_answers(const std::filesystem::path& file, const std::function<void()>& between = {}) {
  Answers answers;
  JsonLines line(file);
  line.between = between;
  while (line.next()) {
    std::string id = question_id(line), text = line.string("text");
    if (!answers.emplace(std::move(id), std::move(text)).second) {
      throw input_error(line.where(), fmt::format("question {:.60} is answered twice", question_id(line)));
    }
  }
  return answers;
}

}  // namespace eso
