// SPDX-License-Identifier: MIT
#include <unistd.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "eso/data/formats.hpp"

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;
using eso::Format;

/// A folder that goes away with its files.
struct Folder {
  static inline int made = 0;
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("eso_formats_test_{}_{}", getpid(), ++made);
  Folder() { std::filesystem::create_directories(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

std::vector<eso::TextExample> read(const std::vector<std::filesystem::path>& files, Format format,
                                   const eso::FormatOptions& options = {}) {
  return eso::read_examples(files, format, options).examples;
}

/// The one example of a line.
eso::TextExample only(const std::string& line, Format format, const eso::FormatOptions& options = {}) {
  const Folder folder;
  const auto examples = read({folder.write("one.jsonl", line + "\n")}, format, options);
  REQUIRE(examples.size() == 1);
  return examples[0];
}

std::string failure(const std::string& line, Format format, const eso::FormatOptions& options = {}) {
  try {
    only(line, format, options);
  } catch (const eso::Error& error) {
    CHECK(error.fault() == eso::Fault::input);
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("format_named knows each format and lists them for a name that it does not", "[data]") {
  CHECK(eso::format_named("debsum") == Format::debsum);
  CHECK(eso::format_named("xsum") == Format::xsum);
  CHECK(eso::format_named("dolly") == Format::dolly);
  CHECK(eso::format_named("self-instruct") == Format::self_instruct);
  CHECK(eso::format_named("vicuna") == Format::vicuna);
  CHECK(eso::format_named("hh") == Format::hh);
  CHECK(eso::format_named("preference") == Format::preference);
  CHECK(eso::format_named("prompt-response") == Format::prompt_response);
  CHECK(eso::format_named("text") == Format::text);
  CHECK_THROWS_WITH(eso::format_named("csv", "--format"),
                    "--format: unknown format, found csv, expected debsum, xsum, dolly, self-instruct, "
                    "vicuna, hh, preference, prompt-response, text");
  CHECK_THROWS_AS(eso::format_named(""), eso::Error);
  CHECK_THROWS_AS(eso::format_named("Debsum"), eso::Error);
}

TEST_CASE("each format makes the published prompt and response", "[data]") {
  const auto debsum =
      only(R"({"document": "A tool.\nIt works.", "summary": "tool", "id": "x"})", Format::debsum);
  CHECK(debsum.prompt == "A tool.\nIt works.\nSynopsis:");
  CHECK(debsum.response == " tool");

  const std::string with_input =
      "Below is an instruction that describes a task, paired with an input that provides further context. "
      "Write a response that appropriately completes the request.\n\n### Instruction:\n";
  const std::string without_input =
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n### Instruction:\n";
  const auto xsum = only(R"({"document": "News {}.", "summary": "New.", "id": "1"})", Format::xsum);
  CHECK(xsum.prompt == with_input +
                           "Summarize the following article in one sentence.\n\n### Input:\nNews {}.\n\n### "
                           "Response:\n");
  CHECK(xsum.response == "New.");

  const auto dolly =
      only(R"({"instruction": "Do", "context": "C", "response": "R", "category": "q"})", Format::dolly);
  CHECK(dolly.prompt == with_input + "Do\n\n### Input:\nC\n\n### Response:\n");
  CHECK(dolly.response == "R");
  for (const char* line : {R"({"instruction": "Do", "context": "", "response": "R"})",
                           R"({"instruction": "Do", "context": null, "response": "R"})",
                           R"({"instruction": "Do", "response": "R"})"}) {
    CHECK(only(line, Format::dolly).prompt == without_input + "Do\n\n### Response:\n");
  }

  const auto task =
      only(R"({"instruction": "Do", "instances": [{"input": "I", "output": "O"}]})", Format::self_instruct);
  CHECK(task.prompt == with_input + "Do\n\n### Input:\nI\n\n### Response:\n");
  CHECK(task.response == "O");
  CHECK(only(R"({"instruction": "Do", "instances": [{"input": "", "output": "O"}]})", Format::self_instruct)
            .prompt == without_input + "Do\n\n### Response:\n");

  const auto plain = only(R"({"prompt": " p\n", "response": "", "extra": [1]})", Format::prompt_response);
  CHECK(plain.prompt == " p\n");
  CHECK(plain.response.empty());

  const auto text = only(R"({"text": "all of it"})", Format::text);
  CHECK(text.prompt.empty());
  CHECK(text.response == "all of it");
}

TEST_CASE("a line that a format cannot use is refused with its place and the field", "[data]") {
  CHECK_THAT(failure(R"({"summary": "s", "id": "x"})", Format::debsum),
             EndsWith("one.jsonl:1: field \"document\" is missing"));
  for (const auto& [format, field] :
       {std::pair(Format::debsum, "document"), std::pair(Format::xsum, "document"),
        std::pair(Format::dolly, "instruction"), std::pair(Format::self_instruct, "instruction"),
        std::pair(Format::preference, "prompt"), std::pair(Format::hh, "chosen")})
    CHECK_THAT(failure("{}", format), EndsWith(fmt::format(":1: field \"{}\" is missing", field)));
  CHECK_THAT(failure(R"({"document": "d"})", Format::debsum), EndsWith(":1: field \"summary\" is missing"));
  CHECK_THAT(failure(R"({"document": 5, "summary": "s"})", Format::xsum),
             EndsWith(":1: field \"document\" has the wrong type, found a number, expected a string"));
  CHECK_THAT(failure(R"({"instruction": "Do", "context": 1, "response": "R"})", Format::dolly),
             Contains(":1: field \"context\" has the wrong type"));
  CHECK_THAT(failure(R"({"prompt": "p"})", Format::prompt_response),
             EndsWith(":1: field \"response\" is missing"));
  CHECK_THAT(failure(R"({"document": "d"})", Format::text), EndsWith(":1: field \"text\" is missing"));
  const auto instances = [](const std::string& value) {
    return failure("{\"instruction\": \"Do\", \"instances\": " + value + "}", Format::self_instruct);
  };
  CHECK_THAT(instances("[]"), Contains(":1: field \"instances\" has the wrong type"));
  CHECK_THAT(instances("{\"input\": \"\"}"), Contains(":1: field \"instances\" has the wrong type"));
  CHECK_THAT(instances("[\"O\"]"), Contains(":1: field \"instances\" has the wrong type"));
  CHECK_THAT(instances("[{\"input\": \"I\"}]"), Contains(":1: field \"instances[0].output\" is missing"));
  CHECK_THAT(instances("[{\"output\": 3}]"),
             Contains(":1: field \"instances[0].output\" has the wrong type"));
  CHECK_THAT(failure(R"({"instruction": "Do"})", Format::self_instruct),
             Contains(":1: field \"instances\" is missing"));
  CHECK_THAT(failure(R"({"instances": [{"output": "O"}]})", Format::self_instruct),
             EndsWith(":1: field \"instruction\" is missing"));
}

TEST_CASE("a preference pair is taken as it is, two different responses to one prompt", "[data]") {
  const auto pair =
      only(R"({"prompt": " p\n", "chosen": " good", "rejected": "bad ", "score": 1})", Format::preference);
  CHECK(pair.prompt == " p\n");
  CHECK(pair.response == " good");
  CHECK(pair.rejected == "bad ");
  CHECK(pair.pair);
  CHECK(!only(R"({"prompt": "p", "response": "r"})", Format::prompt_response).pair);
  CHECK(eso::holds_pairs(Format::preference));
  CHECK(eso::holds_pairs(Format::hh));
  CHECK(!eso::holds_pairs(Format::prompt_response));

  const auto refused = [](const char* line) { return failure(line, Format::preference); };
  CHECK_THAT(refused(R"({"prompt": "p", "chosen": "a", "rejected": "a"})"),
             EndsWith(":1: \"chosen\" and \"rejected\" are the same"));
  CHECK_THAT(refused(R"({"prompt": " \n", "chosen": "a", "rejected": "b"})"),
             EndsWith(":1: field \"prompt\" is empty"));
  CHECK_THAT(refused(R"({"prompt": "p", "chosen": "", "rejected": "b"})"),
             EndsWith(":1: field \"chosen\" is empty"));
  CHECK_THAT(refused(R"({"prompt": "p", "chosen": "a", "rejected": "\u3000"})"),
             EndsWith(":1: field \"rejected\" is empty"));
  CHECK_THAT(refused(R"({"prompt": "p", "chosen": "a"})"), EndsWith(":1: field \"rejected\" is missing"));
  CHECK_THAT(refused(R"({"prompt": "p", "chosen": "a", "rejected": ["b"]})"),
             Contains(":1: field \"rejected\" has the wrong type, found an array"));
}

namespace {

/// A line of HH-RLHF.
std::string transcripts(const std::string& chosen, const std::string& rejected) {
  return nlohmann::json{{"chosen", chosen}, {"rejected", rejected}}.dump();
}

const std::string turns = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: A + B?\n\nAssistant:";
const eso::FormatOptions compatible{.transcripts = eso::TranscriptSplit::dpo_compat};

}  // namespace

TEST_CASE("transcripts are split behind their last assistant turn", "[data]") {
  const std::string line = transcripts(turns + " C", turns + " Who knows\n\nor cares?");
  for (const auto& options : {eso::FormatOptions{}, compatible}) {
    const auto pair = only(line, Format::hh, options);
    CHECK(pair.prompt == turns);
    CHECK(pair.response == " C");
    CHECK(pair.rejected == " Who knows\n\nor cares?");
    CHECK(pair.pair);
  }
}

TEST_CASE("pairs of transcripts that are none are left out and counted, or cut as DPO's code does",
          "[data]") {
  const Folder folder;
  const std::string other = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: A + C?\n\nAssistant:";
  const auto file = folder.write(
      "hh.jsonl", transcripts(turns + " C", other + " D") + "\n" +  // another prompt
                      transcripts(turns + " C", turns + " D\n\nHuman: ?\n\nAssistant: E") +
                      "\n" +                                                                // a turn more
                      transcripts(turns + " C", "\n\nHuman: Hi\n\nAssistant: No") + "\n" +  // fewer
                      transcripts(turns + " ", turns + " D") + "\n" +                       // nothing chosen
                      transcripts(turns + " C", turns) + "\n" +  // nothing rejected
                      transcripts(turns + " C", turns + " D") + "\n");
  const std::vector files{file};
  const auto strict = eso::read_examples(files, Format::hh);
  REQUIRE(strict.examples.size() == 1);
  CHECK(strict.examples[0].number == 5);
  CHECK(strict.examples[0].where == file.string() + ":6");
  CHECK(strict.other_prompts == 3);
  CHECK(strict.empty_responses == 2);

  const auto all = eso::read_examples(files, Format::hh, compatible);
  REQUIRE(all.examples.size() == 6);
  CHECK(all.other_prompts + all.empty_responses == 0);
  for (const auto& example : all.examples) CHECK(example.prompt == turns);
  CHECK(all.examples[0].rejected == " D");  // blindly: the prompts are equally long
  CHECK(all.examples[1].rejected == " D\n\nHuman: ?\n\nAssistant: E");
  CHECK(all.examples[2].rejected.empty());
  CHECK(all.examples[3].response == " ");
  CHECK(all.examples[4].rejected.empty());
}

TEST_CASE("transcripts without an assistant turn and pairs of the same are refused", "[data]") {
  const std::string none = "\n\nHuman: Hi\n\nassistant: Yes", fine = turns + " C";
  CHECK_THAT(failure(transcripts(none, fine), Format::hh), Contains(":1: \"chosen\" has no assistant turn"));
  CHECK_THAT(failure(transcripts(fine, none), Format::hh),
             Contains(":1: \"rejected\" has no assistant turn"));
  CHECK_THAT(failure(transcripts("", ""), Format::hh), Contains(":1: \"chosen\" has no assistant turn"));
  CHECK_THAT(failure(transcripts(none, fine), Format::hh, compatible),
             Contains(":1: \"chosen\" has no assistant turn"));
  CHECK(only(transcripts(fine, none), Format::hh, compatible).response == " C");
  CHECK_THAT(failure(transcripts(fine, fine), Format::hh),
             EndsWith(":1: \"chosen\" and \"rejected\" are the same"));
  CHECK(only(transcripts(fine, fine), Format::hh, compatible).rejected == " C");
  CHECK_THAT(failure(R"({"chosen": "\n\nAssistant: C"})", Format::hh),
             EndsWith(":1: field \"rejected\" is missing"));
  CHECK_THAT(failure(transcripts(turns, fine), Format::hh), EndsWith("one.jsonl: no example is left of 1"));
}

TEST_CASE("examples are numbered by their line over all files, blank lines counted", "[data]") {
  const Folder folder;
  const auto first = folder.write("a.jsonl", "\n{\"text\": \"1\"}\n\n{\"text\": \"3\"}\n\n");  // lines 0 to 4
  const auto empty = folder.write("b.jsonl", "");
  const auto second = folder.write("c.jsonl", "{\"text\": \"5\"}\n\n{\"text\": \"7\"}");
  const auto examples = read({first, empty, second}, Format::text);
  REQUIRE(examples.size() == 4);
  for (const auto& example : examples) CHECK(std::to_string(example.number) == example.response);
  CHECK(examples[1].where == first.string() + ":4");
  CHECK(examples[3].where == second.string() + ":3");
}

TEST_CASE("files without an example and missing files are refused by name", "[data]") {
  const Folder folder;
  const auto blank = folder.write("blank.jsonl", "\n \n");
  CHECK_THROWS_WITH(read({blank}, Format::text), blank.string() + ": no example in it");
  CHECK_THROWS_WITH(read({}, Format::text), Contains("no file is given"));
  CHECK_THROWS_WITH(read({folder.path / "none.jsonl"}, Format::text),
                    Contains("none.jsonl: cannot be opened"));
}

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
      CHECK(reader.other_prompts == (line["left_out"] == "other prompt" ? 1 : 0));
      CHECK(reader.empty_responses == (line["left_out"] == "empty response" ? 1 : 0));
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
  CHECK(read >= 300);
  CHECK(refused >= 80);
  CHECK(left_out >= 15);
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
    CHECK(texts.other_prompts == expected["other_prompts"].size());
    CHECK(texts.empty_responses == expected["empty_responses"].size());
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

TEST_CASE("a field may stand in either spelling, in both only with the same text", "[data]") {
  const auto flat = only(R"({"instruction": "Do", "input": "I", "output": "O"})", Format::dolly);
  for (const char* line :
       {R"({"instruction": "Do", "context": "I", "response": "O"})",
        R"({"instruction": "Do", "context": "I", "input": "I", "response": "O", "output": null})"})
    CHECK(only(line, Format::dolly).prompt == flat.prompt);
  CHECK(only(R"({"instruction": "Do", "input": "I", "output": "O"})", Format::self_instruct).prompt ==
        flat.prompt);
  CHECK_THAT(
      failure(R"({"instruction": "Do", "context": "a", "input": "b", "response": "r"})", Format::dolly),
      EndsWith(":1: fields \"context\" and \"input\" are two spellings of one, with different texts"));
  CHECK_THAT(failure(R"({"instruction": "Do", "response": "a", "output": "b"})", Format::dolly),
             Contains(":1: fields \"response\" and \"output\" are"));
  CHECK_THAT(failure(R"({"instruction": "Do", "instances": [{"input": "", "output": "a"}], "output": "b"})",
                     Format::self_instruct),
             Contains(":1: fields \"instances[0].output\" and \"output\" are"));
  CHECK_THAT(failure(R"({"question_id": 1, "text": "a", "turns": ["b"]})", Format::vicuna),
             Contains(":1: fields \"text\" and \"turns\" are"));
  // the error names the spelling that is there
  CHECK_THAT(failure(R"({"instruction": "Do", "output": " "})", Format::dolly),
             EndsWith(":1: field \"output\" is empty"));
  CHECK_THAT(failure(R"({"instruction": "Do"})", Format::dolly),
             EndsWith(":1: field \"response\" is missing"));
  CHECK_THAT(failure(R"({"instruction": "Do", "output": ""})", Format::self_instruct),
             EndsWith(":1: field \"output\" is empty"));
}

TEST_CASE("Vicuna's questions get their answers by id", "[data]") {
  const Folder folder;
  const auto answers = eso::read_answers(folder.write(
      "a.jsonl", "{\"question_id\": 2, \"text\": \"Two.\"}\n\n{\"question_id\": 1, \"text\": \"One.\"}\n"));
  const eso::FormatOptions options{.answers = answers};
  const auto one = only(R"({"question_id": 1, "turns": ["Why?"], "category": "x"})", Format::vicuna, options);
  CHECK(one.prompt == eso::alpaca_prompt("Why?", ""));
  CHECK(one.response == "One.");
  CHECK(only(R"({"question_id": 2, "text": "How?"})", Format::vicuna, options).response == "Two.");
  const auto refused = [&](const char* line) { return failure(line, Format::vicuna, options); };
  CHECK_THAT(refused(R"({"question_id": 3, "text": "?"})"),
             EndsWith("one.jsonl:1: question 3 has no answer"));
  CHECK_THAT(refused(R"({"question_id": "1", "text": "?"})"), EndsWith("question \"1\" has no answer"));
  CHECK_THAT(refused("{\"question_id\": 1, \"text\": \"?\"}\n{\"question_id\": 1, \"text\": \"!\"}"),
             EndsWith("one.jsonl:2: question 1 is there twice"));
  CHECK_THAT(refused(R"({"question_id": 1.5, "text": "?"})"),
             Contains("field \"question_id\" has the wrong type"));
  CHECK_THAT(refused(R"({"text": "?"})"), EndsWith("field \"question_id\" is missing"));
  CHECK_THAT(refused(R"({"question_id": 1})"), EndsWith("field \"text\" is missing"));
  CHECK_THAT(refused(R"({"question_id": 1, "turns": ["a", "b"]})"), Contains("does not hold one question"));
  CHECK_THAT(refused(R"({"question_id": 1, "turns": [1]})"), Contains("does not hold one question"));

  const auto bad = [&](const char* text) { return eso::read_answers(folder.write("b.jsonl", text)); };
  CHECK_THROWS_WITH(bad("{\"question_id\": 1, \"text\": \"x\"}\n{\"question_id\": 1, \"text\": \"y\"}\n"),
                    EndsWith("b.jsonl:2: question 1 is answered twice"));
  CHECK_THROWS_WITH(bad("{\"question_id\": 1, \"text\": \" \"}\n"),
                    EndsWith("b.jsonl:1: field \"text\" is empty"));
  CHECK_THROWS_WITH(bad("{\"question_id\": 1}\n"), EndsWith("b.jsonl:1: field \"text\" is missing"));
}

TEST_CASE("an example says which part of its prompt may be shortened", "[data]") {
  const auto part = [](const eso::TextExample& example) {
    return example.prompt.substr(example.input_at, example.input_size);
  };
  CHECK(part(only(R"({"document": "D d", "summary": "s"})", Format::debsum)) == "D d");
  CHECK(part(only(R"({"document": "D d", "summary": "s"})", Format::xsum)) == "D d");
  CHECK(part(only(R"({"document": "D d", "summary": "s"})", Format::xsum,
                  {.xsum = eso::XsumTemplate::tldr})) == "D d");
  CHECK(part(only(R"({"instruction": "Do", "context": "C c", "response": "r"})", Format::dolly)) == "C c");
  CHECK(part(only(R"({"instruction": "Do", "response": "r"})", Format::dolly)).empty());
  CHECK(part(only(R"({"instruction": "Do", "instances": [{"input": "I i", "output": "r"}]})",
                  Format::self_instruct)) == "I i");
  CHECK(only(transcripts(turns + " C", turns + " D"), Format::hh).keep_end);
  CHECK(!only(R"({"prompt": "p", "chosen": "a", "rejected": "b"})", Format::preference).keep_end);
}
