// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "eso/data/formats.hpp"
#include "format_reading.hpp"

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using eso::Format;
using format_reading::failure;
using format_reading::Folder;
using format_reading::only;
using format_reading::read;

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
  CHECK(only(R"({"instruction": "Do", "instances": [{"x": 1e400, "input": "", "output": "O"}, "\ud800"]})",
             Format::self_instruct)
            .prompt == without_input + "Do\n\n### Response:\n");

  const auto plain = only(R"({"prompt": " p\n", "response": "r ", "extra": 1e400})", Format::prompt_response);
  CHECK(plain.prompt == " p\n");
  CHECK(plain.response == "r ");

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
  CHECK(strict.examples[0].where() == file.string() + ":6");
  CHECK(strict.dropped[eso::RowFault::other_prompt] == 3);
  CHECK(strict.dropped[eso::RowFault::empty_response] == 2);
  CHECK(strict.dropped.text() ==
        "2 with an empty response, 3 with transcripts that answer different prompts");

  const auto all = eso::read_examples(files, Format::hh, compatible);
  REQUIRE(all.examples.size() == 3);
  CHECK(all.dropped.total() == 3);
  CHECK(all.dropped[eso::RowFault::empty_response] == 3);
  for (const auto& example : all.examples) CHECK(example.prompt == turns);
  CHECK(all.examples[0].rejected == " D");  // blindly: the prompts are equally long
  CHECK(all.examples[1].rejected == " D\n\nHuman: ?\n\nAssistant: E");
}

namespace {

/// Reads a line behind a good one; the name of the fault that it is dropped for, and that refusing says so.
std::string dropped(const std::string& good, const std::string& bad, Format format,
                    eso::FormatOptions options = {}) {
  INFO(bad);
  const Folder folder;
  const std::vector files{folder.write("two.jsonl", good + "\n" + bad + "\n")};
  const auto texts = eso::read_examples(files, format, options);
  CHECK(texts.examples.size() == 1);
  REQUIRE(texts.dropped.total() == 1);
  options.rows.bad = eso::BadRows::refuse;
  for (std::size_t i = 0; i < eso::row_fault_names.size(); ++i) {
    if (texts.dropped.counts()[i] == 0) continue;
    CHECK_THROWS_WITH(eso::read_examples(files, format, options),
                      EndsWith(fmt::format("two.jsonl:2: a row with {}", eso::row_fault_words[i])));
    return std::string(eso::row_fault_names[i]);
  }
  return "none";
}

}  // namespace

TEST_CASE("rows with nothing to learn from are dropped and counted in every format, or refused", "[data]") {
  struct Layout {
    Format format;
    const char *line, *prompt, *response;  // what the fields are called
  };
  for (const auto& [format, line, prompt, response] :
       {Layout{Format::debsum, R"({"document": "d", "summary": "s"})", "document", "summary"},
        Layout{Format::xsum, R"({"document": "d", "summary": "s"})", "document", "summary"},
        Layout{Format::dolly, R"({"instruction": "i", "response": "r"})", "instruction", "response"},
        Layout{Format::dolly, R"({"instruction": "i", "output": "r"})", "instruction", "output"},
        Layout{Format::self_instruct, R"({"instruction": "i", "output": "r"})", "instruction", "output"},
        Layout{Format::preference, R"({"prompt": "p", "chosen": "a", "rejected": "b"})", "prompt", "chosen"},
        Layout{Format::preference, R"({"prompt": "p", "chosen": "a", "rejected": "b"})", "prompt",
               "rejected"},
        Layout{Format::prompt_response, R"({"prompt": "p", "response": "r"})", "prompt", "response"}}) {
    for (const char* blank : {"", " \n", "\u3000"}) {
      auto row = nlohmann::json::parse(line);
      row[prompt] = blank;
      CHECK(dropped(line, row.dump(), format) == "empty_prompt");
      row = nlohmann::json::parse(line);
      row[response] = blank;
      CHECK(dropped(line, row.dump(), format) == "empty_response");
    }
  }
  const std::string self = R"({"instruction": "i", "instances": [{"input": "", "output": "o"}]})";
  CHECK(dropped(self, R"({"instruction": "i", "instances": [{"input": "", "output": " "}]})",
                Format::self_instruct) == "empty_response");
  CHECK(dropped(R"({"text": "t"})", R"({"text": ""})", Format::text) == "empty_response");
  CHECK(dropped(R"({"prompt": "p", "chosen": "a", "rejected": "b"})",
                R"({"prompt": "p", "chosen": "a", "rejected": "a"})", Format::preference) == "equal_pair");
  const std::string question = R"({"question_id": 1, "text": "q"})";
  const eso::FormatOptions answers{.answers = {{"1", "a"}, {"2", " "}}};
  CHECK(dropped(question, R"({"question_id": 2, "text": "q"})", Format::vicuna, answers) == "empty_response");

  const std::string none = "\n\nHuman: Hi\n\nassistant: Yes", fine = turns + " C",
                    good = transcripts(fine, turns + " D");
  CHECK(dropped(good, transcripts(none, fine), Format::hh) == "no_answer");
  CHECK(dropped(good, transcripts(fine, none), Format::hh) == "no_answer");
  CHECK(dropped(good, transcripts("", ""), Format::hh) == "no_answer");
  CHECK(dropped(good, transcripts(none, fine), Format::hh, compatible) == "no_answer");
  CHECK(dropped(good, transcripts(fine, fine), Format::hh) == "equal_pair");
  CHECK(dropped(good, transcripts(fine, fine), Format::hh, compatible) == "equal_pair");
  CHECK(dropped(good, transcripts(fine, "\n\nAssistant: D"), Format::hh) == "other_prompt");
  CHECK(dropped(good, transcripts(turns, fine), Format::hh) == "empty_response");
  CHECK_THAT(failure(transcripts(turns, fine), Format::hh),
             EndsWith("one.jsonl: no example is left of 1: 1 with an empty response"));
  CHECK_THAT(failure(R"({"chosen": "\n\nAssistant: C"})", Format::hh),
             EndsWith(":1: field \"rejected\" is missing"));
}

TEST_CASE("reading stops where it is told to between two rows", "[data]") {
  const Folder folder;
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "\n{\"text\": \"x\", \"question_id\": " + std::to_string(i) + "}\n";
  const std::vector files{folder.write("many.jsonl", lines)};
  int rows = 0;
  const auto stop = [&] {
    if (++rows == 7) throw std::runtime_error("stop");
  };
  CHECK_THROWS_WITH(eso::read_examples(files, Format::text, {.rows = {.between = stop}}), "stop");
  CHECK(rows == 7);  // blank lines, too
  rows = 0;
  CHECK_THROWS_WITH(eso::read_answers(files[0], stop), "stop");
}

TEST_CASE("examples are numbered by their line over all files, blank lines counted", "[data]") {
  const Folder folder;
  const auto first = folder.write("a.jsonl", "\n{\"text\": \"1\"}\n\n{\"text\": \"3\"}\n\n");  // lines 0 to 4
  const auto empty = folder.write("b.jsonl", "");
  const auto second = folder.write("c.jsonl", "{\"text\": \"5\"}\n\n{\"text\": \"7\"}");
  const auto examples = read({first, empty, second}, Format::text);
  REQUIRE(examples.size() == 4);
  for (const auto& example : examples) CHECK(std::to_string(example.number) == example.response);
  CHECK(examples[1].where() == first.string() + ":4");
  CHECK(examples[3].where() == second.string() + ":3");
}

TEST_CASE("files without an example and missing files are refused by name", "[data]") {
  const Folder folder;
  const auto blank = folder.write("blank.jsonl", "\n \n");
  CHECK_THROWS_WITH(read({blank}, Format::text), blank.string() + ": no example in it");
  CHECK_THROWS_WITH(read({}, Format::text), Contains("no file is given"));
  CHECK_THROWS_WITH(read({folder / "none.jsonl"}, Format::text), Contains("none.jsonl: cannot be opened"));
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
  CHECK_THAT(failure(R"({"instruction": "Do"})", Format::dolly),
             EndsWith(":1: field \"response\" is missing"));
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
