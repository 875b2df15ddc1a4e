// SPDX-License-Identifier: MIT
#include "data_flags.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "eso/data/formats.hpp"
#include "eso/data/split.hpp"
#include "eso/text/json_file.hpp"
#include "eso/train/durable_file.hpp"
#include "lines.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

void one_of_two(const char* flag, const std::string& value, const char* first, const char* second) {
  if (value != first && value != second)
    throw eso::input_error(flag, "unknown", value, fmt::format("{} or {}", first, second));
}

}  // namespace

void DataFlags::add_to(FlagSet& set) {
  set.add("answers", answers, "vicuna: file of answers, JSON lines with question_id and text");
  set.add("xsum-template", xsum_template, "xsum: alpaca, or tldr for \"{document}\\n\\nTL;DR:\"");
  set.add("hh-split", hh_split,
          "hh: strict leaves pairs out that do not answer the same prompt; dpo-compat cuts blindly");
  set.add(
      "test-split", test_split,
      "examples kept for testing, which train leaves and eval takes: first-n:COUNT or seeded:COUNT[:SEED]");
}

void DataFlags::check(const std::string& format) const {
  one_of_two("--xsum-template", xsum_template, "alpaca", "tldr");
  one_of_two("--hh-split", hh_split, "strict", "dpo-compat");
  const bool vicuna = eso::format_named(format, "--format") == eso::Format::vicuna;
  if (vicuna && answers.empty())
    throw eso::input_error("--answers", "is required for --format vicuna, which has no answers itself");
  if (!vicuna && !answers.empty())
    throw eso::input_error("--answers", "goes with --format vicuna alone", answers);
  if (!test_split.empty()) eso::test_split_named(test_split, "--test-split");
}

std::vector<eso::TextExample> DataFlags::read(const std::vector<std::string>& data, const std::string& format,
                                              DataPart part) const {
  const std::vector<std::filesystem::path> files(data.begin(), data.end());
  eso::TextExamples texts = unless_interrupted([&] {
    eso::FormatOptions options;
    if (xsum_template == "tldr") options.xsum = eso::XsumTemplate::tldr;
    if (hh_split == "dpo-compat") options.transcripts = eso::TranscriptSplit::dpo_compat;
    if (!answers.empty()) options.answers = eso::read_answers(answers);
    return eso::read_examples(files, eso::format_named(format, "--format"), std::move(options));
  });
  if (texts.other_prompts > 0)
    say("dropped {} pairs whose transcripts do not answer the same prompt", texts.other_prompts);
  if (texts.empty_responses > 0) say("dropped {} pairs with an empty response", texts.empty_responses);
  if (test_split.empty() || part == DataPart::all) return std::move(texts.examples);
  return eso::test_split_named(test_split, "--test-split")
      .part(std::move(texts.examples), part == DataPart::testing, "--test-split");
}

void keep_first(std::vector<eso::TextExample>& texts, std::int64_t count) {
  const auto wanted = static_cast<std::size_t>(count);
  if (wanted > 0 && texts.size() > wanted) texts.resize(wanted);
}

nlohmann::ordered_json answers_record(const std::string& file) {
  if (file.empty()) return nullptr;
  const std::string bytes = eso::read_file(file);
  eso::FileDigest digest;
  digest.add(std::as_bytes(std::span(bytes)));
  return {{"file", file}, {"crc32", fmt::format("{:08x}", digest.crc32)}};
}

void check_overflow(const char* flag, const std::string& overflow) {
  one_of_two(flag, overflow, "skip", "truncate");
}

std::vector<eso::Example> tokenised(const std::vector<eso::TextExample>& texts,
                                    const eso::ByteLevelBpe& tokenizer, std::optional<eso::TokenId> eos,
                                    const LengthLimits& limits, const std::string& file,
                                    const std::string& title) {
  eso::Tokenised result = eso::tokenise(
      texts, tokenizer, eos, limits.max_prompt_tokens, limits.max_response_tokens, limits.context,
      limits.overflow == "skip" ? eso::PromptOverflow::skip : eso::PromptOverflow::truncate);
  if (result.cut_prompts > 0) say("{}cut {} prompts that are too long", title, result.cut_prompts);
  if (result.too_long_prompts > 0)
    say("{}dropped {} examples with a prompt of more than {} tokens", title, result.too_long_prompts,
        limits.max_prompt_tokens);
  if (result.beyond_context > 0)
    say("{}dropped {} examples longer than the context of {} tokens", title, result.beyond_context,
        limits.context);
  if (result.examples.empty()) throw eso::input_error(file, "no example is left after the limits of length");
  return std::move(result.examples);
}

}  // namespace eso_program
