// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/alpaca.hpp"
#include "eso/data/json_fields.hpp"
#include "eso/data/json_lines.hpp"
#include "eso/data/rows.hpp"
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
  RowPolicy rows{};
};

/// Makes examples of lines, one after the other, and counts those that it leaves out: all formats leave out
/// rows with a `RowFault`.
class ExampleReader {
 public:
  explicit ExampleReader(Format format, FormatOptions options = {})
      : format_(format), options_(std::move(options)) {}

  DroppedRows dropped;

  /// The example of a line, or nothing if it is one to leave out; `number` stays 0.
  ///
  /// \throws Error (input) with the line's place if a field is missing or no string, two spellings of a field
  ///         have different texts, a question has no answer or an id that was there before, or a row that is
  ///         to be left out is to be refused.
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
        return plain(line);
      case Format::text:
        return text(line);
    }
    throw input_error("ExampleReader", "unknown format", std::to_string(static_cast<int>(format_)));
  }

 private:
  /// The text of a field that must be there in one of its spellings.
  static std::string needed(const JsonLines& line, std::string_view field, std::optional<std::string> text) {
    if (!text) throw input_error(line.where(), fmt::format("field \"{}\" is missing", field));
    return std::move(*text);
  }

  static bool blank(std::string_view text) { return strip(text).empty(); }

  /// Counts a row that is left out. \throws Error (input) if it is to be refused.
  bool leave_out(const JsonLines& line, RowFault fault) {
    if (options_.rows.bad == BadRows::refuse) {
      throw input_error(line.where(),
                        fmt::format("a row with {}", row_fault_words[static_cast<std::size_t>(fault)]));
    }
    ++dropped[fault];
    return true;
  }

  /// Whether a row of these texts is left out.
  bool unfit(const JsonLines& line, std::string_view prompt, std::string_view response) {
    if (blank(prompt)) return leave_out(line, RowFault::empty_prompt);
    return blank(response) && leave_out(line, RowFault::empty_response);
  }

  /// The same of a pair.
  bool unfit(const JsonLines& line, std::string_view prompt, std::string_view chosen,
             std::string_view rejected) {
    if (unfit(line, prompt, chosen)) return true;
    if (blank(rejected)) return leave_out(line, RowFault::empty_response);
    return chosen == rejected && leave_out(line, RowFault::equal_pair);
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
  std::optional<TextExample> plain(const JsonLines& line) {
    std::string prompt = line.string("prompt"), response = line.string("response");
    if (unfit(line, prompt, response)) return std::nullopt;
    return TextExample{.prompt = std::move(prompt), .response = std::move(response)};
  }

  std::optional<TextExample> text(const JsonLines& line) {
    std::string words = line.string("text");
    if (blank(words) && leave_out(line, RowFault::empty_response)) return std::nullopt;
    return TextExample{.prompt = {}, .response = std::move(words)};
  }

  std::optional<TextExample> debsum(const JsonLines& line) {
    const std::string document = line.string("document"), words = line.string("summary");
    if (unfit(line, document, words)) return std::nullopt;
    return summary(document, "\nSynopsis:", words);
  }

  std::optional<TextExample> xsum(const JsonLines& line) {
    const std::string document = line.string("document");
    std::string words = line.string("summary");
    if (unfit(line, document, words)) return std::nullopt;
    return options_.xsum == XsumTemplate::tldr ? summary(document, "\n\nTL;DR:", words)
                                               : instructed(xsum_instruction, document, std::move(words));
  }

  std::optional<TextExample> dolly(const JsonLines& line) {
    const std::string instruction = line.string("instruction");
    const std::string context = spelled(line, "context", "input").value_or("");
    std::string response =
        needed(line, there(line, "output", "response"), spelled(line, "response", "output"));
    if (unfit(line, instruction, response)) return std::nullopt;
    return instructed(instruction, context, std::move(response));
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

  std::optional<TextExample> self_instruct(const JsonLines& line) {
    const auto either = [&](std::string_view field) {
      return same(line, fmt::format("instances[0].{}", field), of_instance(line, field), field,
                  line.optional_string(field));
    };
    const std::string instruction = line.string("instruction"), input = either("input").value_or("");
    const std::string_view output =
        line.has("instances") ? "instances[0].output" : there(line, "output", "instances");
    std::string response = needed(line, output, either("output"));
    if (unfit(line, instruction, response)) return std::nullopt;
    return instructed(instruction, input, std::move(response));
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

  std::optional<TextExample> vicuna(const JsonLines& line) {
    const std::string id = question_id(line);
    const std::string question =
        needed(line, "text", same(line, "text", line.optional_string("text"), "turns", only_turn(line)));
    if (!questions_.insert(id).second)
      throw input_error(line.where(), fmt::format("question {:.60} is there twice", id));
    const auto answer = options_.answers.find(id);
    if (answer == options_.answers.end())
      throw input_error(line.where(), fmt::format("question {:.60} has no answer", id));
    if (unfit(line, question, answer->second)) return std::nullopt;
    return instructed(question, "", answer->second);
  }

  std::optional<TextExample> pair(const JsonLines& line, std::string_view prompt, std::string_view chosen,
                                  std::string_view rejected) {
    if (unfit(line, prompt, chosen, rejected)) return std::nullopt;
    return TextExample{.prompt = std::string(prompt),
                       .response = std::string(chosen),
                       .pair = true,
                       .rejected = std::string(rejected)};
  }

  std::optional<TextExample> preference(const JsonLines& line) {
    const std::string prompt = line.string("prompt"), chosen = line.string("chosen");
    return pair(line, prompt, chosen, line.string("rejected"));
  }

  std::optional<TextExample> transcripts(const JsonLines& line) {
    const std::string chosen = line.string("chosen"), rejected = line.string("rejected");
    const TranscriptPair cut = split_transcripts(chosen, rejected, options_.transcripts);
    if (!cut.answered && leave_out(line, RowFault::no_answer)) return std::nullopt;
    if (!cut.same_prompt && leave_out(line, RowFault::other_prompt)) return std::nullopt;
    std::optional<TextExample> example = pair(line, cut.prompt, cut.chosen, cut.rejected);
    if (example) example->keep_end = true;
    return example;
  }

  Format format_;
  FormatOptions options_;
  std::set<std::string> questions_{};
};

/// What files hold.
struct TextExamples {
  std::vector<TextExample> examples;
  DroppedRows dropped;  ///< rows left out
};

/// All examples of the files, in order. A name that ends in `.gz` is read through zlib.
///
/// Holds the texts, some 200 bytes an example beside them, and the longest line twice.
///
/// \throws Error as `JsonLines` and `ExampleReader` do, and (input) if there is not a single example.
inline TextExamples read_examples(std::span<const std::filesystem::path> files, Format format,
                                  FormatOptions options = {}) {
  require(!files.empty(), "read_examples", "no file is given");
  const std::function<void()> between = options.rows.between;
  ExampleReader reader(format, std::move(options));
  TextExamples result;
  std::size_t lines_before = 0;
  for (const std::filesystem::path& file : files) {
    JsonLines lines(file);
    lines.between = between;
    const auto name = std::make_shared<const std::string>(file.string());
    while (lines.next()) {
      std::optional<TextExample> example = reader(lines);
      if (!example) continue;
      example->number = static_cast<Index>(lines_before + lines.number() - 1);
      example->file = name;
      example->line = lines.number();
      result.examples.push_back(std::move(*example));
    }
    lines_before += lines.number();
  }
  result.dropped = reader.dropped;
  if (!result.examples.empty()) return result;
  const std::size_t left_out = result.dropped.total();
  throw input_error(files.front().string(), left_out == 0 ? "no example in it"
                                                          : fmt::format("no example is left of {}: {}",
                                                                        left_out, result.dropped.text()));
}

}  // namespace eso
