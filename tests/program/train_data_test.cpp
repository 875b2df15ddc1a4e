// SPDX-License-Identifier: MIT
#include <zlib.h>
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

void write_gzip(const std::filesystem::path& path, const std::vector<std::string>& members) {
  std::filesystem::remove(path);
  for (const std::string& text : members) {
    const gzFile file = ::gzopen(path.c_str(), "ab");
    if (file == nullptr || ::gzwrite(file, text.data(), static_cast<unsigned>(text.size())) <= 0)
      throw std::runtime_error("gzwrite");
    ::gzclose(file);
  }
}

/// The examples in the order in which the run sampled from them.
std::vector<int> order_of(const std::filesystem::path& run) {
  std::vector<int> order;
  for (const Json& line : json_lines(run / "completions.jsonl")) {
    if (line.at("sample") == 0) order.push_back(line.at("example").get<int>());
  }
  return order;
}

/// Samples one token twice to each prompt.
const Words short_samples{"--method",       "eso", "--active-epochs",       "all",
                          "--temperatures", "1,1", "--max-response-tokens", "8"};

/// Nats a target token of the model at the start.
double loss_by_score(const std::string& input, const Words& more = {}) {
  double nats = 0, tokens = 0;
  for (const Json& line : program(Words{"score", "--model", golden_model("plain")} + more, input).lines()) {
    nats -= line.at("sum").get<double>();
    tokens += static_cast<double>(line.at("logp").size());
  }
  return nats / tokens;
}

}  // namespace

TEST_CASE("an example is known by its line over all files, blank and dropped ones counted") {
  const Runs runs(json_line("a", "e") + "\n" + json_line("!!!!!", "e") + json_line("b", "u"));
  write_file(runs / "two.jsonl", "\n  \n" + json_line("c", "l"));
  write_gzip(runs / "three.jsonl.gz", {json_line("!!!!!!", "e"), json_line("d", "p")});
  const Finished f = program(runs.call(
      "run", short_samples + Words{"--no-shuffle", "--epochs", "1", "--max-prompt-tokens", "4", "--data",
                                   (runs / "two.jsonl").string(), (runs / "three.jsonl.gz").string()}));
  REQUIRE(f.code == 0);
  CHECK(order_of(runs / "run") == std::vector<int>{0, 3, 6, 8});
  CHECK(json_lines(runs / "run" / "completions.jsonl").at(4).at("prompt") == "c");
  CHECK(lines_with(f.err, "dropped 2 examples") == 1);
  CHECK(metrics_of(runs / "run").back().at("epoch").get<double>() == 1);
}

TEST_CASE("examples beyond the context are dropped aloud like long prompts, the fullest is kept") {
  // The context has 20 tokens: 12 of the prompt, 7 of the response and the end of sequence fill it.
  const std::string fits(12, '!'), longer(13, '!');
  const Runs runs(json_line(longer, "eeeeeee") + json_line(fits, "eeeeeee") + json_line("a", "e"));
  const Finished f = program(runs.call("run", short_samples + Words{"--no-shuffle", "--epochs", "1"}));
  REQUIRE(f.code == 0);
  CHECK(order_of(runs / "run") == std::vector<int>{1, 2});
  CHECK(lines_with(f.err, "dropped 1 example") == 1);
  CHECK(lines_with(f.err, "20") == 1);
  const Finished all =
      program(runs.call("all", short_samples + Words{"--epochs", "1", "--max-prompt-tokens", "1"}));
  REQUIRE(all.code == 0);
  CHECK(lines_with(all.err, "dropped 2 examples") == 1);  // both by their prompts
}

TEST_CASE("targets are cut, with the end of sequence only where it fits, and rewards see the cut text") {
  const Runs runs(json_line("a", "uplet") + json_line("b", " e u ") + json_line("c", "e"));
  const auto run = runs.train("run", Words{"--method", "eso", "--active-epochs", "all", "--no-shuffle",
                                           "--max-steps", "1", "--max-response-tokens", "3"});
  std::map<int, Json> references;
  for (const Json& line : json_lines(run / "completions.jsonl"))
    references[line.at("example").get<int>()] = line.at("reference");
  CHECK(references == std::map<int, Json>{{0, "upl"}, {1, "e"}, {2, "e"}});
  const Json first = metrics_of(run).at(0);
  // "upl" and " e " have three tokens and no room for the end; "e" has it.
  const std::string whole = json_line("c", "e");
  double nats = 0;
  for (const Json& line : program({"score", "--model", golden_model("plain"), "--no-eos"},
                                  json_line("a", "upl") + json_line("b", " e "))
                              .lines())
    nats -= line.at("sum").get<double>();
  nats += 2 * loss_by_score(whole);
  CHECK(first.at("loss/sft").get<double>() == Approx(nats / (3 + 3 + 2)));
  const auto sft =
      runs.train("sft", Words{"--method", "sft", "--max-steps", "1", "--max-response-tokens", "3"});
  CHECK(metrics_of(sft).at(0).at("num_tokens") == 3 + 3 + 3 + 2);  // prompts and targets
}

TEST_CASE("the SFT loss is the mean over all target tokens of the step by the model before the update") {
  const Runs runs;
  const auto run = runs.train("run", Words{"--method", "sft", "--max-steps", "1"});
  CHECK(metrics_of(run).at(0).at("loss").get<double>() == Approx(loss_by_score(training_data)));
  const std::string some = json_line("a", "one") + json_line("b", "two");
  const Runs others(some);
  const auto bare = others.train("run", Words{"--method", "sft", "--max-steps", "1", "--no-eos"});
  CHECK(metrics_of(bare).at(0).at("loss").get<double>() == Approx(loss_by_score(some, {"--no-eos"})));
}

TEST_CASE("without shuffling each epoch goes in file order, with it each in another order of the seed") {
  const Runs runs;
  const Words common = short_samples + Words{"--batch-size", "2", "--epochs", "3"};
  CHECK(order_of(runs.train("plain", common + Words{"--no-shuffle"})) ==
        std::vector<int>{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6});
  const std::vector<int> order = order_of(runs.train("mixed", common));
  REQUIRE(order.size() == 21);
  std::set<std::vector<int>> epochs;
  for (auto epoch = order.begin(); epoch != order.end(); epoch += 7) {
    CHECK(std::set<int>(epoch, epoch + 7).size() == 7);
    epochs.insert(std::vector<int>(epoch, epoch + 7));
  }
  CHECK(epochs.size() == 3);
  CHECK(!epochs.contains({0, 1, 2, 3, 4, 5, 6}));
  CHECK(order_of(runs.train("again", common + Words{"--seed", "0"})) == order);
  CHECK(order_of(runs.train("other", common + Words{"--seed", "1"})) != order);
}

TEST_CASE("eso train --max-steps stops after so many steps, within or beyond the epochs") {
  const Runs runs;
  for (const auto& [limit, steps] : {std::pair("3", 3U), std::pair("5", 5U), std::pair("100", 6U)}) {
    const auto run =
        runs.train(fmt::format("run{}", limit),
                   Runs::small() + Words{"--method", "sft", "--epochs", "3", "--max-steps", limit});
    CHECK(metrics_of(run).size() == steps);
    CHECK(TemporaryFolder::names_in(run / "checkpoints") ==
          std::set<std::string>{fmt::format("step-{}", steps)});
  }
}

TEST_CASE("the same text trains the same from a gzip file of several members and with other line ends") {
  const Runs runs;
  const Words sft = Runs::small() + Words{"--method", "sft", "--epochs", "1"};
  const Weights plain = weights_of(runs.train("plain", sft));
  const std::size_t middle = training_data.size() / 2;  // within a line
  write_gzip(runs / "data.jsonl.gz", {training_data.substr(0, middle), training_data.substr(middle)});
  std::string other = "\xEF\xBB\xBF";
  for (const char c : training_data) other += c == '\n' ? std::string("\r\n") : std::string(1, c);
  other.resize(other.size() - 2);
  write_file(runs / "other.jsonl", other);
  for (const char* name : {"data.jsonl.gz", "other.jsonl"}) {
    Words call = runs.call(std::string("of ") + name, sft);
    call[4] = (runs / name).string();
    REQUIRE(program(call).code == 0);
    CHECK(weights_of(runs / (std::string("of ") + name)) == plain);
  }
}

TEST_CASE("a format's prompt and response are put together as it says") {
  const Runs runs("{\"document\":\"a\",\"summary\":\"e\",\"id\":7}\n");
  Words call = runs.call("run", short_samples + Words{"--max-steps", "1"});
  call[6] = "debsum";
  const Finished f = program(call);
  REQUIRE(f.code == 0);
  const Json line = json_lines(runs / "run" / "completions.jsonl").at(0);
  CHECK(line.at("prompt") == "a\nSynopsis:");
  CHECK(line.at("reference") == "e");
  CHECK(metrics_of(runs / "run").at(0).at("loss/sft").get<double>() ==
        Approx(loss_by_score(json_line("a\nSynopsis:", " e"))));
}

TEST_CASE("pretrain trains on windows of the joined texts, also from a folder without weights") {
  const Runs runs("{\"text\":\"one two three\"}\n\n{\"text\":\"the then\"}\n");  // 13 and 6 tokens, 2 ends
  const Words windows{"--method",     "pretrain", "--window-tokens", "4",       "--epochs", "2",
                      "--batch-size", "2",        "--schedule",      "constant"};
  Words call = runs.call("run", windows);
  call[6] = "text";
  REQUIRE(program(call).code == 0);
  const std::size_t tokens = [&] {
    std::size_t count = 2;
    for (const Json& line :
         program({"tokenize", "--tokenizer", golden_model("plain")}, read_file(runs.data)).lines())
      count += line.at("ids").size();
    return count;
  }();
  const std::size_t count = tokens / 4 + (tokens % 4 >= 2);
  CHECK(metrics_of(runs / "run").size() == 2 * ((count + 1) / 2));
  const auto fresh = copy_model("plain", runs.folder);
  std::filesystem::remove(fresh / "model.safetensors");
  for (const char* name : {"first", "second", "third"}) {
    call = runs.call(name, windows + Words{"--seed", name == std::string("third") ? "2" : "1"});
    call[2] = fresh.string(), call[6] = "text";
    REQUIRE(program(call).code == 0);
  }
  CHECK(weights_of(runs / "first") == weights_of(runs / "second"));
  CHECK(weights_of(runs / "first") != weights_of(runs / "third"));
  CHECK(metrics_of(runs / "first").at(0).at("loss").get<double>() ==
        Approx(std::log(101)).epsilon(0.05));  // small random weights know nothing
  CHECK(program({"score", "--model", (runs / "first" / "model").string()}, json_line("a", "b")).code == 0);
}
