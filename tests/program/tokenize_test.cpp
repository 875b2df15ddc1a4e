// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "run_program.hpp"

namespace {

std::vector<std::string> call(const std::string& folder, bool decode = false) {
  std::vector<std::string> arguments{"tokenize", "--tokenizer", folder};
  if (decode) arguments.emplace_back("--decode");
  return arguments;
}

}  // namespace

TEST_CASE("eso tokenize gives ids by character, merge and added token") {
  // The vocabulary: "!" 0 ... "&" 5, "'" 6, <|endoftext|> 7, "(" 8, ...; space 95, line end 96; "th" 97, "
  // th" 98, " the" 99.
  const Finished f = program(call(golden_model("plain")), R"({"text":"!(th the th<|endoftext|>\n"})"
                                                          "\n"
                                                          R"({"text":"","other":[1,{"x":null}]})"
                                                          "\n");
  CHECK(f.code == 0);
  CHECK(f.err.empty());
  CHECK(f.out == "{\"ids\":[0,8,97,99,98,7,96]}\n{\"ids\":[]}\n");
}

TEST_CASE("eso tokenize --decode keeps special tokens and spaces and leaves out ids without a token") {
  const Finished f = program(call(golden_model("plain"), true), R"({"ids":[99,0,95,0,7,100,2147483647]})"
                                                                "\n"
                                                                R"({"ids":[]})"
                                                                "\n");
  CHECK(f.code == 0);
  CHECK(f.out == "{\"text\":\" the! !<|endoftext|>\"}\n{\"text\":\"\"}\n");
}

TEST_CASE("eso tokenize skips blank lines, takes CRLF, a byte order mark and a last line without an end") {
  const Finished f =
      program(call(golden_model("plain")), "\xEF\xBB\xBF{\"text\":\"!\"}\r\n\n  \t\r\n{\"text\":\"(\"}");
  CHECK(f.code == 0);
  CHECK(f.out == "{\"ids\":[0]}\n{\"ids\":[8]}\n");
}

TEST_CASE("eso tokenize --decode writes ASCII, so that no reader finds a line end in the text") {
  // Bytes without a token are the unknown token; U+2028 can only come from the input of a tokenizer that has
  // its bytes.
  TemporaryFolder folder;
  write_file(folder / "vocab.json",
             "{\"\u00e2\":0,\"\u0122\":1,\"\u00a8\":2,\"<|endoftext|>\":3}");  // E2 80 A8
  write_file(folder / "merges.txt", "#version: 0.2\n");
  const Finished f = program(call(folder.path().string(), true), "{\"ids\":[0,1,2,0]}");
  CHECK(f.code == 0);
  CHECK(f.out == "{\"text\":\"\\u2028\\ufffd\"}\n");
}

TEST_CASE("eso tokenize without a line writes nothing and exits with 0") {
  for (const char* input : {"", "\n", " \n\n"}) {
    const Finished f = program(call(golden_model("plain")), input);
    CHECK(f.code == 0);
    CHECK(f.out.empty());
  }
}

TEST_CASE("eso tokenize refuses bad lines with their place") {
  struct Case {
    const char* line;
    std::vector<std::string> fragments;
  };
  const Case cases[] = {{"{\"text\":", {"<stdin>:2:", "JSON"}},
                        {"[1]", {"<stdin>:2:", "object"}},
                        {"{\"ids\":[1]}", {"<stdin>:2:", "\"text\"", "missing"}},
                        {"{\"text\":3}", {"<stdin>:2:", "\"text\"", "a number", "a string"}},
                        {"{\"text\":\"\xFF\"}", {"<stdin>:2:", "UTF-8"}},
                        {"{\"text\":\"\\ud800\"}", {"<stdin>:2:", "\"text\"", "surrogate"}}};
  for (const Case& c : cases) {
    const Finished f = program(call(golden_model("plain")),
                               "{\"text\":\"!\"}\n" + std::string(c.line) + "\n{\"text\":\"!\"}\n");
    CHECK(not_refused(f, c.fragments) == "");
    CHECK((f.out.empty() || f.out == "{\"ids\":[0]}\n"));
  }
  const Case decoded[] = {{"{\"text\":\"a\"}", {"<stdin>:1:", "\"ids\"", "missing"}},
                          {"{\"ids\":[1,-1]}", {"<stdin>:1:", "-1"}},
                          {"{\"ids\":[1.0]}", {"<stdin>:1:", "1.0"}},
                          {"{\"ids\":[2147483648]}", {"<stdin>:1:", "2147483648"}},
                          {"{\"ids\":\"1\"}", {"<stdin>:1:", "a string", "array"}}};
  for (const Case& c : decoded) {
    CHECK(not_refused(program(call(golden_model("plain"), true), std::string(c.line) + "\n"), c.fragments) ==
          "");
  }
}

TEST_CASE("eso tokenize refuses a folder without a usable tokenizer and names what is wrong") {
  TemporaryFolder folder;
  CHECK(not_refused(program(call((folder / "missing").string())), {(folder / "missing").string()}) == "");
  CHECK(not_refused(program(call(folder.path().string())), {folder.path().string(), "tokenizer.json"}) == "");
  write_file(folder / "vocab.json", "{\"a\":0");
  write_file(folder / "merges.txt", "#version: 0.2\n");
  CHECK(not_refused(program(call(folder.path().string())), {(folder / "vocab.json").string()}) == "");
  write_file(folder / "tokenizer.json", "{}");
  CHECK(not_refused(program(call(folder.path().string())), {(folder / "tokenizer.json").string()}) == "");
  CHECK(not_refused(program({"tokenize"}), {"--tokenizer", "required"}) == "");
}
