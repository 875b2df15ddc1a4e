// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <numbers>

#include "train_run.hpp"

namespace {

/// One step of gradient descent on all seven examples without anything between gradient and update.
const Words bare_step{"--optimizer",           "sgd", "--schedule",   "constant", "--weight-decay", "0",
                      "--clip-norm",           "0",   "--batch-size", "7",        "--threads",      "1",
                      "--max-response-tokens", "8"};
const Words on{"--method", "eso", "--active-epochs", "all", "--eso-lambda", "0.5"};

const std::string start = golden_model("plain");

double first(const std::filesystem::path& run, const char* name) {
  return metrics_of(run).at(0).at(name).get<double>();
}

/// The ESO objective on the completions of a run's first step, by `eso score` of another model.
double objective(const std::filesystem::path& run, const std::string& model, double lambda) {
  std::string targets = training_data, samples;
  std::vector<double> advantages;
  for (const Json& line : json_lines(run / "completions.jsonl")) {
    if (line.at("step") != 1) continue;
    samples +=
        Json{{"prompt_ids", line.at("prompt_ids")}, {"response_ids", line.at("response_ids")}}.dump() + "\n";
    advantages.push_back(line.at("advantage").get<double>());
  }
  double nats = 0, tokens = 0, eso = 0;
  for (const Json& line : program({"score", "--model", model}, targets).lines()) {
    nats -= line.at("sum").get<double>();
    tokens += static_cast<double>(line.at("logp").size());
  }
  const std::vector<Json> scores = program({"score", "--model", model}, samples).lines();
  for (std::size_t i = 0; i < scores.size(); ++i) eso -= advantages.at(i) * scores[i].at("sum").get<double>();
  return nats / tokens + lambda * eso / 7;
}

}  // namespace

TEST_CASE("the same command gives the same bytes, another seed others") {
  const Runs runs;
  const Words call = Runs::active() + Words{"--epochs", "2", "--learning-rate", "0.01"};
  const auto first = runs.train("first", call), second = runs.train("second", call);
  CHECK(difference(first, second) == "");
  const auto other = runs.train("other", call + Words{"--seed", "1"});
  CHECK(weights_of(other) != weights_of(first));
  CHECK(read_file(other / "completions.jsonl") != read_file(first / "completions.jsonl"));
}

TEST_CASE("several threads give the same bytes again, and those of one thread up to rounding") {
  const Runs runs;
  const Words call = bare_step + on + Words{"--epochs", "2", "--learning-rate", "0.01"};
  const auto with = [&](const std::string& name, const std::string& threads) {
    Words words = call;
    words.at(11) = threads;
    REQUIRE(words.at(10) == "--threads");
    return runs.train(name, words);
  };
  const auto one = with("one", "1"), two = with("two", "2"), again = with("again", "2");
  CHECK(difference(two, again) == "");
  CHECK(largest(subtract(one / "model", two / "model")) < 1e-5);
  CHECK(first(one, "loss") == Approx(first(two, "loss")));
}

TEST_CASE("eso train --micro-batch-size changes nothing beyond rounding") {
  const Runs runs;
  const Words call = bare_step + on + Words{"--epochs", "2", "--learning-rate", "0.05"};
  const auto whole = runs.train("whole", call);
  for (const char* size : {"1", "3", "100"}) {
    INFO(size);
    const auto parts = runs.train(std::string("parts") + size, call + Words{"--micro-batch-size", size});
    CHECK(largest(subtract(whole / "model", parts / "model")) < 2e-5);
    CHECK(metrics_of(parts).size() == 2);
    for (const char* name : {"loss", "loss/sft", "loss/eso", "grad_norm", "reward", "entropy"})
      CHECK(first(parts, name) == Approx(first(whole, name)).epsilon(1e-5));
    const std::vector<Json> a = json_lines(whole / "completions.jsonl"),
                            b = json_lines(parts / "completions.jsonl");
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < 28; ++i) CHECK(a[i].at("response_ids") == b[i].at("response_ids"));
    CHECK(metrics_of(parts).at(0).at("num_tokens") == metrics_of(whole).at(0).at("num_tokens"));
  }
  const Words adamw = Runs::small() + Words{"--method", "sft", "--epochs", "2"};
  CHECK(largest(subtract(runs.train("a", adamw) / "model",
                         runs.train("b", adamw + Words{"--micro-batch-size", "1"}) / "model")) < 4e-4);
}

TEST_CASE("config.toml repeats the run, and a flag beats it") {
  const Runs runs;
  const auto run =
      runs.train("run", Runs::active() + Words{"--epochs", "2", "--learning-rate", "0.00123456789012345",
                                               "--seed", "18446744073709551615", "--no-shuffle",
                                               "--temperatures", "0.7,1,1.1", "--optimizer", "sgd",
                                               "--reward", "rouge1", "--eso-baseline", "leave-one-out"});
  const std::string config = (run / "config.toml").string();
  const auto repeat = [&](const std::string& name, const Words& more = {}) {
    const Finished f = program(Words{"train", "--config", config, "--output", (runs / name).string()} + more);
    if (f.code != 0) throw std::runtime_error(f.err);
    return runs / name;
  };
  CHECK(difference(run, repeat("again")) == "");
  CHECK(read_file(config).find("18446744073709551615") != std::string::npos);
  CHECK(weights_of(repeat("other", {"--seed", "18446744073709551614"})) != weights_of(run));
  const auto longer = repeat("longer", {"--epochs", "3"});
  CHECK(metrics_of(longer).size() == 6);
  // From another folder too, though the data were named from there.
  const Words here{"train",
                   "--model",
                   start,
                   "--data",
                   std::filesystem::relative(runs.data).string(),
                   "--format",
                   "prompt-response",
                   "--method",
                   "sft",
                   "--max-steps",
                   "1",
                   "--output",
                   std::filesystem::relative(runs / "here").string()};
  REQUIRE(program(here).code == 0);
  const std::string command =
      fmt::format("cd / && {} train --config {}/config.toml --output {} 2> /dev/null", ESO_PROGRAM_PATH,
                  (runs / "here").string(), (runs / "there").string());
  CHECK(std::system(command.c_str()) == 0);
  CHECK(difference(runs / "here", runs / "there") == "");
}

TEST_CASE("a config file may hold any flag of train, words and numbers and lists") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--max-steps", "2", "--temperatures", "1,2"};
  const auto run = runs.train("run", flags);
  write_file(runs / "flags.toml",
             fmt::format("model = \"{}\"\ndata = \"{}\"\nformat = 'prompt-response'\nmethod = \"eso\"\n"
                         "active-epochs = \"all\"\nbatch-size = 4\nmax-response-tokens = 8\nthreads = 1\n"
                         "max-steps = 2\ntemperatures = [1, 2.0]\ndropout = 0\nlearning-rate = 1e-4\n",
                         start, runs.data));
  const Finished f =
      program({"train", "--config", (runs / "flags.toml").string(), "--output", (runs / "file").string()});
  REQUIRE(f.code == 0);
  CHECK(difference(run, runs / "file") == "");
}

TEST_CASE("the trained model loads again, goes on training and is float32 under the usual names") {
  const Runs runs;
  for (const std::string& source : models_of_all_families) {
    INFO(source);
    std::string name = source;
    std::replace(name.begin(), name.end(), '/', '-');
    Words call = runs.call(name, Words{"--method", "sft", "--max-steps", "1"});
    call[2] = golden_model(source);
    REQUIRE(program(call).code == 0);
    const std::string model = (runs / name / "model").string();
    const Json config = Json::parse(read_file(runs / name / "model" / "config.json"));
    CHECK(config.at("dtype") == "float32");
    const eso::WeightFiles files = eso::WeightFiles::open(model);
    const std::string prefix = source.starts_with("opt/")        ? "model.decoder."
                               : source.starts_with("gpt_neox/") ? "gpt_neox."
                                                                 : "transformer.";
    for (const std::string& tensor : files.names()) {
      CHECK(files.find(tensor)->type == eso::DataType::float32);
      CHECK((tensor.starts_with(prefix) || tensor == "lm_head.weight" || tensor == "embed_out.weight"));
    }
    CHECK(files.find("lm_head.weight").has_value() == (source == "untied"));
    CHECK(files.find("embed_out.weight").has_value() == source.starts_with("gpt_neox/"));
    const auto before = parameters_of(golden_model(source)), after = parameters_of(model);
    for (const auto& [tensor, values] : after) {
      INFO(tensor);
      REQUIRE(before.contains(tensor));
      CHECK(before.at(tensor).size() == values.size());
      CHECK(before.at(tensor) != values);  // every tensor was trained
    }
    // Loss of the first step of a run that goes on from there: by eso score of what was written.
    call = runs.call(name + "2", Words{"--method", "sft", "--max-steps", "1"});
    call[2] = model;
    REQUIRE(program(call).code == 0);
    double nats = 0, tokens = 0;
    for (const Json& line : program({"score", "--model", model}, training_data).lines()) {
      nats -= line.at("sum").get<double>();
      tokens += static_cast<double>(line.at("logp").size());
    }
    CHECK(first(runs / (name + "2"), "loss") == Approx(nats / tokens));
  }
}

TEST_CASE("a step of sgd goes down the gradient whose norm it reports") {
  const Runs runs;
  const double rate = 1e-3;
  for (const Words& method : {Words{"--method", "sft"}, on}) {
    INFO(method[1]);
    const bool eso = method[1] == "eso";
    const auto run =
        runs.train(method[1], bare_step + method + Words{"--max-steps", "1", "--learning-rate", "1e-3"});
    const double gradient = first(run, "grad_norm");
    CHECK(gradient > 1);
    CHECK(norm(subtract(run / "model", start)) == Approx(rate * gradient).epsilon(1e-3));
    const double before = objective(run, start, eso ? 0.5 : 0),
                 after = objective(run, (run / "model").string(), eso ? 0.5 : 0);
    CHECK(first(run, "loss") == Approx(before).margin(1e-5));
    // A first-order step lowers the objective by rate |g|^2.
    CHECK(before - after == Approx(rate * gradient * gradient).epsilon(0.05));
  }
}

TEST_CASE("clipping scales the gradient to its limit and decay pulls every parameter to zero") {
  const Runs runs;
  const Words sft = Words{"--method", "sft", "--max-steps", "1", "--learning-rate", "0.01"};
  const auto plain = runs.train("plain", bare_step + sft);
  Words clipped = bare_step + sft;
  REQUIRE(clipped.at(6) == "--clip-norm");
  clipped.at(7) = "0.5";
  const auto with_clip = runs.train("clipped", clipped);
  CHECK(first(with_clip, "grad_norm") == first(plain, "grad_norm"));  // before clipping
  CHECK(norm(subtract(with_clip / "model", start)) == Approx(0.01 * 0.5).epsilon(1e-3));
  clipped.at(7) = "1000";
  CHECK(weights_of(runs.train("loose", clipped)) == weights_of(plain));
  Words decayed = bare_step + sft;
  REQUIRE(decayed.at(4) == "--weight-decay");
  decayed.at(5) = "0.5";
  const auto decay = runs.train("decayed", decayed);
  const auto p = parameters_of(start), a = parameters_of(plain / "model"), b = parameters_of(decay / "model");
  for (const auto& [name, values] : p) {
    INFO(name);
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double moved = static_cast<double>(b.at(name).at(i)) - static_cast<double>(a.at(name).at(i));
      worst = std::max(worst, std::abs(moved + 0.01 * 0.5 * static_cast<double>(values[i])));
    }
    CHECK(worst < 2e-6);
  }
}

TEST_CASE("adamw's first step moves every parameter by about the rate") {
  const Runs runs;
  const auto run = runs.train("run", Words{"--method", "sft", "--max-steps", "1", "--learning-rate", "1e-3",
                                           "--weight-decay", "0", "--schedule", "constant"});
  const std::vector<double> moved = subtract(run / "model", start);
  CHECK(largest(moved) == Approx(1e-3).epsilon(0.01));
  std::size_t whole = 0;
  for (const double step : moved) whole += std::abs(std::abs(step) - 1e-3) < 2e-5;
  CHECK(whole > moved.size() / 2);  // all but rows of tokens and positions that are not in the data
}

TEST_CASE("the learning rate follows its schedule over the steps that are to be") {
  const Runs runs;
  const auto rates = [&](const std::string& name, const Words& more) {
    std::vector<double> values;
    const auto run = runs.train(
        name, Runs::small() +
                  Words{"--method", "sft", "--learning-rate", "0.01", "--min-learning-rate", "0.002"} + more);
    for (const Json& line : metrics_of(run)) values.push_back(line.at("learning_rate").get<double>());
    return values;
  };
  struct Case {
    const char* kind;
    Words more;
    std::size_t steps;
  };
  const Case cases[] = {{"cosine", {"--epochs", "3"}, 6},
                        {"cosine", {"--epochs", "9", "--max-steps", "5"}, 5},
                        {"cosine", {"--epochs", "1", "--max-steps", "500"}, 2},
                        {"linear", {"--epochs", "3"}, 6},
                        {"constant", {"--epochs", "3"}, 6}};
  int number = 0;
  for (const Case& c : cases) {
    INFO(c.kind << " over " << c.steps);
    const auto found = rates(fmt::format("run{}", ++number), Words{"--schedule", c.kind} + c.more);
    REQUIRE(found.size() == c.steps);
    for (std::size_t s = 0; s < c.steps; ++s) {
      const double q = static_cast<double>(s) / static_cast<double>(c.steps);
      double height = 1;
      if (c.kind == std::string("cosine")) height = (1 + std::cos(std::numbers::pi * q)) / 2;
      if (c.kind == std::string("linear")) height = 1 - q;
      CHECK(found[s] == Approx(0.002 + 0.008 * height));
    }
  }
  const auto warm = rates("warm", {"--schedule", "constant", "--warmup-steps", "4", "--epochs", "3"});
  for (std::size_t s = 1; s < 5; ++s) CHECK(warm.at(s) > warm.at(s - 1));
  CHECK(warm.at(5) == 0.01);
}
