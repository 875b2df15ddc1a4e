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
#include "eso/data/text_example.hpp"
#include "eso/data/transcript.hpp"
#include "eso/error.hpp"
#include "eso/text/strip.hpp"

namespace eso {

/// The published layouts of JSON lines that training examples come in. `alpaca_prompt` is the template of
/// those that have an instruction.
enum class Format {
  debsum,           ///< `document`, `summary`: "{document}\nSynopsis:" and " {summary}"
  xsum,             ///< `document`, `summary`: instruction `xsum_instruction`, the document as its input
  dolly,            ///< `instruction`, `context` (may be empty or missing), `response`
  self_instruct,    ///< `instruction`, `instances[0].input` (may be empty or missing), `instances[0].output`
  hh,               ///< `chosen`, `rejected`: transcripts, split after their last "\n\nAssistant:"
  preference,       ///< `prompt`, `chosen`, `rejected`: as they are
  prompt_response,  ///< `prompt`, `response`: as they are
  text,             ///< `text`: no prompt, for pretraining
};

/// The names of the formats, in the order of `Format`.
inline constexpr std::array<std::string_view, 8> format_names = {
    "debsum", "xsum", "dolly", "self-instruct", "hh", "preference", "prompt-response", "text"};

/// Whether the examples of a format are preference pairs.
inline bool holds_pairs(Format format) { return format == Format::hh || format == Format::preference; }

/// XSum has no published instruction; this one is ours.
inline constexpr std::string_view xsum_instruction = "Summarize the following article in one sentence.";

/// The format of a name such as `self-instruct`. `where` is what an error names: the flag.
///
/// \throws Error (input) that lists the names.
inline Format format_named(std::string_view name, std::string_view where = "format") {
  for (std::size_t i = 0; i < format_names.size(); ++i) {
    if (format_names[i] == name) return static_cast<Format>(i);
  }
  if (name == "vicuna") {
    throw input_error(std::string(where), fmt::format("format {} is not there yet", name));
  }
  throw input_error(std::string(where), "unknown format", std::string(name),
                    fmt::format("{}", fmt::join(format_names, ", ")));
}

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

/// What a format leaves open.
struct FormatOptions {
  TranscriptSplit transcripts = TranscriptSplit::strict;  ///< of `hh`
};

/// Makes examples of lines, one after the other, and counts those that it leaves out.
class ExampleReader {
 public:
  explicit ExampleReader(Format format, FormatOptions options = {})
      : format_(format), options_(std::move(options)) {}

  std::size_t other_prompts = 0;    ///< `hh`: left out, the two transcripts do not answer the same prompt
  std::size_t empty_responses = 0;  ///< `hh`: left out, a response is nothing but white space

  /// The example of a line, or nothing if it is one to leave out; `number` stays 0.
  ///
  /// \throws Error (input) with the line's place if a field is missing or no string, a text that has to say
  ///         something is nothing but white space, a transcript has no assistant turn, or the responses of a
  ///         pair are the same.
  std::optional<TextExample> operator()(const JsonLines& line) {
    switch (format_) {
      case Format::debsum:
        return TextExample{.prompt = line.string("document") + "\nSynopsis:",
                           .response = " " + line.string("summary")};
      case Format::xsum:
        return TextExample{.prompt = alpaca_prompt(xsum_instruction, line.string("document")),
                           .response = line.string("summary")};
      case Format::dolly:
        return TextExample{
            .prompt = alpaca_prompt(line.string("instruction"), line.optional_string("context").value_or("")),
            .response = line.string("response")};
      case Format::self_instruct:
        return self_instruct_example(line);
      case Format::hh:
        return transcripts(line);
      case Format::preference:
        return preference(line);
      case Format::prompt_response:
        return TextExample{.prompt = line.string("prompt"), .response = line.string("response")};
      case Format::text:
        return TextExample{.prompt = {}, .response = line.string("text")};
    }
    throw input_error("ExampleReader", "unknown format", std::to_string(static_cast<int>(format_)));
  }

 private:
  /// A text that is more than white space.
  static std::string said(const JsonLines& line, std::string_view field) {
    std::string text = line.string(field);
    if (strip(text).empty()) throw input_error(line.where(), fmt::format("field \"{}\" is empty", field));
    return text;
  }

  static TextExample pair(std::string_view prompt, std::string_view chosen, std::string_view rejected) {
    return {.prompt = std::string(prompt),
            .response = std::string(chosen),
            .pair = true,
            .rejected = std::string(rejected)};
  }

  static void check_differ(const JsonLines& line, std::string_view chosen, std::string_view rejected) {
    if (chosen == rejected) throw input_error(line.where(), "\"chosen\" and \"rejected\" are the same");
  }

  static TextExample preference(const JsonLines& line) {
    TextExample example = pair(said(line, "prompt"), said(line, "chosen"), said(line, "rejected"));
    check_differ(line, example.response, example.rejected);
    return example;
  }

  std::optional<TextExample> transcripts(const JsonLines& line) {
    const std::string chosen = line.string("chosen"), rejected = line.string("rejected");
    const TranscriptPair cut = split_transcripts(chosen, rejected, options_.transcripts, line.where());
    if (options_.transcripts == TranscriptSplit::strict) {
      if (!cut.same_prompt) return ++other_prompts, std::nullopt;
      if (strip(cut.chosen).empty() || strip(cut.rejected).empty()) return ++empty_responses, std::nullopt;
      check_differ(line, cut.chosen, cut.rejected);
    }
    return pair(cut.prompt, cut.chosen, cut.rejected);
  }

  Format format_;
  FormatOptions options_;
};

/// What the files hold.
struct TextExamples {
  std::vector<TextExample> examples;
  std::size_t other_prompts = 0;    ///< lines left out, see `ExampleReader`
  std::size_t empty_responses = 0;  ///< lines left out, see `ExampleReader`
};

/// All examples of the files, in order. A name that ends in `.gz` is read through zlib.
///
/// \throws Error as `JsonLines` and `ExampleReader` do, and (input) if there is not a single example.
inline TextExamples read_examples(std::span<const std::filesystem::path> files, Format format,
                                  FormatOptions options = {}) {
  require(!files.empty(), "read_examples", "no file is given");
  ExampleReader reader(format, std::move(options));
  TextExamples result;
  std::size_t lines_before = 0;
  for (const std::filesystem::path& file : files) {
    JsonLines lines(file);
    while (lines.next()) {
      std::optional<TextExample> example = reader(lines);
      if (!example) continue;
      example->number = static_cast<Index>(lines_before + lines.number() - 1);
      example->where = lines.where();
      result.examples.push_back(std::move(*example));
    }
    lines_before += lines.number();
  }
  result.other_prompts = reader.other_prompts;
  result.empty_responses = reader.empty_responses;
  if (!result.examples.empty()) return result;
  const std::size_t left_out = result.other_prompts + result.empty_responses;
  throw input_error(files.front().string(),
                    left_out == 0 ? "no example in it" : fmt::format("no example is left of {}", left_out));
}

}  // namespace eso
