// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

namespace fs = std::filesystem;

const Words dropping = Runs::active() + Words{"--epochs", "3", "--learning-rate", "0.01", "--dropout", "0.1"};

Words from(const Words& call, const std::string& model) {
  Words words = call;
  REQUIRE(words.at(1) == "--model");
  words.at(2) = model;
  return words;
}

}  // namespace

TEST_CASE("a run with dropout that is resumed ends with the same bytes, for every family") {
  for (const std::string model : {"plain", "opt/after", "gpt_neox/parallel"}) {
    INFO(model);
    const Runs runs;
    const Words call = dropping + Words{"--save-every", "2"};
    REQUIRE(program(from(runs.call("whole", call), golden_model(model))).code == 0);
    REQUIRE(program(from(runs.call("run", call), golden_model(model))).code == 0);
    CHECK(difference(runs / "whole", runs / "run") == "");
    for (const char* last : {"checkpoints/step-6", "checkpoints/step-4", "model"}) {
      REQUIRE(fs::exists(runs / "run" / last));
      fs::remove_all(runs / "run" / last);
    }
    fs::remove(runs / "run" / "report.html");
    const Finished f = program({"train", "--resume", (runs / "run").string()});
    CHECK(f.err.find("going on after step 2") != std::string::npos);
    REQUIRE(f.code == 0);
    CHECK(difference(runs / "whole", runs / "run") == "");
  }
}

TEST_CASE("micro-batches and threads change nothing of a run with dropout beyond rounding") {
  const Runs runs;
  const Words call{"--optimizer",  "sgd", "--schedule",      "constant", "--clip-norm",           "0",
                   "--batch-size", "7",   "--learning-rate", "0.05",     "--max-response-tokens", "8",
                   "--dropout",    "0.3", "--method",        "eso",      "--active-epochs",       "all",
                   "--eso-lambda", "0.5", "--epochs",        "2"};
  const auto whole = runs.train("whole", call + Words{"--threads", "1"});
  int number = 0;
  for (const Words& more : {Words{"--micro-batch-size", "1", "--threads", "1"},
                            Words{"--micro-batch-size", "3", "--threads", "2"}}) {
    const auto parts = runs.train(fmt::format("parts{}", ++number), call + more);
    CHECK(largest(subtract(whole / "model", parts / "model")) < 2e-5);
    const auto a = metrics_of(whole), b = metrics_of(parts);
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      CHECK(b[i].at("loss").get<double>() == Approx(a[i].at("loss").get<double>()).epsilon(1e-5));
  }
}

TEST_CASE("dropout changes the step and not what is sampled before it") {
  const Runs runs;
  const Words call = Runs::active() + Words{"--max-steps", "1", "--learning-rate", "0.01"};
  const auto without = runs.train("without", call), zero = runs.train("zero", call + Words{"--dropout", "0"}),
             with = runs.train("with", call + Words{"--dropout", "0.2"}),
             other = runs.train("other", call + Words{"--dropout", "0.2", "--seed", "1"});
  CHECK(difference(without, zero) == "");
  CHECK(weights_of(with) != weights_of(without));
  CHECK(weights_of(with) != weights_of(other));
  CHECK(read_file(with / "completions.jsonl") == read_file(without / "completions.jsonl"));
  CHECK(metrics_of(with).at(0).at("loss") != metrics_of(without).at(0).at("loss"));
}

TEST_CASE("eso train --dropout config takes the rates of config.json") {
  const Runs runs;
  const Words sft = Runs::small() + Words{"--method", "sft", "--max-steps", "2", "--learning-rate", "0.01"};
  const auto weights = [&](const std::string& name, const fs::path& model, const Words& more) {
    const Finished f = program(from(runs.call(name, sft + more), model.string()));
    INFO(f.err);
    REQUIRE(f.code == 0);
    return weights_of(runs / name);
  };
  // GPT-2 takes a missing rate for 0.1.
  CHECK(weights("a", golden_model("plain"), {"--dropout", "config"}) ==
        weights("b", golden_model("plain"), {"--dropout", "0.1"}));
  // This one's are 0.
  CHECK(weights("c", golden_model("gpt_neox/parallel"), {"--dropout", "config"}) ==
        weights("d", golden_model("gpt_neox/parallel"), {}));
  const auto model = copy_model("opt/before", runs.folder);
  Json config = Json::parse(read_file(model / "config.json"));
  config["dropout"] = 0.3, config["attention_dropout"] = 0.3;
  write_file(model / "config.json", config.dump());
  CHECK(weights("e", model, {"--dropout", "config"}) == weights("f", model, {"--dropout", "0.3"}));
  config["attention_dropout"] = 0;
  write_file(model / "config.json", config.dump());
  CHECK(weights("g", model, {"--dropout", "config"}) != weights_of(runs / "f"));
  for (const auto& [key, value] : {std::pair<const char*, Json>{"dropout", 1.5}, {"layerdrop", 0.1}}) {
    Json bad = config;
    bad[key] = value;
    write_file(model / "config.json", bad.dump());
    CHECK(not_refused(program(from(runs.call("bad", sft + Words{"--dropout", "config"}), model.string())),
                      {"config.json", key, value.dump()}) == "");
    CHECK(!fs::exists(runs / "bad"));
  }
}
