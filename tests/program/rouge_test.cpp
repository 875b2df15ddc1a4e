// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "run_program.hpp"

TEST_CASE("eso rouge gives F1 of three kinds in full precision") {
  // "the cat sat" and "cat sat on": 2 of 3 words both ways, F1 2/3; one of two pairs, F1 1/2; "cat sat" in
  // order, 2/3.
  const Finished f = program({"rouge"}, R"({"target":"The cat sat.","prediction":"cat, SAT on","id":7})"
                                        "\n"
                                        R"({"target":"","prediction":"a"})"
                                        "\n"
                                        R"({"prediction":"same words","target":"same words"})"
                                        "\n");
  CHECK(f.code == 0);
  CHECK(f.err.empty());
  const auto lines = f.lines();
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].size() == 3);
  CHECK(lines[0]["rouge1"].get<double>() == 2 * (2.0 / 3) * (2.0 / 3) / (2.0 / 3 + 2.0 / 3));
  CHECK(lines[0]["rouge2"].get<double>() == 0.5);
  CHECK(lines[0]["rougeL"].get<double>() == lines[0]["rouge1"].get<double>());
  CHECK(lines[1] == nlohmann::json{{"rouge1", 0.0}, {"rouge2", 0.0}, {"rougeL", 0.0}});
  CHECK(lines[2] == nlohmann::json{{"rouge1", 1.0}, {"rouge2", 1.0}, {"rougeL", 1.0}});
}

TEST_CASE("eso rouge --stemmer joins words of one stem") {
  const std::string line = R"({"target":"the runner was running","prediction":"the runners run"})"
                           "\n";
  const auto plain = program({"rouge"}, line).lines();
  const auto stemmed = program({"rouge", "--stemmer"}, line).lines();
  REQUIRE(plain.size() == 1);
  REQUIRE(stemmed.size() == 1);
  // One of 4 and 3 words; with stems the, runner and run are shared: 3 of 4 and 3 of 3.
  CHECK(plain[0]["rouge1"].get<double>() == Approx(2.0 / 7));
  CHECK(stemmed[0]["rouge1"].get<double>() == Approx(6.0 / 7));
}

TEST_CASE("eso rouge refuses bad lines with their place and answers nothing for no line") {
  CHECK(program({"rouge"}).out.empty());
  CHECK(program({"rouge"}).code == 0);
  CHECK(not_refused(program({"rouge"}, "\n\n{\"target\":\"a\"}\n"),
                    {"<stdin>:3:", "\"prediction\"", "missing"}) == "");
  CHECK(not_refused(program({"rouge"}, "{\"prediction\":\"a\"}"), {"<stdin>:1:", "\"target\"", "missing"}) ==
        "");
  CHECK(not_refused(program({"rouge"}, "{\"target\":null,\"prediction\":\"a\"}"),
                    {"<stdin>:1:", "\"target\"", "null"}) == "");
}

TEST_CASE("eso rouge answers in the order of the lines, whatever the number of threads") {
  std::string lines;
  for (int i = 0; i < 3000; ++i) {
    lines += fmt::format("{{\"target\":\"word{} and word{}\",\"prediction\":\"word{} running\"}}\n", i % 7,
                         i % 5, i % 3);
    if (i % 100 == 0) lines += "\n";
  }
  const auto one = program({"rouge", "--stemmer", "--threads", "1"}, lines);
  const auto four = program({"rouge", "--stemmer", "--threads", "4"}, lines);
  CHECK(one.lines().size() == 3000);
  CHECK(one.out == four.out);
  // A bad line far behind is named by its number, and the lines before it are answered.
  const auto bad = program({"rouge", "--threads", "4"}, lines + "{\"target\":1}\n");
  CHECK(not_refused(bad, {"<stdin>:3031:", "\"target\"", "a number"}) == "");
}
