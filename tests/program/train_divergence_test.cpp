// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

// Steps whose loss or gradient is not finite leave the parameters alone: what a run says of them at its end.

namespace {

namespace fs = std::filesystem;

/// Steps of a run that left the parameters alone.
int left_out(const fs::path& run) {
  return lines_with(read_file(run / "metrics.jsonl"), "\"updated\":false");
}

/// What is wrong with the end of a run that diverged; empty if nothing.
std::string not_diverged(const Finished& f, const fs::path& run, const std::string& what) {
  if (f.code != 1) return fmt::format("exit code {}: {}", f.code, f.err);
  const std::string expected = fmt::format("eso: error: {}: training diverged: {}", run.string(), what);
  if (f.last_error() != expected) return "last line: " + f.last_error();
  return fs::exists(run / "model") ? "there is a model" : "";
}

const Words three_epochs = Runs::small() + Words{"--epochs", "3", "--print-every", "0"};

}  // namespace

TEST_CASE("a run without a step that updated its model has diverged, and so has its resumption") {
  const Runs runs(R"({"prompt":"a","chosen":"b","rejected":"c"})"
                  "\n");
  Words call = runs.call("run", three_epochs + Words{"--method", "dpo", "--dpo-beta", "1e300"});
  std::replace(call.begin(), call.end(), std::string("prompt-response"), std::string("preference"));
  const std::string what = "no step had a finite loss and gradient";
  CHECK(not_diverged(program(call), runs / "run", what) == "");
  CHECK(json_lines(runs / "run" / "metrics.jsonl").size() == 3);
  CHECK(left_out(runs / "run") == 3);
  CHECK(not_diverged(program({"train", "--resume", (runs / "run").string()}), runs / "run", what) == "");
}

TEST_CASE("a run that ends with steps that left its model alone has diverged") {
  const Runs runs;
  const Finished f =
      program(runs.call("run", three_epochs + Words{"--method", "sft", "--learning-rate", "1e30"}));
  const int count = left_out(runs / "run");
  REQUIRE(count > 0);
  REQUIRE(count < 6);
  CHECK_FALSE(json_lines(runs / "run" / "metrics.jsonl").front().contains("updated"));
  const std::string what = fmt::format("the last {} of 6 steps had no finite loss and gradient", count);
  CHECK(not_diverged(f, runs / "run", what) == "");
  CHECK(json_lines(runs / "run" / "metrics.jsonl").size() == 6);
  CHECK(not_diverged(program({"train", "--resume", (runs / "run").string()}), runs / "run", what) == "");
}

TEST_CASE("a run tells at its end how many steps it left out, those before a resumption among them") {
  const Runs runs;
  const Words flags = three_epochs + Words{"--method",     "eso",   "--active-epochs", "all-but-last",
                                           "--eso-lambda", "1e300", "--save-every",    "1"};
  const Finished f = program(runs.call("run", flags));
  INFO(f.err);
  REQUIRE(f.code == 0);
  const int count = left_out(runs / "run");
  REQUIRE(count > 0);
  REQUIRE(count < 5);
  const std::string line =
      fmt::format("{} of 6 steps left out: their loss or gradient was not finite\n", count);
  CHECK(f.err.find(line) != std::string::npos);
  fs::remove_all(runs / "run" / "model");
  for (const char* step : {"step-5", "step-6"}) fs::remove_all(runs / "run" / "checkpoints" / step);
  const Finished resumed = program({"train", "--resume", (runs / "run").string()});
  CHECK(resumed.code == 0);
  CHECK(resumed.err.find(line) != std::string::npos);
  const Finished clean = program(runs.call("clean", three_epochs + Words{"--method", "sft"}));
  CHECK(clean.code == 0);
  CHECK(clean.err.find("left out") == std::string::npos);
}
