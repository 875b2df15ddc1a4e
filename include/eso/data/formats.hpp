// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/json_lines.hpp"
#include "eso/error.hpp"

namespace eso {

/// The published layouts of JSON lines that training examples come in. `alpaca_prompt` is the template of
/// those that have an instruction.
enum class Format {
  debsum,           ///< `document`, `summary`: "{document}\nSynopsis:" and " {summary}"
  xsum,             ///< `document`, `summary`: instruction `xsum_instruction`, the document as its input
  dolly,            ///< `instruction`, `context` (may be empty or missing), `response`
  self_instruct,    ///< `instruction`, `instances[0].input` (may be empty or missing), `instances[0].output`
  prompt_response,  ///< `prompt`, `response`: as they are
  text,             ///< `text`: no prompt, for pretraining
};

/// The names of the formats, in the order of `Format`.
inline constexpr std::array<std::string_view, 6> format_names = {
    "debsum", "xsum", "dolly", "self-instruct", "prompt-response", "text"};

/// XSum has no published instruction; this one is ours.
inline constexpr std::string_view xsum_instruction = "Summarize the following article in one sentence.";

/// The format of a name such as `self-instruct`. `where` is what an error names: the flag.
///
/// \throws Error (input) that lists the names.
inline Format format_named(std::string_view name, std::string_view where = "format") {
  for (std::size_t i = 0; i < format_names.size(); ++i) {
    if (format_names[i] == name) return static_cast<Format>(i);
  }
  if (name == "vicuna" || name == "hh" || name == "preference") {
    throw input_error(std::string(where), fmt::format("format {} is not there yet", name));
  }
  throw input_error(std::string(where), "unknown format", std::string(name),
                    fmt::format("{}", fmt::join(format_names, ", ")));
}

/// A prompt and the response to it, as text.
struct TextExample {
  std::string prompt;
  std::string response;
  Index number = 0;     ///< 0-based line over all files, blank lines counted: the example's name in logs
  std::string where{};  ///< `PATH:LINE`, for errors
};

/// The prompt of an instruction with its input, which may be empty: ends with "### Response:\n".
///
/// Source: Stanford Alpaca's two templates, as MiniLLM and the ESO paper's code use them.
inline std::string alpaca_prompt(std::string_view instruction, std::string_view input) {
  if (input.empty()) {
    return fmt::format(
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\n{}\n\n### Response:\n",
        instruction);
  }
  return fmt::format(
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a "
      "response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n"
      "### Response:\n",
      instruction, input);
}

/// `instances[0]` of a line of Self-Instruct as prompt and response.
///
/// \throws Error (input) if it is not there or `input` or `output` is no string.
inline TextExample self_instruct_example(const JsonLines& line) {
  const auto refuse = [&](std::string_view what) {
    return input_error(line.where(), std::string(what), {},
                       "\"instances\": [{\"input\": .., \"output\": ..}]");
  };
  if (!line.has("instances")) throw refuse("field \"instances\" is missing");
  const nlohmann::json& instances = line.object()["instances"];
  if (!instances.is_array() || instances.empty() || !instances[0].is_object()) {
    throw refuse("field \"instances\" has the wrong type");
  }
  const auto text = [&](const char* field) -> std::optional<std::string> {
    const auto value = instances[0].find(field);
    if (value == instances[0].end() || value->is_null()) return std::nullopt;
    if (!value->is_string()) throw refuse(fmt::format("field \"instances[0].{}\" has the wrong type", field));
    return value->get<std::string>();
  };
  const auto output = text("output");
  if (!output) throw refuse("field \"instances[0].output\" is missing");
  return {.prompt = alpaca_prompt(line.string("instruction"), text("input").value_or("")),
          .response = *output};
}

/// Prompt and response of a line; `number` is left 0.
///
/// \throws Error (input) with the line's place if a field is missing or no string.
inline TextExample text_example(const JsonLines& line, Format format) {
  switch (format) {
    case Format::debsum:
      return {.prompt = line.string("document") + "\nSynopsis:", .response = " " + line.string("summary")};
    case Format::xsum:
      return {.prompt = alpaca_prompt(xsum_instruction, line.string("document")),
              .response = line.string("summary")};
    case Format::dolly:
      return {
          .prompt = alpaca_prompt(line.string("instruction"), line.optional_string("context").value_or("")),
          .response = line.string("response")};
    case Format::self_instruct:
      return self_instruct_example(line);
    case Format::prompt_response:
      return {.prompt = line.string("prompt"), .response = line.string("response")};
    case Format::text:
      return {.prompt = {}, .response = line.string("text")};
  }
  throw input_error("text_example", "unknown format", std::to_string(static_cast<int>(format)));
}

/// All examples of the files, in order. A name that ends in `.gz` is read through zlib.
///
/// \throws Error as `JsonLines` and `text_example` do, and (input) if there is not a single example.
inline std::vector<TextExample> read_examples(std::span<const std::filesystem::path> files, Format format) {
  require(!files.empty(), "read_examples", "no file is given");
  std::vector<TextExample> examples;
  std::size_t lines_before = 0;
  for (const std::filesystem::path& file : files) {
    JsonLines lines(file);
    while (lines.next()) {
      TextExample& example = examples.emplace_back(text_example(lines, format));
      example.number = static_cast<Index>(lines_before + lines.number() - 1);
      example.where = lines.where();
    }
    lines_before += lines.number();
  }
  if (examples.empty()) throw input_error(files.front().string(), "no example in it");
  return examples;
}

}  // namespace eso
