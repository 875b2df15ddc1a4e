// SPDX-License-Identifier: MIT
#include <zlib.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "eso/data/formats.hpp"
#include "format_reading.hpp"

// Whole files and made-up lines, against what independent readers make of them.

namespace {

using Catch::Matchers::StartsWith;
using eso::Format;
using format_reading::Folder;
using format_reading::read;

}  // namespace

TEST_CASE("debsum is read as Python reads it", "[data]") {
  const std::filesystem::path folder = std::filesystem::path(ESO_SHARED_DIR) / "data" / "debsum";
  if (!std::filesystem::exists(folder)) {
    WARN("debsum is not tested: there is no " << folder);
    return;
  }
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/data.json");
  const auto golden = nlohmann::json::parse(file)["debsum"];
  // the rows that the data set's page names
  CHECK(golden["train"]["rows"] == 28520);
  CHECK(golden["validation"]["rows"] == 500);
  CHECK(golden["test"]["rows"] == 1000);
  for (const auto& [split, expected] : golden.items()) {
    const auto examples = read({folder / (split + ".jsonl.gz")}, Format::debsum);
    CHECK(examples.size() == expected["rows"]);
    CHECK(examples.back().number == static_cast<eso::Index>(examples.size()) - 1);
    uLong prompts = crc32(0, nullptr, 0), responses = prompts;
    const auto add = [](uLong sum, const std::string& text) {  // the byte behind the text is a NUL, taken too
      return crc32(sum, reinterpret_cast<const Bytef*>(text.c_str()), static_cast<uInt>(text.size() + 1));
    };
    for (const auto& example : examples) {
      prompts = add(prompts, example.prompt);
      responses = add(responses, example.response);
    }
    CHECK(prompts == expected["prompts"]);
    CHECK(responses == expected["responses"]);
  }
}

TEST_CASE("the demonstration's data have as many examples as its page says", "[data]") {
  const std::filesystem::path folder = std::filesystem::path(ESO_TEST_DIR) / "../examples/debsum/data";
  const auto train = read({folder / "train.jsonl.gz"}, Format::debsum);
  const auto validation = read({folder / "validation.jsonl.gz"}, Format::debsum);
  CHECK(train.size() == 2400);
  CHECK(validation.size() == 500);
  std::set<std::string> seen;
  for (const auto& example : train) seen.insert(example.prompt);
  CHECK(seen.size() == 2400);
  for (const auto& example : validation) CHECK(!seen.contains(example.prompt));
}

namespace {

nlohmann::json golden_formats() {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/formats.json");
  return nlohmann::json::parse(file);
}

/// "hh dpo-compat" and "xsum tldr" name a format with an option.
std::pair<Format, eso::FormatOptions> format_of(const std::string& name) {
  eso::FormatOptions options;
  if (name == "hh dpo-compat") options.transcripts = eso::TranscriptSplit::dpo_compat;
  if (name == "xsum tldr") options.xsum = eso::XsumTemplate::tldr;
  return {eso::format_named(name.substr(0, name.find(' '))), options};
}

}  // namespace

TEST_CASE("made-up lines of each format give what an independent reader makes of them", "[data][golden]") {
  const auto golden = golden_formats();
  const Folder folder;
  std::string text;
  for (const auto& line : golden["answers"]) text += line.get<std::string>() + "\n";
  const auto answers = eso::read_answers(folder.write("answers.jsonl", text));
  std::size_t read = 0, refused = 0, left_out = 0;
  for (const auto& line : golden["lines"]) {
    INFO(line["format"] << " " << line["line"]);
    auto [format, options] = format_of(line["format"]);
    if (format == Format::vicuna) options.answers = answers;
    eso::ExampleReader reader(format, options);
    std::istringstream stream(line["line"].get<std::string>());
    eso::JsonLines lines(stream, "made.jsonl");
    REQUIRE(lines.next());
    if (line.contains("refused")) {
      CHECK_THROWS_WITH(reader(lines), StartsWith("made.jsonl:1: "));
      ++refused;
    } else if (line.contains("left_out")) {
      CHECK(!reader(lines));
      CHECK(reader.dropped.total() == 1);
      std::string name = line["left_out"];
      std::replace(name.begin(), name.end(), ' ', '_');
      const auto fault = std::find(eso::row_fault_names.begin(), eso::row_fault_names.end(), name);
      REQUIRE(fault != eso::row_fault_names.end());
      CHECK(reader.dropped.counts().at(static_cast<std::size_t>(fault - eso::row_fault_names.begin())) == 1);
      options.rows.bad = eso::BadRows::refuse;
      CHECK_THROWS_WITH(eso::ExampleReader(format, options)(lines), StartsWith("made.jsonl:1: a row with "));
      ++left_out;
    } else {
      const auto example = reader(lines);
      REQUIRE(example);
      CHECK(example->prompt == line["prompt"]);
      CHECK(example->response == line["response"]);
      CHECK(example->rejected == line.value("rejected", ""));
      CHECK(example->pair == line.contains("rejected"));
      ++read;
    }
  }
  CHECK(read >= 250);
  CHECK(refused >= 50);
  CHECK(left_out >= 100);
}

TEST_CASE("the published samples are read as an independent reader reads them", "[data][golden][shared]") {
  const std::filesystem::path folder = std::filesystem::path(ESO_SHARED_DIR) / "data";
  if (!std::filesystem::exists(folder / "hh-rlhf")) {
    WARN("Self-Instruct, Vicuna and HH-RLHF are not tested: they are not in " << folder);
    return;
  }
  const std::map<std::string, std::string> files{
      {"self-instruct", "self-instruct/user_oriented_instructions.jsonl"},
      {"vicuna", "vicuna/question.jsonl"},
      {"hh", "hh-rlhf/harmless-base-test.jsonl.gz"},
      {"hh dpo-compat", "hh-rlhf/harmless-base-test.jsonl.gz"}};
  const auto golden = golden_formats()["samples"];
  // As counted in the files by others. They count rows from 1, and two more empty responses among the pairs
  // that do not match.
  CHECK(golden["self-instruct"]["rows"] == 252);
  CHECK(golden["self-instruct"]["without_input"] == 44);
  CHECK(golden["vicuna"]["rows"] == 80);
  CHECK(golden["hh"]["rows"] == 2312);
  CHECK(golden["hh"]["other_prompts"] == std::vector<int>{1254, 1688, 1950, 1952, 2036});
  CHECK(golden["hh"]["empty_responses"] == std::vector<int>{86, 516, 925, 1103});
  for (const auto& [name, expected] : golden.items()) {
    INFO(name);
    auto [format, options] = format_of(name);
    if (format == Format::vicuna) options.answers = eso::read_answers(folder / "vicuna/answer_gpt35.jsonl");
    const auto texts = eso::read_examples(std::vector{folder / files.at(name)}, format, options);
    CHECK(texts.examples.size() == expected["examples"]);
    CHECK(texts.dropped[eso::RowFault::other_prompt] == expected["other_prompts"].size());
    CHECK(texts.dropped[eso::RowFault::empty_response] == expected["empty_responses"].size());
    CHECK(texts.dropped[eso::RowFault::equal_pair] == expected["equal_pairs"].size());
    uLong prompts = crc32(0, nullptr, 0), responses = prompts, rejected = prompts;
    const auto add = [](uLong sum, const std::string& text) {  // the byte behind the text is a NUL, taken too
      return crc32(sum, reinterpret_cast<const Bytef*>(text.c_str()), static_cast<uInt>(text.size() + 1));
    };
    std::size_t without_input = 0;
    std::set<eso::Index> numbers;
    for (const auto& example : texts.examples) {
      prompts = add(prompts, example.prompt);
      responses = add(responses, example.response);
      rejected = add(rejected, example.rejected);
      without_input += example.prompt.find("### Input") == std::string::npos ? 1U : 0U;
      numbers.insert(example.number);
    }
    CHECK(prompts == expected["prompts"]);
    CHECK(responses == expected["responses"]);
    if (expected.contains("rejected")) CHECK(rejected == expected["rejected"]);
    CHECK(without_input == expected["without_input"]);
    for (const char* kind : {"other_prompts", "empty_responses"}) {
      for (const auto& row : expected[kind]) CHECK(!numbers.contains(row.get<eso::Index>()));
    }
  }
}
