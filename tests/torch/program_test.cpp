// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "../program/train_run.hpp"

// The program with --backend torch, held to the same with --backend eigen.

namespace {

/// The calls of one command with both backends.
struct Both {
  Finished eigen, torch;
};

Both both(Words words, const std::string& input) {
  const auto with = [&](const char* backend) {
    return program(words + Words{"--backend", backend, "--threads", "1"}, input);
  };
  return {with("eigen"), with("torch")};
}

/// Numbers within this of each other, everything else equal; what differs, or nothing.
std::string apart(const Json& a, const Json& b, double tolerance, const std::string& where = "") {
  if (a.is_number() && b.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    return std::abs(x - y) <= tolerance * (1 + std::abs(x)) ? "" : fmt::format("{}: {} and {}", where, x, y);
  }
  if (a.type() != b.type() || a.size() != b.size())
    return fmt::format("{}: {} and {}", where, a.dump(), b.dump());
  if (!a.is_structured()) return a == b ? "" : fmt::format("{}: {} and {}", where, a.dump(), b.dump());
  for (const auto& [key, value] : a.items()) {
    if (key == "step_time" || key.starts_with("time/")) continue;
    if (key == "rewards/accuracies") continue;  // rounding decides while the model is its reference
    if (a.is_object() && !b.contains(key)) return where + "." + key + " is missing";
    const std::string found =
        apart(value, a.is_object() ? b.at(key) : b.at(std::stoul(key)), tolerance, where + "." + key);
    if (!found.empty()) return found;
  }
  return "";
}

std::string lines_apart(const std::filesystem::path& a, const std::filesystem::path& b, double tolerance) {
  const std::vector<Json> x = json_lines(a), y = json_lines(b);
  if (x.size() != y.size()) return fmt::format("{} and {} lines", x.size(), y.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::string found = apart(x[i], y[i], tolerance, fmt::format("line {}", i + 1));
    if (!found.empty()) return found;
  }
  return "";
}

/// The largest difference of a tensor of two runs' models, as a share of its largest number.
double weights_apart(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto x = eso::WeightFiles::open(a / "model"), y = eso::WeightFiles::open(b / "model");
  double worst = 0;
  for (const std::string& name : x.names()) {
    const auto tensor = x.find(name), other = y.find(name);
    std::vector<double> values(static_cast<std::size_t>(eso::value_count(*tensor))), others(values.size());
    eso::read_values(*tensor, values.data());
    eso::read_values(*other, others.data());
    double apart = 0, largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      apart = std::max(apart, std::abs(values[i] - others[i]));
      largest = std::max(largest, std::abs(values[i]));
    }
    worst = std::max(worst, apart / largest);
  }
  return worst;
}

/// Whether a run has so many steps behind it.
bool began(const std::filesystem::path& run, std::size_t steps) {
  std::error_code none;
  if (!std::filesystem::exists(run / "metrics.jsonl", none)) return false;
  const std::string lines = read_file(run / "metrics.jsonl");
  return static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n')) >= steps;
}

/// Gives a run a minute for its first steps.
void let_begin(const std::filesystem::path& run, std::size_t steps) {
  for (int i = 0; i < 600 && !began(run, steps); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

/// Two processes of one run, started as a launcher does.
struct Ranks {
  std::string port = fmt::format("{}", 20000 + ::getpid() % 20000);
  std::vector<pid_t> children;
  TemporaryFolder folder;

  /// `more` are words of rank 1 alone.
  explicit Ranks(const Words& words, const Words& more = {}) {
    for (int rank = 0; rank < 2; ++rank) {
      Words all = Words{ESO_PROGRAM_PATH} + words + (rank == 1 ? more : Words{});
      std::vector<char*> pointers;
      for (std::string& word : all) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      const pid_t child = ::fork();
      if (child == 0) {
        ::setenv("RANK", fmt::format("{}", rank).c_str(), 1);
        ::setenv("WORLD_SIZE", "2", 1);
        ::setenv("MASTER_ADDR", "127.0.0.1", 1);
        ::setenv("MASTER_PORT", port.c_str(), 1);
        open_as(2, error_of(rank), O_WRONLY | O_CREAT | O_TRUNC);
        ::execv(pointers[0], pointers.data());
        ::_exit(126);
      }
      children.push_back(child);
    }
  }
  ~Ranks() {
    for (const pid_t child : children) {
      if (child > 0) ::kill(child, SIGKILL), ::waitpid(child, nullptr, 0);
    }
  }

  std::filesystem::path error_of(int rank) const { return folder / fmt::format("err{}", rank); }

  /// Waits for one of them.
  Finished wait(int rank) {
    int status = 0;
    pid_t& child = children[static_cast<std::size_t>(rank)];
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    child = 0;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), {}, read_file(error_of(rank))};
  }
};

}  // namespace

TEST_CASE("torch: score and generate answer as eigen does") {
  const std::string texts =
      "{\"prompt_ids\":[1,2,3],\"response_ids\":[4,5,6]}\n{\"prompt_ids\":[9],\"response_ids\":[7]}\n";
  for (const std::string& model : models_of_all_families) {
    INFO(model);
    const Both score = both({"score", "--model", golden_model(model)}, texts);
    REQUIRE(score.torch.code == 0);
    CHECK(apart(score.eigen.lines(), score.torch.lines(), 2e-6) == "");
    for (const char* temperature : {"0", "1"}) {
      const Both generated = both({"generate", "--model", golden_model(model), "--samples", "3",
                                   "--temperature", temperature, "--max-response-tokens", "8", "--seed", "5"},
                                  texts);
      REQUIRE(generated.torch.code == 0);
      CHECK(apart(generated.eigen.lines(), generated.torch.lines(), 2e-5) == "");
    }
  }
}

TEST_CASE("torch: every method trains as eigen does") {
  const Runs runs;
  for (const char* method : {"sft", "eso", "unlike", "drl", "rrhf"}) {
    INFO(method);
    const auto run = [&](const std::string& backend) {
      return runs.train(
          fmt::format("{}-{}", method, backend),
          Runs::small() + Words{"--method", method, "--active-epochs", "all", "--epochs", "2", "--optimizer",
                                "sgd", "--learning-rate", "1e-2", "--backend", backend});
    };
    const auto eigen = run("eigen"), torch = run("torch");
    CHECK(lines_apart(eigen / "metrics.jsonl", torch / "metrics.jsonl", 1e-4) == "");
    CHECK(lines_apart(eigen / "completions.jsonl", torch / "completions.jsonl", 1e-4) == "");
    CHECK(weights_apart(eigen, torch) < 1e-5);
  }
}

TEST_CASE("torch: dropout trains as eigen does") {
  const Runs runs;
  const auto run = [&](const std::string& backend) {
    return runs.train(backend, Runs::small() + Words{"--method", "eso", "--active-epochs", "all", "--epochs",
                                                     "2", "--optimizer", "sgd", "--learning-rate", "1e-2",
                                                     "--dropout", "0.1", "--backend", backend});
  };
  const auto eigen = run("eigen"), torch = run("torch");
  CHECK(lines_apart(eigen / "metrics.jsonl", torch / "metrics.jsonl", 1e-4) == "");
  CHECK(weights_apart(eigen, torch) < 1e-5);
}

TEST_CASE("torch: losses of pairs train as eigen does") {
  const TemporaryFolder folder;
  std::string pairs;
  for (const char* word : {"a", "be", "cat", "do"}) {
    pairs += Json{{"prompt", word}, {"chosen", std::string(word) + " u"}, {"rejected", "l e"}}.dump() + "\n";
  }
  write_file(folder / "pairs.jsonl", pairs);
  for (const char* method : {"dpo", "slic"}) {
    INFO(method);
    std::vector<std::filesystem::path> outputs;
    for (const char* backend : {"eigen", "torch"}) {
      outputs.push_back(folder / (std::string(method) + backend));
      const Finished f = program({"train",
                                  "--model",
                                  golden_model("opt/before"),
                                  "--data",
                                  (folder / "pairs.jsonl").string(),
                                  "--format",
                                  "preference",
                                  "--method",
                                  method,
                                  "--output",
                                  outputs.back().string(),
                                  "--backend",
                                  backend,
                                  "--epochs",
                                  "3",
                                  "--batch-size",
                                  "2",
                                  "--optimizer",
                                  "sgd",
                                  "--threads",
                                  "1"});
      INFO(f.err);
      REQUIRE(f.code == 0);
    }
    CHECK(lines_apart(outputs[0] / "metrics.jsonl", outputs[1] / "metrics.jsonl", 1e-4) == "");
    CHECK(weights_apart(outputs[0], outputs[1]) < 1e-5);
  }
}

TEST_CASE("torch: a resumed run ends with the same bytes") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--backend", "torch", "--epochs", "3", "--save-every", "2"};
  const auto whole = runs.train("whole", flags);
  std::filesystem::copy(whole, runs / "cut", std::filesystem::copy_options::recursive);
  std::filesystem::remove_all(runs / "cut" / "model");
  for (const char* later : {"step-4", "step-6"})
    std::filesystem::remove_all(runs / "cut" / "checkpoints" / later);
  REQUIRE(program({"train", "--resume", (runs / "cut").string()}).code == 0);
  CHECK(weights_of(whole) == weights_of(runs / "cut"));
  CHECK(lines_apart(whole / "metrics.jsonl", runs / "cut" / "metrics.jsonl", 0) == "");
}

TEST_CASE("torch: bfloat16 trains near float32 and writes bfloat16") {
  const Runs runs;
  const auto run = [&](const std::string& precision) {
    return runs.train(precision,
                      Runs::small() + Words{"--method", "sft", "--epochs", "2", "--backend", "torch",
                                            "--precision", precision, "--checkpoint-activations"});
  };
  const auto exact = run("float32"), rounded = run("bfloat16");
  CHECK(lines_apart(exact / "metrics.jsonl", rounded / "metrics.jsonl", 0.05) == "");
  CHECK(Json::parse(read_file(rounded / "model" / "config.json")).at("dtype") == "bfloat16");
  const auto files = eso::WeightFiles::open(rounded / "model");
  CHECK(files.find(files.names().front())->type == eso::DataType::bfloat16);
}

TEST_CASE("torch: a run with adapters leaves them as PEFT does, beside the merged model, and resumes") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--backend",      "torch", "--epochs",        "2",
                                             "--save-every",   "1",     "--lora-rank",     "2",
                                             "--lora-alpha",   "4",     "--lora-targets",  "c_attn,c_proj",
                                             "--lora-dropout", "0.1",   "--learning-rate", "1e-2"};
  const auto whole = runs.train("whole", flags);
  const Json config = Json::parse(read_file(whole / "adapter" / "adapter_config.json"));
  CHECK(config.at("r") == 2);
  CHECK(config.at("target_modules") == Json{"c_attn", "c_proj"});
  CHECK(config.at("fan_in_fan_out") == true);
  const auto adapter = eso::Safetensors::open(whole / "adapter" / "adapter_model.safetensors");
  CHECK(adapter.tensors().size() == 2 * 2 * 3);  // A and B, layers, modules
  CHECK(adapter.find("base_model.model.transformer.h.1.mlp.c_proj.lora_B.weight").has_value());
  std::filesystem::copy(whole, runs / "cut", std::filesystem::copy_options::recursive);
  for (const char* part : {"model", "adapter", "checkpoints/step-3", "checkpoints/step-4"})
    std::filesystem::remove_all(runs / "cut" / part);
  REQUIRE(program({"train", "--resume", (runs / "cut").string()}).code == 0);
  CHECK(weights_of(whole) == weights_of(runs / "cut"));
}

TEST_CASE("torch: two processes train as one does, and resume to the same bytes") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--backend",    "torch", "--epochs",        "3",
                                             "--save-every", "2",     "--learning-rate", "1e-2"};
  const auto alone = runs.train("alone", flags + Words{"--optimizer", "sgd"});
  for (const Words& more : {Words{"--optimizer", "sgd"}, Words{"--shard-optimizer"}, Words{}}) {
    const std::string name = fmt::format("two{}", more.size());
    Ranks ranks(runs.call(name, flags + more));
    for (const int rank : {0, 1}) {
      const Finished finished = ranks.wait(rank);
      INFO(finished.err);
      REQUIRE(finished.code == 0);
      if (rank == 1) CHECK(finished.err == "");
    }
  }
  CHECK(weights_apart(alone, runs / "two2") < 1e-6);
  CHECK(lines_apart(alone / "metrics.jsonl", runs / "two2" / "metrics.jsonl", 1e-5) == "");
  CHECK(lines_apart(alone / "completions.jsonl", runs / "two2" / "completions.jsonl", 1e-5) == "");
  CHECK(weights_of(runs / "two1") == weights_of(runs / "two0"));  // divided moments change nothing
  std::filesystem::remove_all(runs / "two1" / "model");
  for (const char* later : {"step-4", "step-6"})
    std::filesystem::remove_all(runs / "two1" / "checkpoints" / later);
  Ranks again({"train", "--resume", (runs / "two1").string()});
  REQUIRE(again.wait(0).code == 0);
  REQUIRE(again.wait(1).code == 0);
  CHECK(weights_of(runs / "two1") == weights_of(runs / "two0"));
}

TEST_CASE(
    "torch: a process that is killed ends the other, which names it, and the run goes on from its "
    "checkpoint") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--backend",    "torch", "--epochs",           "100000",
                                             "--save-every", "1",     "--keep-checkpoints", "2"};
  for (const int killed : {1, 0}) {
    INFO(killed);
    const std::string name = fmt::format("killed{}", killed);
    Ranks ranks(runs.call(name, flags));
    let_begin(runs / name, 3);
    ::kill(ranks.children[static_cast<std::size_t>(killed)], SIGKILL);
    const Finished other = ranks.wait(1 - killed);
    CHECK(other.code == 1);
    CHECK(other.last_error().find(fmt::format("rank {} has stopped", killed)) != std::string::npos);
    CHECK(!std::filesystem::is_empty(runs / name / "checkpoints"));
  }
}

TEST_CASE("torch: a process that is frozen ends the other, which names it") {
  const Runs runs;  // rank 0, which holds the store that the others ask; of another they hear in time
  Ranks ranks(runs.call("out", Runs::active() + Words{"--backend", "torch", "--epochs", "100000"}));
  let_begin(runs / "out", 2);
  ::kill(ranks.children[0], SIGSTOP);
  const Finished other = ranks.wait(1);
  CHECK(other.code == 1);
  CHECK(other.last_error().find("rank 0 has stopped") != std::string::npos);
}

TEST_CASE("torch: a signal to one process stops all after the same step, with a checkpoint") {
  const Runs runs;
  Ranks ranks(runs.call("out", Runs::active() + Words{"--backend", "torch", "--epochs", "100000"}));
  let_begin(runs / "out", 2);
  ::kill(ranks.children[1], SIGTERM);
  CHECK(ranks.wait(0).code == 128 + SIGTERM);
  CHECK(ranks.wait(1).code == 128 + SIGTERM);
  CHECK(!std::filesystem::is_empty(runs / "out" / "checkpoints"));
}

TEST_CASE("torch: rank 0 saves what it has when another is lost") {
  const Runs runs;
  Ranks ranks(runs.call("out", Runs::active() + Words{"--backend", "torch", "--epochs", "100000"}));
  let_begin(runs / "out", 3);
  ::kill(ranks.children[1], SIGKILL);
  const Finished first = ranks.wait(0);
  CHECK(first.code == 1);
  CHECK(first.last_error().find("rank 1 has stopped") != std::string::npos);
  REQUIRE(std::filesystem::exists(runs / "out" / "checkpoints"));
  CHECK(!std::filesystem::is_empty(runs / "out" / "checkpoints"));
}

TEST_CASE("torch: processes that were told different things are refused, before anything is written") {
  const Runs runs;
  Ranks ranks(runs.call("out", Runs::active() + Words{"--backend", "torch", "--epochs", "1"}),
              {"--learning-rate", "0.5"});
  for (const int rank : {0, 1}) {
    const Finished finished = ranks.wait(rank);
    CHECK(finished.code == 2);
    CHECK(finished.last_error().find("rank 1: was started with other flags") != std::string::npos);
  }
  CHECK(!std::filesystem::exists(runs / "out"));
}

TEST_CASE("torch: a signal that comes in the middle of a product harms nothing") {
  // The products of a model of this size have the stack pointer among their numbers a quarter of the time.
  const Runs runs;
  const std::string debsum = ESO_TEST_DIR "/../examples/debsum/";
  for (int i = 0; i < 6; ++i) {
    const std::filesystem::path out = runs / fmt::format("{}", i);
    Running running({"train", "--backend", "torch", "--method", "sft", "--model", debsum + "base", "--data",
                     debsum + "data/train.jsonl.gz", "--format", "debsum", "--max-prompt-tokens", "128",
                     "--max-response-tokens", "24", "--threads", "1", "--output", out.string()});
    running.wait_for_lines(out / "metrics.jsonl", 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(41 * i));
    running.signal(SIGTERM);
    const Finished finished = running.finish();
    INFO(finished.err);
    CHECK(finished.code == 128 + SIGTERM);
    CHECK(!std::filesystem::is_empty(out / "checkpoints"));
    std::filesystem::remove_all(out);
  }
}

TEST_CASE("torch: what the backend cannot do is refused, by its flag or variable") {
  const Runs runs;
  const auto call = [&](const Words& more, const std::function<void()>& prepare = {}) {
    return program(runs.call("out", Runs::small() + Words{"--method", "sft", "--backend", "torch"} + more),
                   {}, prepare);
  };
  CHECK(not_refused(call({"--device", "cuda:99"}), {"device", "cuda:99"}) == "");
  CHECK(not_refused(call({"--dropout", "1"}), {"--dropout"}) == "");
  CHECK(not_refused(call({"--lora-rank", "2", "--lora-targets", "query"}),
                    {"lora-targets", "query", "c_attn"}) == "");
  CHECK(not_refused(
            call({"--lora-rank", "25"}),
            {"--lora-rank: exceeds the smaller side of attn.c_attn, found 25, expected at most 24"}) == "");
  CHECK(not_refused(call({"--lora-rank", "9000000000000000000"}), {"--lora-rank", "at most 24"}) == "");
  CHECK(not_refused(call({"--lora-alpha", "8"}), {"--lora-alpha", "--lora-rank"}) == "");
  CHECK(not_refused(call({"--lora-dropout", "0.1"}), {"--lora-dropout", "--lora-rank"}) == "");
  CHECK(not_refused(call({"--shard-optimizer"}), {"--shard-optimizer", "processes"}) == "");
  const auto variable = [](const char* name, const char* value) {
    return [=] { ::setenv("WORLD_SIZE", "2", 1), ::setenv(name, value, 1); };
  };
  CHECK(not_refused(call({}, variable("RANK", "2")), {"RANK", "0 to 1"}) == "");
  CHECK(not_refused(call({}, variable("WORLD_SIZE", "two")), {"WORLD_SIZE", "two"}) == "");
  CHECK(not_refused(call({}, variable("RANK", "0")), {"MASTER_PORT"}) == "");
  CHECK(not_refused(
            program(runs.call("out", Runs::small() + Words{"--method", "sft"}), {}, variable("RANK", "0")),
            {"--backend"}) == "");
  CHECK(!std::filesystem::exists(runs / "out"));
}
