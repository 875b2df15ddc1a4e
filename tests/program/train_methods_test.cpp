// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

const std::string pairs =
    "{\"prompt\":\"!(\",\"chosen\":\"u.p.l.e\",\"rejected\":\"e\"}\n"
    "{\"prompt\":\"the\",\"chosen\":\"e f u\",\"rejected\":\"u% %e\"}\n"
    "{\"prompt\":\"Q\",\"chosen\":\"l/p u\",\"rejected\":\"t t t\"}\n"
    "{\"prompt\":\"zz\",\"chosen\":\"e\",\"rejected\":\"l/p\"}\n"
    "{\"prompt\":\"%\",\"chosen\":\"u% %e\",\"rejected\":\"zz\"}\n";

/// One step over all examples that moves nothing.
const Words still{"--batch-size",    "14", "--threads",   "1",   "--max-response-tokens", "8",
                  "--max-steps",     "1",  "--optimizer", "sgd", "--learning-rate",       "0",
                  "--active-epochs", "all"};

Words as_preference(Words call) {
  for (std::string& word : call) word = word == "prompt-response" ? "preference" : word;
  return call;
}

double sum(const Json& values) {
  double total = 0;
  for (const Json& value : values) total += value.get<double>();
  return total;
}

/// The lines of a step by example and kind.
std::map<int, std::map<std::string, std::vector<Json>>> candidates(const std::filesystem::path& run) {
  std::map<int, std::map<std::string, std::vector<Json>>> prompts;
  for (const Json& line : json_lines(run / "completions.jsonl"))
    prompts[line.at("example").get<int>()][line.at("kind").get<std::string>()].push_back(line);
  return prompts;
}

double mean_reward(const std::vector<Json>& samples) {
  double total = 0;
  for (const Json& s : samples) total += s.at("reward").get<double>();
  return total / static_cast<double>(samples.size());
}

/// The sums that `eso score` gives for the chosen and the rejected responses.
std::vector<std::pair<double, double>> scored_pairs(const std::string& model) {
  std::vector<std::pair<double, double>> sums;
  std::istringstream in(pairs);
  for (std::string line; std::getline(in, line);) {
    const Json pair = Json::parse(line);
    std::string lines;
    for (const char* side : {"chosen", "rejected"})
      lines += Json{{"prompt", pair["prompt"]}, {"response", pair[side]}}.dump() + "\n";
    const auto scores = program({"score", "--model", model}, lines).lines();
    sums.emplace_back(scores.at(0).at("sum").get<double>(), scores.at(1).at("sum").get<double>());
  }
  return sums;
}

}  // namespace

TEST_CASE("unlike makes of the completions what it says, with each option") {
  const Runs runs(training_data + training_data);
  const Words call =
      still + Words{"--method", "unlike", "--temperatures", "1,1,1,1,1,1", "--unlike-lambda", "0.5"};
  const auto check = [&](const std::string& name, const Words& option,
                         const std::function<double(double reward, double mean, const Json& logp)>& part) {
    INFO(name);
    const auto run = runs.train(name, call + option);
    double expected = 0;
    for (auto& [example, kinds] : candidates(run)) {
      const auto& samples = kinds.at("sample");
      for (const Json& s : samples)
        expected += part(s.at("reward").get<double>(), mean_reward(samples), s.at("logp")) / 14;
    }
    const Json metrics = metrics_of(run).at(0);
    CHECK(expected != 0);
    CHECK(metrics.at("loss/unlike").get<double>() == Approx(expected).epsilon(1e-5));
    CHECK(metrics.at("loss").get<double>() ==
          Approx(metrics.at("loss/sft").get<double>() + .5 * metrics.at("loss/unlike").get<double>()));
  };
  const auto unlikely = [](const Json& logp) {
    double total = 0;
    for (const Json& value : logp) total -= std::log(std::max(1 - std::exp(value.get<double>()), 1e-5));
    return total;
  };
  check("default", {}, [&](double r, double u, const Json& logp) { return r < u ? unlikely(logp) : 0; });
  check("plain", {"--unlike-objective", "plain-logp", "--unlike-weight", "gap"},
        [&](double r, double u, const Json& logp) { return r < u ? (u - r) * sum(logp) : 0; });
  check("all", {"--unlike-select", "all"}, [&](double, double, const Json& logp) { return unlikely(logp); });
  check("threshold", {"--unlike-select", "threshold", "--unlike-threshold", "0.01"},
        [&](double r, double, const Json& logp) { return r < .01 ? unlikely(logp) : 0; });
}

TEST_CASE("drl draws one sample at temperature 1 and a greedy response, and compares them") {
  const Runs runs(training_data + training_data);
  const Words call = still + Words{"--method", "drl", "--temperatures", "0.5,2", "--drl-lambda", "2"};
  const auto run = runs.train("drl", call);
  double expected = 0;
  const auto prompts = candidates(run);
  REQUIRE(prompts.size() == 14);
  for (const auto& [example, kinds] : prompts) {
    REQUIRE(kinds.size() == 2);
    REQUIRE(kinds.at("sample").size() == 1);
    REQUIRE(kinds.at("greedy").size() == 1);
    const Json &sample = kinds.at("sample")[0], &greedy = kinds.at("greedy")[0];
    CHECK(sample.at("temperature") == 1);
    CHECK(greedy.at("temperature") == 0);
    CHECK(sample.at("sample") == 0);
    CHECK(greedy.at("sample") == 0);
    const double distance = sample.at("reward").get<double>() - greedy.at("reward").get<double>();
    CHECK(sample.at("advantage").get<double>() == Approx(distance).margin(1e-12));
    CHECK(greedy.at("advantage").is_null());
    expected -= distance * sum(sample.at("logp")) / 14;
  }
  const Json metrics = metrics_of(run).at(0);
  CHECK(expected != 0);
  CHECK(metrics.at("loss/drl").get<double>() == Approx(expected).epsilon(1e-5));
  CHECK(metrics.at("loss").get<double>() ==
        Approx(metrics.at("loss/sft").get<double>() + 2 * expected).epsilon(1e-5));
  CHECK_FALSE(metrics.contains("frac_reward_zero_std"));
  const Json convex =
      metrics_of(runs.train("convex", call + Words{"--drl-combine", "convex", "--drl-gamma", "0.25"})).at(0);
  CHECK(convex.at("loss/drl") == metrics.at("loss/drl"));
  CHECK(convex.at("loss").get<double>() ==
        Approx(.75 * metrics.at("loss/sft").get<double>() + .25 * metrics.at("loss/drl").get<double>()));
}

TEST_CASE("rrhf ranks the samples and the reference, which stands in the records") {
  const Runs runs;
  const auto run = runs.train("rrhf", still + Words{"--method", "rrhf", "--rrhf-weight", "0.5"});
  double expected = 0;
  const auto prompts = candidates(run);
  REQUIRE(prompts.size() == 7);
  for (const auto& [example, kinds] : prompts) {
    REQUIRE(kinds.at("sample").size() == 4);
    REQUIRE(kinds.at("reference").size() == 1);
    const Json& reference = kinds.at("reference")[0];
    CHECK(reference.at("sample") == 4);
    CHECK(reference.at("reward") == 1);
    for (const char* field : {"temperature", "advantage", "finish"}) CHECK(reference.at(field).is_null());
    CHECK(reference.at("logp").size() == reference.at("response_ids").size());
    std::vector<Json> all = kinds.at("sample");
    all.push_back(reference);
    const auto score = [](const Json& c) {
      return sum(c.at("logp")) / static_cast<double>(c.at("logp").size());
    };
    for (const Json& i : all) {
      for (const Json& j : all)
        if (i.at("reward") < j.at("reward")) expected += std::max(0.0, score(i) - score(j)) / 7;
    }
  }
  const Json metrics = metrics_of(run).at(0);
  CHECK(expected != 0);
  CHECK(metrics.at("loss/rrhf").get<double>() == Approx(expected).epsilon(1e-5));
  CHECK(metrics.at("loss").get<double>() ==
        Approx(metrics.at("loss/sft").get<double>() + .5 * metrics.at("loss/rrhf").get<double>()));
  CHECK(metrics.contains("frac_reward_zero_std"));
}

TEST_CASE("dpo compares the pairs with the model at the start, or with another") {
  const Runs runs(pairs);
  const auto metrics = [&](const std::string& name, const Words& more) {
    const Finished f = program(as_preference(runs.call(name, still + Words{"--method", "dpo"} + more)));
    INFO(f.err);
    REQUIRE(f.code == 0);
    return metrics_of(runs / name).at(0);
  };
  const auto here = scored_pairs(golden_model("plain"));
  double chosen = 0, rejected = 0;
  for (const auto& [w, l] : here) chosen += w / 5, rejected += l / 5;
  const Json start = metrics("start", {});
  CHECK(start.at("loss").get<double>() == Approx(std::log(2.0)));
  CHECK(start.at("active") == true);
  CHECK(start.at("logps/chosen").get<double>() == Approx(chosen).epsilon(1e-5));
  CHECK(start.at("logps/rejected").get<double>() == Approx(rejected).epsilon(1e-5));
  for (const char* name : {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"})
    CHECK(start.at(name).get<double>() == Approx(0).margin(1e-5));
  CHECK_FALSE(start.contains("loss/sft"));
  CHECK(read_file(runs / "start/completions.jsonl").empty());
  // Another reference: a model trained away from this one.
  const auto sft = [&] {
    const Finished f =
        program(as_preference(runs.call("sft", {"--method", "sft", "--batch-size", "5", "--max-steps", "3",
                                                "--learning-rate", "0.05", "--threads", "1"})));
    REQUIRE(f.code == 0);
    return (runs / "sft/model").string();
  }();
  const auto there = scored_pairs(sft);
  double loss = 0, margin = 0, accuracy = 0;
  for (std::size_t i = 0; i < here.size(); ++i) {
    const double h = (here[i].first - here[i].second) - (there[i].first - there[i].second);
    loss += std::log1p(std::exp(-.3 * h)) / 5, margin += .3 * h / 5, accuracy += h > 0 ? .2 : 0;
  }
  const Json other = metrics("other", {"--dpo-beta", "0.3", "--dpo-reference", sft});
  CHECK(other.at("loss").get<double>() == Approx(loss).epsilon(1e-4));
  CHECK(other.at("loss/dpo") == other.at("loss"));
  CHECK(other.at("rewards/margins").get<double>() == Approx(margin).epsilon(1e-3).margin(1e-4));
  CHECK(other.at("rewards/accuracies").get<double>() == Approx(accuracy));
}

TEST_CASE("dpo prefers the chosen responses in the end") {
  const Runs runs(pairs);
  const Finished f =
      program(as_preference(runs.call("run", {"--method", "dpo", "--batch-size", "5", "--epochs", "20",
                                              "--learning-rate", "0.01", "--threads", "1"})));
  INFO(f.err);
  REQUIRE(f.code == 0);
  const auto lines = metrics_of(runs / "run");
  CHECK(lines.back().at("loss").get<double>() < .5 * lines.front().at("loss").get<double>());
  CHECK(lines.back().at("rewards/accuracies") == 1);
}

TEST_CASE("every method resumes to the same bytes") {
  namespace fs = std::filesystem;
  const std::string method = GENERATE("unlike", "drl", "rrhf", "dpo", "slic");
  const Runs runs(method == "dpo" || method == "slic" ? pairs : training_data);
  Words call =
      runs.call("run", Runs::small() + Words{"--method", method, "--epochs", "3", "--save-every", "2",
                                             "--learning-rate", "0.01", "--active-epochs", "from:2"});
  if (method == "dpo" || method == "slic") call = as_preference(call);
  INFO(method);
  REQUIRE(program(call).code == 0);
  fs::copy(runs / "run", runs / "cut", fs::copy_options::recursive);
  fs::remove_all(runs / "cut/model");
  fs::remove(runs / "cut/report.html");
  for (const char* step : {"step-4", "step-6"}) fs::remove_all(runs / "cut/checkpoints" / step);
  REQUIRE(fs::exists(runs / "cut/checkpoints/step-2"));
  const Finished f = program({"train", "--resume", (runs / "cut").string()});
  INFO(f.err);
  REQUIRE(f.code == 0);
  CHECK(difference(runs / "run", runs / "cut") == "");
}

TEST_CASE("methods refuse data, references and options that do not serve them") {
  const Runs runs(pairs);
  const auto refused = [&](const Words& more, const std::vector<std::string>& fragments,
                           bool preference = true) {
    Words call = runs.call("run", Words{"--max-steps", "1"} + more);
    if (preference) call = as_preference(call);
    CHECK(not_refused(program(call), fragments) == "");
    CHECK_FALSE(std::filesystem::exists(runs / "run"));
  };
  refused({"--method", "dpo"}, {"--format", "no pairs", "prompt-response"}, false);
  refused({"--method", "dpo", "--dpo-reference", (runs / "none").string()}, {"none"});
  refused({"--method", "dpo", "--dpo-reference", ESO_EXAMPLES_DIR "/debsum/base"},
          {"--dpo-reference", "has another vocabulary than the model"});
  refused({"--method", "dpo", "--dpo-beta", "0"}, {"--dpo-beta", "out of range"});
  refused({"--method", "dpo", "--dpo-label-smoothing", "0.5"}, {"--dpo-label-smoothing", "out of range"});
  refused({"--method", "dpo", "--dpo-loss", "hinge"}, {"--dpo-loss", "hinge"});
  refused({"--method", "dpo", "--dpo-loss", "ipo", "--dpo-label-smoothing", "0.1"},
          {"--dpo-label-smoothing", "not read", "ipo"});
  refused({"--method", "dpo", "--dpo-reference", golden_model("plain"), "--dpo-reference-free", "true"},
          {"--dpo-reference", "not read", "--dpo-reference-free"});
  refused({"--method", "eso", "--eso-min-mean-reward", "0.1"},
          {"--eso-min-mean-reward", "not read", "mean-kept"});
  refused({"--method", "eso", "--eso-batch-reduce", "sum", "--eso-min-mean-reward", "0.1"},
          {"--eso-min-mean-reward", "not read", "sum"});
  write_file(runs / "none.toml", "temperatures = []\n");
  for (const char* method : {"eso", "unlike", "drl", "rrhf"})
    refused({"--method", method, "--config", (runs / "none.toml").string()},
            {"--temperatures", "at least one"});
  refused({"--method", "unlike", "--unlike-select", "worst"}, {"--unlike-select", "worst"});
  refused({"--method", "unlike", "--unlike-objective", "p"}, {"--unlike-objective", "p"});
  refused({"--method", "unlike", "--unlike-floor", "1"}, {"--unlike-floor", "out of range"});
  refused({"--method", "unlike", "--unlike-lambda", "inf"}, {"--unlike-lambda", "not finite"});
  refused({"--method", "drl", "--drl-gamma", "1"}, {"--drl-gamma", "out of range"});
  refused({"--method", "drl", "--drl-combine", "both"}, {"--drl-combine", "both"});
  refused({"--method", "rrhf", "--rrhf-length-mode", "row"}, {"--rrhf-length-mode", "row"});
  refused({"--method", "rrhf", "--rrhf-best-weight", "-1"}, {"--rrhf-best-weight", "out of range"});
}

TEST_CASE("flags of another method on the command line are named in one line, and nothing else is") {
  const Runs runs;
  const auto said = [&](const std::string& name, const Words& more) {
    const Finished f = program(runs.call(name, Runs::small() + Words{"--max-steps", "1"} + more));
    CHECK(f.code == 0);
    CHECK(lines_with(f.err, "not read") <= 1);
    const std::size_t end = f.err.find(": not read by");
    if (end == std::string::npos) return std::string();
    const std::size_t begin = f.err.rfind('\n', end) + 1;  // npos + 1 is 0
    return f.err.substr(begin, f.err.find('\n', end) - begin);
  };
  CHECK(said("two", {"--method", "eso", "--unlike-lambda", "1", "--eso-lambda", "1", "--drl-gamma", "0.5"}) ==
        "--unlike-lambda, --drl-gamma: not read by --method eso");
  CHECK(said("sft", {"--method", "sft", "--eso-lambda", "1"}) == "--eso-lambda: not read by --method sft");
  CHECK(said("own", {"--method", "rrhf", "--rrhf-weight", "2", "--sft-reduction", "sequence-mean"}) == "");
  CHECK(said("preset", {"--method", "sft", "--preset", "recommended"}) == "");
  write_file(runs / "flags.toml", "unlike-lambda = 1.0\n");
  CHECK(said("file", {"--method", "eso", "--config", (runs / "flags.toml").string()}) == "");
}

TEST_CASE("the threshold of a preset goes with the reduction that reads it") {
  const Runs runs;
  const auto threshold = [&](const std::string& name, const Words& more) {
    const auto run =
        runs.train(name, Runs::small() +
                             Words{"--preset", "authors-code", "--method", "eso", "--max-steps", "1"} + more);
    const std::string config = read_file(run / "config.toml"), key = "\neso-min-mean-reward = ";
    const std::size_t begin = config.find(key) + key.size();
    return config.substr(begin, config.find('\n', begin) - begin);
  };
  CHECK(threshold("preset", {}) == "0.1");
  CHECK(threshold("kept", {"--eso-batch-reduce", "mean-kept"}) == "0.1");
  CHECK(threshold("mean", {"--eso-batch-reduce", "mean"}) == "-inf");
  CHECK(threshold("given", {"--eso-min-mean-reward", "0.3"}) == "0.3");
}

TEST_CASE("presets differ from the paper's exactly where they say") {
  const Runs runs;
  const auto flags = [&](const std::string& preset, const Words& more = {}) {
    const auto run =
        runs.train(preset + std::to_string(more.size()),
                   Words{"--preset", preset, "--method", "sft", "--max-steps", "1", "--threads", "1"} + more);
    std::map<std::string, std::string> values;
    std::istringstream in(read_file(run / "config.toml"));
    for (std::string line; std::getline(in, line);)
      values[line.substr(0, line.find(" = "))] = line.substr(line.find(" = ") + 3);
    values.erase("output"), values.erase("preset");
    return values;
  };
  const auto paper = flags("paper");
  const auto differences = [&](const std::map<std::string, std::string>& values) {
    std::map<std::string, std::string> list;
    for (const auto& [name, value] : values)
      if (paper.at(name) != value) list[name] = value;
    return list;
  };
  using Map = std::map<std::string, std::string>;
  CHECK(differences(flags("authors-code")) == Map{{"temperatures", "[0.5, 1.0, 1.25, 1.5]"},
                                                  {"eso-lambda", "0.1"},
                                                  {"eso-batch-reduce", "\"sum-if-any-above\""},
                                                  {"eso-min-mean-reward", "0.1"},
                                                  {"eso-include-eos", "false"},
                                                  {"active-epochs", "\"all-but-last\""},
                                                  {"dropout", "\"config\""},
                                                  {"weight-decay", "0.01"},
                                                  {"max-response-tokens", "64"}});
  CHECK(differences(flags("literal")) ==
        Map{{"sft-reduction", "\"sequence-sum-prompt-mean\""}, {"weight-decay-mode", "\"l2\""}});
  CHECK(differences(flags("recommended")) == Map{{"temperatures", "[1.0, 1.0, 1.0, 1.0]"},
                                                 {"eso-token-reduce", "\"mean-batch\""},
                                                 {"eso-lambda", "12.0"},
                                                 {"min-learning-rate-ratio", "0.3"}});
  // What is given beats the preset.
  const auto given = flags("recommended", {"--eso-lambda", "3", "--schedule", "cosine"});
  CHECK(given.at("eso-lambda") == "3.0");
  CHECK(given.at("schedule") == "\"cosine\"");
  CHECK(given.at("eso-token-reduce") == "\"mean-batch\"");
  // Nothing is applied again by a resumed run.
  CHECK(program({"train", "--resume", (runs / "recommended0").string()}).code == 0);
}
