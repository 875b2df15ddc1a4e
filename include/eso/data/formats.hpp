// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/alpaca.hpp"
#include "eso/data/json_lines.hpp"
#include "eso/data/text_example.hpp"
#include "eso/data/transcript.hpp"
#include "eso/data/vicuna.hpp"
#include "eso/error.hpp"
#include "eso/text/strip.hpp"

namespace eso {

/// The published layouts of JSON lines that training examples come in. `alpaca_prompt` is the template of
/// those that have an instruction. A field after a stroke is another spelling: MiniLLM's flattened files.
enum class Format {
  debsum,         ///< `document`, `summary`: "{document}\nSynopsis:" and " {summary}"
  xsum,           ///< `document`, `summary`: instruction `xsum_instruction`, the document as its input
  dolly,          ///< `instruction`, `context`/`input` (may be empty or missing), `response`/`output`
  self_instruct,  ///< `instruction`, `instances[0].input`/`input` (as above), `instances[0].output`/`output`
  vicuna,         ///< `question_id`, `text` or `turns` with one turn; the response from `Answers`
  hh,             ///< `chosen`, `rejected`: transcripts, split after their last "\n\nAssistant:"
  preference,     ///< `prompt`, `chosen`, `rejected`: as they are
  prompt_response,  ///< `prompt`, `response`: as they are
  text,             ///< `text`: no prompt, for pretraining
};

/// The names of the formats, in the order of `Format`.
inline constexpr std::array<std::string_view, 9> format_names = {
    "debsum", "xsum", "dolly", "self-instruct", "vicuna", "hh", "preference", "prompt-response", "text"};

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
  throw input_error(std::string(where), "unknown format", std::string(name),
                    fmt::format("{}", fmt::join(format_names, ", ")));
}

/// How an article of XSum becomes a prompt.
enum class XsumTemplate {
  alpaca,  ///< `alpaca_prompt` with `xsum_instruction`
  tldr,    ///< "{document}\n\nTL;DR:" and " {summary}", as in work on summaries from human feedback
};

/// What a format leaves open.
struct FormatOptions {
  XsumTemplate xsum = XsumTemplate::alpaca;
  TranscriptSplit transcripts = TranscriptSplit::strict;  ///< of `hh`
  Answers answers{};                                      ///< to the questions of `vicuna`
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
  /// \throws Error (input) with the line's place if a field is missing or no string, two spellings of a field
  ///         have different texts, a text that has to say something is nothing but white space, a transcript
  ///         has no assistant turn, the responses of a pair are the same, or a question has no answer or an
  ///         id that was there before.
  std::optional<TextExample> operator()(const JsonLines& line) {
    switch (format_) {
      case Format::debsum:
        return debsum(line);
      case Format::xsum:
        return xsum(line);
      case Format::dolly:
        return dolly(line);
      case Format::self_instruct:
        return self_instruct(line);
      case Format::vicuna:
        return vicuna(line);
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
  /// The text of a field that is there and more than white space.
  static std::string said(const JsonLines& line, std::string_view field, std::optional<std::string> text) {
    if (!text) throw input_error(line.where(), fmt::format("field \"{}\" is missing", field));
    if (strip(*text).empty()) throw input_error(line.where(), fmt::format("field \"{}\" is empty", field));
    return std::move(*text);
  }
  static std::string said(const JsonLines& line, std::string_view field) {
    return said(line, field, line.string(field));
  }

  /// The first field if the line has it, else the second.
  static std::string_view there(const JsonLines& line, std::string_view first, std::string_view second) {
    return line.has(first) ? first : second;
  }

  /// One text from two places where it may stand, nothing if it stands in neither.
  static std::optional<std::string> same(const JsonLines& line, std::string_view name,
                                         std::optional<std::string> text, std::string_view other_name,
                                         std::optional<std::string> other) {
    if (text && other && *text != *other) {
      throw input_error(line.where(),
                        fmt::format("fields \"{}\" and \"{}\" are two spellings of one, with different texts",
                                    name, other_name));
    }
    return text ? std::move(text) : std::move(other);
  }
  static std::optional<std::string> spelled(const JsonLines& line, std::string_view name,
                                            std::string_view other) {
    return same(line, name, line.optional_string(name), other, line.optional_string(other));
  }

  /// A document, what asks for its summary, and the summary behind a space.
  static TextExample summary(const std::string& document, std::string_view question,
                             const std::string& text) {
    return {.prompt = document + std::string(question),
            .response = " " + text,
            .input_at = 0,
            .input_size = document.size()};
  }

  static TextExample instructed(std::string_view instruction, std::string_view input, std::string response) {
    TextExample example{.prompt = alpaca_prompt(instruction, input), .response = std::move(response)};
    example.input_at = example.prompt.size() - alpaca_end.size() - input.size();
    example.input_size = input.size();
    return example;
  }

  // Of several fields that are missing an error names the first: they are read one after the other.
  static TextExample debsum(const JsonLines& line) {
    const std::string document = line.string("document");
    return summary(document, "\nSynopsis:", line.string("summary"));
  }

  TextExample xsum(const JsonLines& line) const {
    std::string document = said(line, "document"), text = said(line, "summary");
    return options_.xsum == XsumTemplate::tldr ? summary(document, "\n\nTL;DR:", text)
                                               : instructed(xsum_instruction, document, std::move(text));
  }

  static TextExample dolly(const JsonLines& line) {
    const std::string instruction = said(line, "instruction");
    const std::string context = spelled(line, "context", "input").value_or("");
    return instructed(instruction, context,
                      said(line, there(line, "output", "response"), spelled(line, "response", "output")));
  }

  /// A field of `instances[0]`, nothing if there are no instances.
  static std::optional<std::string> of_instance(const JsonLines& line, std::string_view field) {
    if (!line.has("instances")) return std::nullopt;
    const auto refuse = [&](std::string_view name) {
      return input_error(line.where(), fmt::format("field \"{}\" has the wrong type", name), {},
                         "\"instances\": [{\"input\": .., \"output\": ..}]");
    };
    JsonFields instances, first;
    if (!instances.read_array(line.written("instances")) || instances.all().empty() ||
        first.read(instances.all()[0].value)) {
      throw refuse("instances");
    }
    const JsonFields::Field* const found = first.find(field);
    if (found == nullptr || found->value == "null") return std::nullopt;
    if (found->value[0] != '"') throw refuse(fmt::format("instances[0].{}", field));
    std::optional<std::string> text = unescaped(found->value.substr(1, found->value.size() - 2));
    if (!text) {
      throw input_error(
          line.where(),
          fmt::format("field \"instances[0].{}\" holds a surrogate without its partner", field));
    }
    return text;
  }

  static TextExample self_instruct(const JsonLines& line) {
    const auto either = [&](std::string_view field) {
      return same(line, fmt::format("instances[0].{}", field), of_instance(line, field), field,
                  line.optional_string(field));
    };
    const std::string instruction = said(line, "instruction"), input = either("input").value_or("");
    const std::string_view output =
        line.has("instances") ? "instances[0].output" : there(line, "output", "instances");
    return instructed(instruction, input, said(line, output, either("output")));
  }

  /// The one turn of a question, nothing if it has no `turns`.
  static std::optional<std::string> only_turn(const JsonLines& line) {
    if (!line.has("turns")) return std::nullopt;
    const nlohmann::json turns = line.value("turns");
    if (!turns.is_array() || turns.size() != 1 || !turns[0].is_string()) {
      throw input_error(line.where(), "field \"turns\" does not hold one question", {}, "[\"..\"]");
    }
    return turns[0].get<std::string>();
  }

  TextExample vicuna(const JsonLines& line) {
    const std::string id = question_id(line);
    std::string question =
        said(line, "text", same(line, "text", line.optional_string("text"), "turns", only_turn(line)));
    if (!questions_.insert(id).second)
      throw input_error(line.where(), fmt::format("question {:.60} is there twice", id));
    const auto answer = options_.answers.find(id);
    if (answer == options_.answers.end())
      throw input_error(line.where(), fmt::format("question {:.60} has no answer", id));
    return instructed(question, "", answer->second);
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
    const std::string prompt = said(line, "prompt"), chosen = said(line, "chosen"),
                      rejected = said(line, "rejected");
    check_differ(line, chosen, rejected);
    return pair(prompt, chosen, rejected);
  }

  std::optional<TextExample> transcripts(const JsonLines& line) {
    const std::string chosen = line.string("chosen"), rejected = line.string("rejected");
    const TranscriptPair cut = split_transcripts(chosen, rejected, options_.transcripts, line.where());
    if (options_.transcripts == TranscriptSplit::strict) {
      if (!cut.same_prompt) return ++other_prompts, std::nullopt;
      if (strip(cut.chosen).empty() || strip(cut.rejected).empty()) return ++empty_responses, std::nullopt;
      check_differ(line, cut.chosen, cut.rejected);
    }
    TextExample example = pair(cut.prompt, cut.chosen, cut.rejected);
    example.keep_end = true;
    return example;
  }

  Format format_;
  FormatOptions options_;
  std::set<std::string> questions_{};
};

/// What files hold.
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
