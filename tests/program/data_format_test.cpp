// SPDX-License-Identifier: MIT
#include "hostile_input.hpp"

namespace {

/// A model with room for the templates: that of the golden `plain` with random weights and a context of 3000.
std::string wide_model(const Runs& runs) {
  const auto start = copy_model("plain", runs.folder);
  std::filesystem::remove(start / "model.safetensors");
  Json config = Json::parse(read_file(start / "config.json"));
  config["n_positions"] = 3000;
  write_file(start / "config.json", config.dump());
  write_file(runs / "text.jsonl", "{\"text\":\"one two three\"}\n");
  const Finished f = program({"train", "--method", "pretrain", "--model", start.string(), "--data",
                              (runs / "text.jsonl").string(), "--format", "text", "--output",
                              (runs / "start").string(), "--max-steps", "1", "--threads", "1"});
  if (f.code != 0) throw std::runtime_error(f.err);
  return (runs / "start" / "model").string();
}

/// What `eso eval` makes of the data: standard error, its results and the lines of its predictions.
struct Evaluation {
  std::string err;
  Json results;
  std::vector<Json> lines;
};

Evaluation evaluate(const Runs& runs, const std::string& model, const Words& more) {
  const std::string output = (runs / "eval.json").string(),
                    predictions = (runs / "predictions.jsonl").string();
  const Finished f = program(completed(Words{"eval"} + more, {{"--model", model},
                                                              {"--data", runs.data},
                                                              {"--temperature", "0"},
                                                              {"--max-response-tokens", "2"},
                                                              {"--output", output},
                                                              {"--predictions", predictions}}));
  if (f.code != 0) throw std::runtime_error(f.err);
  return {f.err, Json::parse(read_file(output)), json_lines(predictions)};
}

std::vector<int> examples_of(const std::vector<Json>& lines) {
  std::vector<int> numbers;
  for (const Json& line : lines) numbers.push_back(line.at("example").get<int>());
  return numbers;
}

/// The examples that a run trained on.
std::set<int> trained_on(const std::filesystem::path& run) {
  const std::vector<int> numbers = examples_of(json_lines(run / "completions.jsonl"));
  return {numbers.begin(), numbers.end()};
}

const std::string with_input =
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a "
    "response that appropriately completes the request.\n\n### Instruction:\n";
const std::string without_input =
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n";
const std::string dialogue = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: A?\n\nAssistant:";

std::string pair_line(const std::string& chosen, const std::string& rejected) {
  return Json{{"chosen", chosen}, {"rejected", rejected}}.dump() + "\n";
}

/// A case of `eso train` that is refused for the second of two lines of data.
HostileCase second_line(const std::string& format, const std::string& good, const std::string& bad,
                        const std::string& message, const Words& more = {}) {
  return {format + ": " + message,
          [=](const Place& place) {
            const std::string data = place.write("data.jsonl", good + "\n" + bad + "\n");
            return train(place, Words{"--data", data, "--format", format} + more);
          },
          "@/data.jsonl:2: " + message};
}

std::vector<HostileCase> bad_lines() {
  const std::string dolly = R"({"instruction":"a","context":"","response":"b"})";
  const std::string task = R"({"instruction":"a","instances":[{"input":"","output":"b"}]})";
  const std::string article = R"({"document":"a","summary":"b","id":"1"})";
  const std::string better = R"({"prompt":"a","chosen":"b","rejected":"c"})";
  const std::string good_pair = R"({"chosen":"\n\nAssistant: b","rejected":"\n\nAssistant: c"})";
  const auto bad_dolly = [&](const std::string& bad, const std::string& message) {
    return second_line("dolly", dolly, bad, message);
  };
  const auto bad_task = [&](const std::string& bad, const std::string& message) {
    return second_line("self-instruct", task, bad, message);
  };
  const auto bad_pair = [&](const std::string& bad, const std::string& message) {
    return second_line("preference", better, bad, message);
  };
  const auto bad_hh = [&](const std::string& bad, const std::string& message) {
    return second_line("hh", good_pair, bad, message);
  };
  const std::string two = " are two spellings of one, with different texts";
  const auto unfit = [&](const std::string& format, const std::string& good, const std::string& bad,
                         const std::string& fault) {
    return second_line(format, good, bad, "a row with " + fault, {"--bad-rows", "refuse"});
  };
  return {
      unfit("dolly", dolly, R"({"instruction":" ","response":"b"})", "an empty prompt"),
      unfit("dolly", dolly, R"({"instruction":"a","response":"\n"})", "an empty response"),
      unfit("self-instruct", task, R"({"instruction":"a","instances":[{"input":"","output":""}]})",
            "an empty response"),
      unfit("xsum", article, R"({"document":"","summary":"b"})", "an empty prompt"),
      unfit("preference", better, R"({"prompt":"a","chosen":"b","rejected":"b"})", "equal responses"),
      unfit("preference", better, R"({"prompt":"a","chosen":"b","rejected":""})", "an empty response"),
      unfit("hh", good_pair, R"({"chosen":"\n\nHuman: b","rejected":"\n\nAssistant: c"})",
            "a transcript that does not answer"),
      unfit("hh", good_pair, R"({"chosen":"\n\nAssistant: c","rejected":"\n\nAssistant: c"})",
            "equal responses"),
      unfit("hh", good_pair, R"({"chosen":"a\n\nAssistant: c","rejected":"\n\nAssistant: d"})",
            "transcripts that answer different prompts"),
      bad_dolly(R"({"context":"","response":"b"})", "field \"instruction\" is missing"),
      bad_dolly(R"({"instruction":"a","context":""})", "field \"response\" is missing"),
      bad_dolly(R"({"instruction":"a","context":"c","input":"i","response":"b"})",
                "fields \"context\" and \"input\"" + two),
      bad_dolly(R"({"instruction":"a","response":"b","output":"c"})",
                "fields \"response\" and \"output\"" + two),
      bad_dolly(R"({"instruction":["a"],"response":"b"})",
                "field \"instruction\" has the wrong type, found an array, expected a string"),
      bad_task(R"({"instruction":"a","instances":[]})", "field \"instances\" has the wrong type"),
      bad_task(R"({"instruction":"a"})", "field \"instances\" is missing"),
      bad_task(R"({"instruction":"a","instances":[{"input":"x","output":"y"}],"input":"z"})",
               "fields \"instances[0].input\" and \"input\"" + two),
      second_line("xsum", article, R"({"document":"a"})", "field \"summary\" is missing",
                  {"--xsum-template", "tldr"}),
      bad_pair(R"({"prompt":"a","chosen":"b"})", "field \"rejected\" is missing"),
      bad_hh(R"({"chosen":"\n\nAssistant: b"})", "field \"rejected\" is missing"),
      bad_hh(R"({"chosen":"\n\nAssistant: c","rejected":"\n\nAssistant: \u00)", "malformed JSON at byte"),
  };
}

/// A case of `eso train --format vicuna` with these questions and answers.
HostileCase vicuna(const std::string& questions, const std::string& answers, const std::string& message) {
  return {"vicuna: " + message,
          [=](const Place& place) {
            return train(place, {"--data", place.write("questions.jsonl", questions), "--answers",
                                 place.write("answers.jsonl", answers), "--format", "vicuna"});
          },
          message};
}

std::vector<HostileCase> bad_answers() {
  const std::string question = "{\"question_id\":1,\"text\":\"a\"}\n",
                    answer = "{\"question_id\":1,\"text\":\"b\"}\n";
  return {
      vicuna(question + "{\"question_id\":2,\"turns\":[\"c\"]}\n", answer,
             "@/questions.jsonl:2: question 2 has no answer"),
      vicuna(question + question, answer, "@/questions.jsonl:2: question 1 is there twice"),
      vicuna(question, answer + answer, "@/answers.jsonl:2: question 1 is answered twice"),
      vicuna(question, "{\"text\":\"b\"}\n", "@/answers.jsonl:1: field \"question_id\" is missing"),
      vicuna(question, "{\"question_id\":1,\"text\":\"\"}\n",
             "@/questions.jsonl: no example is left of 1: 1 with an empty response"),
      vicuna("{\"question_id\":1}\n", answer, "@/questions.jsonl:1: field \"text\" is missing"),
      vicuna("{\"question_id\":1,\"text\":\"a\",\"turns\":[\"b\"]}\n", answer,
             "@/questions.jsonl:1: fields \"text\" and \"turns\" are two spellings"),
      vicuna("{\"question_id\":1,\"turns\":[\"a\",\"b\"]}\n", answer,
             "@/questions.jsonl:1: field \"turns\" does not hold one question"),
  };
}

/// A case of `eso train` with these flags, which are refused before any file is read.
HostileCase flags(const Words& more, const std::string& message) {
  return {fmt::format("train {}", fmt::join(more, " ")),
          [=](const Place& place) { return train(place, more); }, message};
}

std::vector<HostileCase> bad_flags() {
  return {
      flags({"--format", "vicuna"}, "--answers: is required for --format vicuna"),
      flags({"--answers", "x.jsonl"}, "--answers: goes with --format vicuna alone, found x.jsonl"),
      flags({"--format", "vicuna", "--answers", "/none.jsonl"}, "/none.jsonl: cannot be opened"),
      flags({"--xsum-template", "short"}, "--xsum-template: unknown, found short, expected alpaca or tldr"),
      flags({"--bad-rows", "keep"}, "--bad-rows: unknown, found keep, expected drop or refuse"),
      flags({"--hh-split", "lax"}, "--hh-split: unknown, found lax, expected strict or dpo-compat"),
      flags({"--prompt-overflow", "cut"}, "--prompt-overflow: unknown, found cut, expected skip or truncate"),
      flags({"--test-split", "first:3"}, "--test-split: is no split, found first:3, expected first-n:COUNT"),
      flags({"--test-split", "seeded:7"}, "--test-split: cannot take 7 of 7 examples"),
      {"hh: nothing is left",
       [](const Place& place) {
         const std::string data = place.write("data.jsonl", pair_line(dialogue, dialogue + " A"));
         return train(place, {"--data", data, "--format", "hh"});
       },
       "@/data.jsonl: no example is left of 1: 1 with an empty response"},
  };
}

}  // namespace

TEST_CASE("bad lines of the published formats are refused by their place") { check_all(bad_lines(), 21); }

TEST_CASE("questions without an answer and answers given twice are refused by their place") {
  check_all(bad_answers(), 8);
}

TEST_CASE("flags about the data that are no good are refused") { check_all(bad_flags(), 10); }

TEST_CASE("eso eval puts the prompts of each format together and takes its response for the reference") {
  const Runs runs;
  const std::string model = wide_model(runs);
  struct Case {
    Words flags;
    std::string line, prompt, reference;
  };
  const std::string answers = (runs / "answers.jsonl").string();
  write_file(answers, "{\"question_id\":5,\"text\":\"b\"}\n");
  const std::string end = "\n\n### Response:\n",
                    article = with_input + "Summarize the following article in one sentence.";
  for (const Case& c : {
           Case{{"dolly"},
                R"({"instruction":"a","context":"c","response":"b","category":"x"})",
                with_input + "a\n\n### Input:\nc" + end,
                "b"},
           Case{{"dolly"}, R"({"instruction":"a","input":"","output":"b"})", without_input + "a" + end, "b"},
           Case{{"self-instruct"},
                R"({"id":"1","instruction":"a","instances":[{"input":"c","output":"b"}]})",
                with_input + "a\n\n### Input:\nc" + end,
                "b"},
           Case{{"vicuna", "--answers", answers},
                R"({"question_id":5,"turns":["a"],"category":"x"})",
                without_input + "a" + end,
                "b"},
           Case{{"xsum"},
                R"({"document":"c\nd","summary":"b","id":"1"})",
                article + "\n\n### Input:\nc\nd" + end,
                "b"},
           Case{{"xsum", "--xsum-template", "tldr"}, R"({"document":"c","summary":"b"})", "c\n\nTL;DR:", "b"},
           Case{{"hh"}, pair_line(dialogue + " b", dialogue + " c"), dialogue, "b"},
           Case{{"preference"}, R"({"prompt":"a","chosen":"b","rejected":"c"})", "a", "b"},
           Case{{"prompt-response"}, R"({"prompt":"a","response":"b"})", "a", "b"},
       }) {
    INFO(c.line);
    write_file(runs.data, c.line + "\n");
    const Evaluation evaluation = evaluate(runs, model, Words{"--format"} + c.flags);
    REQUIRE(evaluation.lines.size() == 1);
    CHECK(evaluation.lines[0].at("prompt") == c.prompt);
    CHECK(evaluation.lines[0].at("reference") == c.reference);
    CHECK(evaluation.err.find("dropped") == std::string::npos);
    // the file of answers is named with its checksum, as Python's zlib.crc32 gives it
    CHECK(evaluation.results.contains("answers") == (c.flags[0] == "vicuna"));
    if (c.flags[0] == "vicuna")
      CHECK(evaluation.results["answers"] == Json{{"file", answers}, {"crc32", "0fd2f185"}});
    Words call =
        runs.call("run of " + fmt::format("{}", fmt::join(c.flags, " ")) + std::to_string(c.line.size()),
                  Words{"--method", "sft", "--max-steps", "1", "--threads", "1"} +
                      Words(c.flags.begin() + 1, c.flags.end()));
    call[2] = model, call[6] = c.flags[0];
    const Finished f = program(call);
    CHECK(f.code == 0);
    CHECK(program({"train", "--resume", call[8]}).code == 0);
  }
}

TEST_CASE("pairs of transcripts that are none are dropped aloud, or kept as DPO's code has them") {
  const Runs runs(pair_line(dialogue + " b", dialogue + " c") +
                  pair_line(dialogue + " b", "\n\nAssistant: c") +
                  pair_line(dialogue + " ", dialogue + " c") + pair_line(dialogue + " d", dialogue + " c") +
                  pair_line(dialogue + " b", "\n\nHuman: Ho" + dialogue.substr(11) + " c"));
  const std::string model = wide_model(runs);
  const Evaluation strict = evaluate(runs, model, {"--format", "hh"});
  CHECK(examples_of(strict.lines) == std::vector<int>{0, 3});
  CHECK(lines_with(strict.err, "dropped 2 examples with transcripts that answer different prompts") == 1);
  CHECK(lines_with(strict.err, "dropped 1 examples with an empty response") == 1);
  const Evaluation all = evaluate(runs, model, {"--format", "hh", "--hh-split", "dpo-compat"});
  // Cut where the chosen transcript answers, as DPO's code does, the second has nothing left to reject.
  CHECK(examples_of(all.lines) == std::vector<int>{0, 3, 4});
  CHECK(lines_with(all.err, "dropped 2 examples with an empty response") == 1);
  CHECK(strict.results.at("rows").at("dropped").at("other_prompt") == 2);
  CHECK(strict.results.at("rows").at("dropped").at("empty_response") == 1);
  CHECK(strict.results.at("rows").at("examples") == 2);
}

TEST_CASE("training leaves the test part of the data, evaluation takes it and nothing else") {
  const Runs runs;  // seven examples
  for (const char* split : {"first-n:2", "seeded:3:5"}) {
    const auto run = runs.train(
        std::string("run") + split[0],
        Words{"--method", "eso", "--active-epochs", "all", "--epochs", "1", "--test-split", split});
    const std::set<int> training = trained_on(run);
    const std::vector<int> testing = examples_of(
        evaluate(runs, golden_model("plain"), {"--format", "prompt-response", "--test-split", split}).lines);
    CHECK(testing == (split[0] == 'f' ? std::vector<int>{0, 1} : testing));
    CHECK(testing.size() == (split[0] == 'f' ? 2 : 3));
    CHECK(std::is_sorted(testing.begin(), testing.end()));
    CHECK(training.size() + testing.size() == 7);
    for (const int number : testing) CHECK(!training.contains(number));
  }
}

TEST_CASE("eso compare evaluates on the test part where no other data are given") {
  const Runs runs;
  const std::string output = (runs / "both").string();
  const Words call{"compare",
                   "--methods",
                   "sft,eso",
                   "--model",
                   golden_model("plain"),
                   "--data",
                   runs.data,
                   "--format",
                   "prompt-response",
                   "--output",
                   output,
                   "--epochs",
                   "1",
                   "--threads",
                   "1",
                   "--temperature",
                   "0",
                   "--curve",
                   "1",
                   "--max-response-tokens",
                   "4"};
  const Finished without = program(call);
  CHECK(without.code == 2);
  CHECK(without.last_error().starts_with("eso: error: --evaluation-data: is required"));
  const Finished f = program(call + Words{"--test-split", "first-n:2"});
  REQUIRE(f.code == 0);
  const Json comparison = Json::parse(read_file(output + "/comparison.json"));
  CHECK(comparison["settings"]["evaluation"] == runs.data);
  CHECK(comparison["methods"]["eso"]["eval"][0]["examples"] == 2);
  CHECK(examples_of(comparison["examples"].get<std::vector<Json>>()) == std::vector<int>{0, 1});
  CHECK(trained_on(runs / "both" / "eso" / "seed-0") == std::set<int>{2, 3, 4, 5, 6});
}

TEST_CASE("evaluation cuts a long prompt inside its input, training drops it, and both can do the other") {
  // "x" takes a token a letter; the prompt around the document has 11 tokens or fewer.
  const Runs runs("{\"document\":\"" + std::string(60, 'x') +
                  "\",\"summary\":\"e\"}\n{\"document\":\"a\",\"summary\":\"e\"}\n");
  const std::string plain = golden_model("plain");  // a context of 20 tokens
  const Evaluation cut = evaluate(runs, plain, {"--format", "debsum"});
  REQUIRE(cut.lines.size() == 2);
  const std::string prompt = cut.lines[0].at("prompt");
  CHECK(prompt.starts_with("x"));
  CHECK(prompt.ends_with("x\nSynopsis:"));
  CHECK(prompt.size() < 40);
  CHECK(lines_with(cut.err, "cut 1 prompts") == 1);
  const Evaluation skipped = evaluate(runs, plain, {"--format", "debsum", "--prompt-overflow", "skip"});
  CHECK(examples_of(skipped.lines) == std::vector<int>{1});
  CHECK(lines_with(skipped.err, "dropped 1 examples") == 1);
  for (const char* overflow : {"skip", "truncate"}) {
    Words call = runs.call(overflow, Words{"--method", "eso", "--active-epochs", "all", "--epochs", "1",
                                           "--max-response-tokens", "2", "--prompt-overflow", overflow});
    call[6] = "debsum";
    REQUIRE(program(call).code == 0);
    CHECK(trained_on(runs / overflow) == (overflow[0] == 's' ? std::set<int>{1} : std::set<int>{0, 1}));
  }
}

TEST_CASE("the program reads the published samples", "[shared]") {
  const std::filesystem::path folder = std::filesystem::path(ESO_SHARED_DIR) / "data";
  if (!std::filesystem::exists(folder / "hh-rlhf")) {
    WARN("Self-Instruct, Vicuna and HH-RLHF are not tested: they are not in " << folder);
    return;
  }
  const Runs runs;
  const std::string model = wide_model(runs), answers = (folder / "vicuna/answer_gpt35.jsonl").string();
  for (const auto& [file, more] : std::vector<std::pair<std::string, Words>>{
           {"self-instruct/user_oriented_instructions.jsonl", {"--format", "self-instruct"}},
           {"vicuna/question.jsonl", {"--format", "vicuna", "--answers", answers}},
           {"hh-rlhf/harmless-base-test.jsonl.gz", {"--format", "hh"}}}) {
    INFO(file);
    const Evaluation evaluation = evaluate(
        runs, model,
        Words{"--data", (folder / file).string(), "--examples", "3", "--max-prompt-tokens", "2500"} + more);
    CHECK(evaluation.results["examples"] == 3);
    if (more[1] == "hh")
      CHECK(lines_with(evaluation.err, "dropped 5 examples with transcripts that answer different prompts") ==
            1);
    if (more[1] == "hh") CHECK(lines_with(evaluation.err, "dropped 4 examples with an empty response") == 1);
  }
}
