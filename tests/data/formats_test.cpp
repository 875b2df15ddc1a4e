// SPDX-License-Identifier: MIT
#include <unistd.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "eso/data/formats.hpp"

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using eso::Format;

/// A folder that goes away with its files.
struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("eso_formats_test_{}", getpid());
  Folder() { std::filesystem::create_directories(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

std::vector<eso::TextExample> read(const std::vector<std::filesystem::path>& files, Format format) {
  return eso::read_examples(files, format);
}

/// The one example of a line.
eso::TextExample only(const std::string& line, Format format) {
  const Folder folder;
  const auto examples = read({folder.write("one.jsonl", line + "\n")}, format);
  REQUIRE(examples.size() == 1);
  return examples[0];
}

std::string failure(const std::string& line, Format format) {
  try {
    only(line, format);
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
  CHECK(eso::format_named("prompt-response") == Format::prompt_response);
  CHECK(eso::format_named("text") == Format::text);
  CHECK_THROWS_WITH(eso::format_named("csv", "--format"),
                    "--format: unknown format, found csv, expected debsum, xsum, dolly, self-instruct, "
                    "prompt-response, text");
  CHECK_THROWS_AS(eso::format_named(""), eso::Error);
  CHECK_THROWS_AS(eso::format_named("Debsum"), eso::Error);
  CHECK_THROWS_WITH(eso::format_named("hh", "--format"), "--format: format hh is not there yet");
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

TEST_CASE("Self-Instruct's published tasks are read whole", "[data]") {
  const auto file =
      std::filesystem::path(ESO_SHARED_DIR) / "data/self-instruct/user_oriented_instructions.jsonl";
  if (!std::filesystem::exists(file)) {
    WARN("Self-Instruct is not tested: there is no " << file);
    return;
  }
  const auto examples = read({file}, Format::self_instruct);
  CHECK(examples.size() == 252);
  std::size_t without_input = 0;
  for (const auto& example : examples)
    without_input += example.prompt.find("\n### Input:\n") == std::string::npos ? 1U : 0U;
  CHECK(without_input == 44);  // as counted in the file by others
}
