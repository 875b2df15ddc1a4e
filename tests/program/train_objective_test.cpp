// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

const Words one_step = Words{"--batch-size", "7", "--threads",   "1",  "--max-response-tokens", "8",
                             "--max-steps",  "1", "--optimizer", "sgd"};
const Words on{"--method", "eso", "--active-epochs", "all", "--learning-rate", "0"};

double sum(const Json& values) {
  double total = 0;
  for (const Json& value : values) total += value.get<double>();
  return total;
}

/// The completions of the first step by prompt: the samples, and the greedy response where there is one.
struct Prompt {
  std::vector<Json> samples;
  Json greedy;

  double mean() const {
    double total = 0;
    for (const Json& s : samples) total += s.at("reward").get<double>();
    return total / static_cast<double>(samples.size());
  }
  double deviation() const {
    double squares = 0;
    for (const Json& s : samples) squares += std::pow(s.at("reward").get<double>() - mean(), 2);
    return std::sqrt(squares / static_cast<double>(samples.size() - 1));
  }
};

std::vector<Prompt> prompts_of(const std::filesystem::path& run) {
  std::map<int, Prompt> prompts;
  for (const Json& line : json_lines(run / "completions.jsonl")) {
    Prompt& prompt = prompts[line.at("example").get<int>()];
    if (line.at("kind") == "sample") prompt.samples.push_back(line);
    if (line.at("kind") == "greedy") prompt.greedy = line;
  }
  std::vector<Prompt> list;
  for (auto& [example, prompt] : prompts) list.push_back(std::move(prompt));
  return list;
}

/// What a prompt adds to the objective, from its advantages and log-probabilities.
double part_of(const Prompt& p, const std::function<double(const Json&)>& advantage,
               const std::function<double(const Json&)>& logp) {
  double part = 0;
  for (const Json& s : p.samples) part -= advantage(s) * logp(s);
  return part;
}

double whole_logp(const Json& sample) { return sum(sample.at("logp")); }

}  // namespace

TEST_CASE("each option of the ESO loss makes of the completions what it says") {
  // Twice the examples, so that the samples of several prompts earn something.
  const Runs runs(training_data + training_data);
  const Words call = on + Words{"--batch-size", "14",  "--threads",      "1",          "--max-steps", "1",
                                "--optimizer",  "sgd", "--temperatures", "1,1,1,1,1,1"};
  const auto found = [&](const std::string& name, const Words& option) {
    const auto run = runs.train(name, call + option);
    return std::pair(prompts_of(run), metrics_of(run).at(0).at("loss/eso").get<double>());
  };
  const auto mean_of = [](const std::vector<Prompt>& prompts,
                          const std::function<double(const Prompt&)>& part) {
    double total = 0;
    for (const Prompt& p : prompts) total += part(p);
    return total / static_cast<double>(prompts.size());
  };
  const auto over_mean = [](const Prompt& p, double factor = 1) {
    return [&p, factor](const Json& s) { return factor * (s.at("reward").get<double>() - p.mean()); };
  };
  const auto unchanged = found("plain", {});
  const std::vector<Prompt>& prompts = unchanged.first;
  const double plain = unchanged.second;
  REQUIRE(prompts.size() == 14);
  REQUIRE(std::abs(plain) > 0.01);
  const auto expect = [&](const std::string& name, const Words& option, double expected) {
    INFO(name);
    CHECK(found(name, option).second == Approx(expected).epsilon(1e-4));
    CHECK(std::abs(expected - plain) > 1e-4);
  };
  CHECK(plain ==
        Approx(mean_of(prompts, [&](const Prompt& p) { return part_of(p, over_mean(p), whole_logp); })));
  expect("leave-one-out", {"--eso-baseline", "leave-one-out"}, plain * 6 / 5);
  expect("sample mean", {"--eso-sample-reduce", "mean"}, plain / 6);
  expect("batch sum", {"--eso-batch-reduce", "sum"}, plain * 14);
  expect("sigma", {"--eso-sigma", "0.25"}, plain * 4);
  expect("std", {"--eso-advantage-norm", "std"}, mean_of(prompts, [&](const Prompt& p) {
           return part_of(p, over_mean(p, 1 / (p.deviation() + 1e-4)), whole_logp);
         }));
  expect("token mean", {"--eso-token-reduce", "mean-seq"}, mean_of(prompts, [&](const Prompt& p) {
           return part_of(p, over_mean(p), [](const Json& s) {
             return sum(s.at("logp")) / static_cast<double>(s.at("logp").size());
           });
         }));
  expect("without eos", {"--eso-include-eos", "false"}, mean_of(prompts, [&](const Prompt& p) {
           return part_of(p, over_mean(p), [](const Json& s) {
             return sum(s.at("logp")) - (s.at("finish") == "eos" ? s.at("logp").back().get<double>() : 0);
           });
         }));
  double kept = 0, kept_sum = 0;
  for (const Prompt& p : prompts) {
    if (p.mean() <= 0.05) continue;
    ++kept;
    kept_sum += part_of(p, over_mean(p), whole_logp);
  }
  REQUIRE(kept > 0);
  REQUIRE(kept < 14);
  const Words threshold{"--eso-min-mean-reward", "0.05"};
  expect("kept", Words{"--eso-batch-reduce", "mean-kept"} + threshold, kept_sum / kept);
  expect("any", Words{"--eso-batch-reduce", "sum-if-any-above"} + threshold, plain * 14);
  CHECK(found("none", {"--eso-batch-reduce", "sum-if-any-above", "--eso-min-mean-reward", "0.99"}).second ==
        0);
  const auto [with_greedy, greedy] = found("greedy", {"--eso-baseline", "greedy"});
  CHECK(greedy == Approx(mean_of(with_greedy, [&](const Prompt& p) {
                    return part_of(
                        p,
                        [&](const Json& s) {
                          return s.at("reward").get<double>() - p.greedy.at("reward").get<double>();
                        },
                        whole_logp);
                  })).margin(1e-6));
}

TEST_CASE("eso train --sft-reduction says how the tokens of the targets become one number") {
  const Runs runs;
  double token_sum = 0, tokens = 0, means = 0;
  for (const Json& line : program({"score", "--model", golden_model("plain")}, training_data).lines()) {
    const auto length = static_cast<double>(line.at("logp").size());
    token_sum -= line.at("sum").get<double>(), tokens += length,
        means -= line.at("sum").get<double>() / length;
  }
  const std::pair<const char*, double> cases[] = {{"token-mean", token_sum / tokens},
                                                  {"sequence-sum-prompt-mean", token_sum / 7},
                                                  {"sequence-mean", means / 7}};
  for (const auto& [name, expected] : cases) {
    INFO(name);
    const auto run = runs.train(name, one_step + Words{"--method", "sft", "--sft-reduction", name});
    CHECK(metrics_of(run).at(0).at("loss").get<double>() == Approx(expected));
  }
}

TEST_CASE("eso train --reward chooses the variant of ROUGE, with stemmer") {
  // Single letters are words that the model hits, and pairs of them.
  const Runs runs(json_line("a", "e u e") + json_line("b", "l u p e") + json_line("c", "u e"));
  for (const char* name : {"rouge1", "rouge2", "rougeL"}) {
    INFO(name);
    const auto run = runs.train(name, on + Words{"--max-steps", "1", "--reward", name, "--temperatures",
                                                 "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"});
    std::string pairs;
    const std::vector<Json> lines = json_lines(run / "completions.jsonl");
    for (const Json& line : lines)
      pairs += Json{{"target", line.at("reference")}, {"prediction", line.at("response")}}.dump() + "\n";
    const std::vector<Json> scores = program({"rouge", "--stemmer"}, pairs).lines();
    REQUIRE(scores.size() == lines.size());
    for (std::size_t i = 0; i < lines.size(); ++i)
      CHECK(lines[i].at("reward").get<double>() == scores[i].at(name).get<double>());
  }
  CHECK(read_file(runs / "rouge1" / "completions.jsonl") != read_file(runs / "rouge2" / "completions.jsonl"));
}

TEST_CASE("adamw divides by the root of the mean square, each mean with its own decay") {
  const Runs runs;
  const auto line_end = [](int lines) {
    std::size_t end = 0;
    for (int i = 0; i < lines; ++i) end = training_data.find('\n', end) + 1;
    return end;
  };
  const std::string start = golden_model("plain");
  // The gradients of two batches at the start, from steps of sgd.
  const Words sft{
      "--method",    "sft", "--no-shuffle", "--batch-size", "4", "--threads", "1", "--weight-decay", "0",
      "--clip-norm", "0",   "--schedule",   "constant"};
  const auto gradient = [&](const std::string& name, const std::string& data) {
    const Runs some(data);
    const auto run =
        some.train(name, sft + Words{"--optimizer", "sgd", "--learning-rate", "1", "--max-steps", "1"});
    std::vector<double> moved = subtract(start, run / "model");
    return moved;
  };
  const std::vector<double> first = gradient("a", training_data.substr(0, line_end(4))),
                            second = gradient("b", training_data.substr(line_end(4)));
  const double b1 = 0.3, b2 = 0.6, rate = 1e-4;
  const auto run =
      runs.train("run", sft + Words{"--learning-rate", "1e-4", "--adam-beta1", "0.3", "--adam-beta2", "0.6",
                                    "--adam-epsilon", "0.05", "--max-steps", "2"});
  const std::vector<double> moved = subtract(run / "model", start);
  REQUIRE(moved.size() == first.size());
  double seen = 0, right = 0, off = 0;
  for (std::size_t i = 0; i < moved.size(); ++i) {
    const double g = first[i], h = second[i];
    if (std::abs(g) < 1e-3 || std::abs(h) < 1e-3) continue;
    const double mean = (b1 * g + h) / (1 + b1), square = (b2 * g * g + h * h) / (1 + b2);
    const double expected = -rate * (g / (std::abs(g) + 0.05) + mean / (std::sqrt(square) + 0.05));
    ++seen;
    right += std::abs(moved[i] - expected) < 0.02 * rate;
    // The other way round, which must not fit.
    const double other_mean = (b2 * g + h) / (1 + b2), other_square = (b1 * g * g + h * h) / (1 + b1);
    const double other = -rate * (g / (std::abs(g) + 0.05) + other_mean / (std::sqrt(other_square) + 0.05));
    off += std::abs(moved[i] - other) < 0.02 * rate;
  }
  REQUIRE(seen > 1000);
  CHECK(right > 0.95 * seen);
  CHECK(off < 0.6 * seen);
}

TEST_CASE("adamw decays matrices alone, and not through the gradient") {
  const Runs runs;
  const Words call{"--method",        "sft",  "--max-steps", "1",
                   "--learning-rate", "0.01", "--schedule",  "constant"};
  const auto without = parameters_of(runs.train("a", call + Words{"--weight-decay", "0"}) / "model"),
             with = parameters_of(runs.train("b", call + Words{"--weight-decay", "0.5"}) / "model"),
             before = parameters_of(golden_model("plain"));
  for (const auto& [name, values] : before) {
    INFO(name);
    const bool matrix =
        name.starts_with("w") || (name.ends_with(".weight") && name.find("ln_") == std::string::npos);
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double decay = matrix ? 0.01 * 0.5 * static_cast<double>(values[i]) : 0;
      worst = std::max(worst, std::abs(static_cast<double>(without.at(name).at(i)) -
                                       static_cast<double>(with.at(name).at(i)) - decay));
    }
    CHECK(worst < 1e-6);
  }
}
