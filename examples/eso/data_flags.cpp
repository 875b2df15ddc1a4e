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

eso::RowPolicy policy(const std::string& bad_rows) {
  return {.bad = bad_rows == "refuse" ? eso::BadRows::refuse : eso::BadRows::drop, .between = check_signals};
}

void say_dropped(const eso::DroppedRows& dropped, const std::string& title = {}) {
  for (std::size_t i = 0; i < dropped.counts().size(); ++i) {
    if (dropped.counts()[i] > 0)
      say("{}dropped {} examples with {}", title, dropped.counts()[i], eso::row_fault_words[i]);
  }
}

/// Why nothing is left, each limit with its flag.
std::string reasons(const eso::Tokenised& data, const LengthLimits& limits) {
  std::vector<std::string> all;
  if (data.too_long_prompts > 0) {
    all.push_back(fmt::format("{} with a prompt of more than {} tokens (--max-prompt-tokens)",
                              data.too_long_prompts, limits.max_prompt_tokens));
  }
  if (data.beyond_context > 0) {
    all.push_back(
        fmt::format("{} longer than the context of {} tokens with their response (--max-response-tokens {})",
                    data.beyond_context, limits.context, limits.max_response_tokens));
  }
  if (data.dropped.total() > 0) all.push_back(data.dropped.text());
  return fmt::format("{}", fmt::join(all, ", "));
}

}  // namespace

void DataFlags::add_to(FlagSet& set) {
  set.add(
      "bad-rows", bad_rows,
      "rows with an empty prompt or response, equal responses or an unanswered transcript: drop or refuse");
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
  one_of_two("--bad-rows", bad_rows, "drop", "refuse");
  one_of_two("--hh-split", hh_split, "strict", "dpo-compat");
  const bool vicuna = eso::format_named(format, "--format") == eso::Format::vicuna;
  if (vicuna && answers.empty())
    throw eso::input_error("--answers", "is required for --format vicuna, which has no answers itself");
  if (!vicuna && !answers.empty())
    throw eso::input_error("--answers", "goes with --format vicuna alone", answers);
  if (!test_split.empty()) eso::test_split_named(test_split, "--test-split");
}

eso::TextExamples DataFlags::read(const std::vector<std::string>& data, const std::string& format,
                                  DataPart part) const {
  const std::vector<std::filesystem::path> files(data.begin(), data.end());
  eso::TextExamples texts = unless_interrupted([&] {
    eso::FormatOptions options{.rows = policy(bad_rows)};
    if (xsum_template == "tldr") options.xsum = eso::XsumTemplate::tldr;
    if (hh_split == "dpo-compat") options.transcripts = eso::TranscriptSplit::dpo_compat;
    if (!answers.empty()) options.answers = eso::read_answers(answers, check_signals);
    return eso::read_examples(files, eso::format_named(format, "--format"), std::move(options));
  });
  say_dropped(texts.dropped);
  if (test_split.empty() || part == DataPart::all) return texts;
  texts.examples = eso::test_split_named(test_split, "--test-split")
                       .part(std::move(texts.examples), part == DataPart::testing, "--test-split");
  return texts;
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

eso::Tokenised tokenised(const eso::TextExamples& texts, const eso::ByteLevelBpe& tokenizer,
                         std::optional<eso::TokenId> eos, const LengthLimits& limits, const std::string& file,
                         const std::string& title) {
  eso::Tokenised result = eso::tokenise(
      texts.examples, tokenizer, eos, limits.max_prompt_tokens, limits.max_response_tokens, limits.context,
      limits.overflow == "skip" ? eso::PromptOverflow::skip : eso::PromptOverflow::truncate,
      policy(limits.bad_rows));
  if (result.cut_prompts > 0) say("{}cut {} prompts that are too long", title, result.cut_prompts);
  if (result.cut_targets > 0)
    say("{}cut the responses of {} examples to {} tokens (--max-response-tokens)", title, result.cut_targets,
        limits.max_response_tokens);
  if (result.too_long_prompts > 0)
    say("{}dropped {} examples with a prompt of more than {} tokens", title, result.too_long_prompts,
        limits.max_prompt_tokens);
  if (result.beyond_context > 0)
    say("{}dropped {} examples longer than the context of {} tokens", title, result.beyond_context,
        limits.context);
  say_dropped(result.dropped, title);
  if (result.examples.empty()) {
    throw eso::input_error(
        file, fmt::format("no example is left of {}: {}", texts.examples.size(), reasons(result, limits)));
  }
  result.dropped += texts.dropped;
  return result;
}

nlohmann::ordered_json data_counts(const eso::Tokenised& data) {
  nlohmann::ordered_json counts{
      {"examples", data.examples.size()},
      {"cut_responses", data.cut_targets},
      {"cut_prompts", data.cut_prompts},
      {"dropped", {{"long_prompt", data.too_long_prompts}, {"beyond_context", data.beyond_context}}}};
  for (std::size_t i = 0; i < eso::row_fault_names.size(); ++i)
    counts["dropped"][std::string(eso::row_fault_names[i])] = data.dropped.counts()[i];
  return counts;
}

std::string data_comment(const eso::Tokenised& data) { return "# data: " + data_counts(data).dump() + "\n"; }

}  // namespace eso_program
