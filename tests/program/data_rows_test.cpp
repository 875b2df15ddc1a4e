// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>

#include "train_run.hpp"

// Rows that public data hold: what is dropped, cut, counted and recorded, and reading that a signal stops.

namespace {

std::string pair_line(const std::string& prompt, const std::string& chosen, const std::string& rejected) {
  return Json{{"prompt", prompt}, {"chosen", chosen}, {"rejected", rejected}}.dump() + "\n";
}

/// The counts that the run wrote into its `config.toml`.
Json recorded(const std::filesystem::path& run) {
  const std::string config = read_file(run / "config.toml"), start = "# data: ";
  const std::size_t at = config.find(start);
  if (at == std::string::npos) throw std::runtime_error("no counts in config.toml");
  return Json::parse(config.substr(at + start.size()));
}

Json counts(int examples, int cut, const std::map<std::string, int>& dropped = {}) {
  Json all{{"examples", examples}, {"cut_responses", cut}, {"cut_prompts", 0}};
  for (const char* name : {"long_prompt", "beyond_context", "empty_prompt", "empty_response", "equal_pair",
                           "other_prompt", "no_answer"})
    all["dropped"][name] = dropped.count(name) ? dropped.at(name) : 0;
  return all;
}

}  // namespace

TEST_CASE("train says and records what it dropped and cut, and resumes with it") {
  const Runs runs(json_line("a", "uplet") + json_line("", "e") + json_line("b", "") + json_line("c", "   e") +
                  json_line("d", "e") + json_line("!!!!!!!!!", "e") + json_line("f", "upletu"));
  Words call = runs.call("run", Words{"--method", "sft", "--max-steps", "2", "--max-response-tokens", "3",
                                      "--max-prompt-tokens", "5", "--threads", "1"});
  const Finished f = program(call);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "dropped 1 examples with an empty prompt") == 1);
  CHECK(lines_with(f.err, "dropped 1 examples with an empty response") == 2);  // one as it is, one once cut
  CHECK(lines_with(f.err, "dropped 1 examples with a prompt of more than 5 tokens") == 1);
  CHECK(lines_with(f.err, "cut the responses of 2 examples to 3 tokens (--max-response-tokens)") == 1);
  CHECK(recorded(runs / "run") ==
        counts(3, 2, {{"empty_prompt", 1}, {"empty_response", 2}, {"long_prompt", 1}}));
  std::filesystem::remove_all(runs / "run" / "model");
  CHECK(program({"train", "--resume", (runs / "run").string()}).code == 0);

  call[8] = (runs / "refused").string();
  const Finished refused = program(call + Words{"--bad-rows", "refuse"});
  CHECK(not_refused(refused, {runs.data + ":2: a row with an empty prompt"}) == "");
  write_file(runs.data, json_line("a", "u") + json_line("c", "   e"));
  const Finished cut = program(call + Words{"--bad-rows", "refuse"});
  CHECK(not_refused(cut, {runs.data + ":2: a row with an empty response, in tokens and cut to 3"}) == "");
  CHECK(!std::filesystem::exists(runs / "refused"));
}

TEST_CASE("pairs that are equal, or that the cut makes equal, are not trained on") {
  const Runs runs(pair_line("a", "upletu", "uplete") + pair_line("b", "e", "e") + pair_line("c", "e", "u"));
  Words call = runs.call("run", {"--method", "dpo", "--max-steps", "1", "--max-response-tokens", "5"});
  call[6] = "preference";
  const Finished f = program(call);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "dropped 1 examples with equal responses") == 2);
  CHECK(recorded(runs / "run") == counts(1, 0, {{"equal_pair", 2}}));
}

TEST_CASE("where no example is left the limits and their flags are named") {
  const Runs runs(json_line("!!!!!", "e") + json_line("!!!!!!!!!!!!!!", "eeeeeeee") + json_line("a", ""));
  const Finished f = program(runs.call("run", {"--method", "sft", "--max-prompt-tokens", "4"}));
  CHECK(not_refused(f, {runs.data + ": no example is left of 2: 2 with a prompt of more than 4 tokens "
                                    "(--max-prompt-tokens)"}) == "");
  write_file(runs.data, json_line("!!!!!!!!!!!!!!", "eeeeeeee"));
  const Finished context = program(runs.call("run", {"--method", "sft"}));
  CHECK(not_refused(context, {"no example is left of 1: 1 longer than the context of 20 tokens",
                              "--max-response-tokens 128"}) == "");
}

TEST_CASE("eval says and records what it dropped and cut") {
  const Runs runs(json_line("a", "uplet") + json_line("", "e") + json_line("b", " ") + json_line("c", "e"));
  const std::string output = (runs / "eval.json").string();
  const Words call{"eval",
                   "--model",
                   golden_model("plain"),
                   "--data",
                   runs.data,
                   "--format",
                   "prompt-response",
                   "--output",
                   output,
                   "--seeds",
                   "1",
                   "--temperature",
                   "0",
                   "--max-response-tokens",
                   "3"};
  const Finished f = program(call);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "cut the responses of 1 examples to 3 tokens") == 1);
  CHECK(Json::parse(read_file(output)).at("rows") ==
        counts(2, 1, {{"empty_prompt", 1}, {"empty_response", 1}}));
  const Finished refused = program(call + Words{"--bad-rows", "refuse"});
  CHECK(not_refused(refused, {runs.data + ":2: a row with an empty prompt"}) == "");
}

TEST_CASE("fields that no format reads may hold any JSON") {
  const Runs runs;
  const Words sft{"--method", "sft", "--max-steps", "1", "--threads", "1", "--no-shuffle"};
  const std::string row = R"({"prompt":"a","response":"b")";
  write_file(runs.data, row + "}\n");
  const Weights plain = weights_of(runs.train("plain", sft));
  int run = 0;
  for (const std::string& value :
       {std::string("1e400"), std::string(400, '9'), std::string(R"("\ud800")"),
        std::string(R"({"\udc00":[1]})"), std::string(5000, '[') + std::string(5000, ']'),
        std::string(R"({"a":1,"a":2},"other":1,"other":2)")}) {
    INFO(value.substr(0, 40));
    write_file(runs.data, row + ",\"other\":" + value + "}\n");
    CHECK(weights_of(runs.train(fmt::format("run {}", ++run), sft)) == plain);
  }
}

TEST_CASE("data that are not JSON lines are said to be what they are") {
  const Runs runs;
  const auto refused = [&](const std::string& content, const Words& fragments) {
    write_file(runs.data, content);
    const Finished f = program(runs.call("run", {"--method", "sft"}));
    CHECK(not_refused(f, fragments + Words{runs.data}) == "");
  };
  const Words lines{":1: is not a JSON object", "one JSON object per line"};
  refused("prompt,response\na,b\n", lines + Words{"CSV"});
  refused("prompt\tresponse\na\tb\n", lines + Words{"TSV"});
  refused(R"([{"prompt":"a","response":"b"}])", lines + Words{"an array"});
  refused("[\n  {\"prompt\":\"a\",\"response\":\"b\"}\n]\n", lines + Words{"an array"});
  refused("<!DOCTYPE html>\n", lines + Words{"a web page"});
  refused("version https://git-lfs.github.com/spec/v1\n", lines + Words{"a Git LFS pointer"});
  refused("{\n  \"prompt\": \"a\"\n}\n",
          {":1: malformed JSON at byte 2: it ends too early", "one JSON object per line"});
  refused("PAR1\x15", {"a Parquet file", "lines in UTF-8"});
  refused(std::string("\xFF\xFE{\0\"\0", 6), {"UTF-16", "lines in UTF-8"});
  refused("PK\x03\x04 and so on", {"a zip archive", "lines in UTF-8"});
  refused("\x1F\x8B\x08 and so on", {"gzip data, whose name must end in .gz"});
}

TEST_CASE("a signal ends the reading of data before their end") {
  for (const std::string& line : {json_line("a", "b"), std::string("\n")}) {  // rows, and blank lines
    const Runs runs;
    const std::string fifo = (runs / "endless.jsonl").string();
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    Words call = runs.call("run", {"--method", "sft"});
    call[4] = fifo;
    Running running(call);
    const auto before = std::signal(SIGPIPE, SIG_IGN);
    const int writer = ::open(fifo.c_str(), O_WRONLY);
    REQUIRE(writer >= 0);
    std::string block;
    while (block.size() < 60000) block += line;
    bool read_all = true;
    for (int i = 0; i < 2000 && read_all; ++i) {  // 120 MB
      if (i == 20) running.signal(SIGINT);
      for (std::string_view rest = block; !rest.empty();) {
        const ssize_t size = ::write(writer, rest.data(), rest.size());
        if (size <= 0 && errno != EINTR) read_all = false;
        if (!read_all) break;
        rest.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
      }
    }
    ::close(writer);
    std::signal(SIGPIPE, before);
    const Finished f = running.finish();
    CHECK(f.code == 128 + SIGINT);
    CHECK(!read_all);
    CHECK(!std::filesystem::exists(runs / "run"));
  }
}
