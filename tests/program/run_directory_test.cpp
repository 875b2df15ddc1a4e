// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include <unistd.h>

#include "train_run.hpp"

namespace fs = std::filesystem;

TEST_CASE("a link in a run directory is refused and never followed") {
  const Runs runs;
  runs.train("run", Runs::active());
  const fs::path run = runs / "run", victim = runs / "victim";
  for (const char* name : {"metrics.jsonl", "completions.jsonl", "report.html", "checkpoints", "model"}) {
    INFO(name);
    write_file(victim, "precious\n");
    fs::rename(run / name, runs / "aside");
    fs::create_symlink(victim, run / name);
    CHECK(not_refused(program({"train", "--resume", run.string()}), {(run / name).string()}) == "");
    CHECK(read_file(victim) == "precious\n");
    fs::remove(run / name);
    fs::rename(runs / "aside", run / name);
  }
}

TEST_CASE("a directory that holds a lock alone is as good as an empty one") {
  const Runs runs;
  fs::create_directory(runs / "run");
  write_file(runs / "run" / ".lock", "1\n");
  CHECK(program(runs.call("run", Runs::active())).code == 0);
  CHECK(!fs::exists(runs / "run" / ".lock"));
}

TEST_CASE("resuming removes a run's own temporaries and nothing else") {
  const Runs runs;
  runs.train("run", Runs::active());
  const fs::path run = runs / "run";
  const std::string ours = ".tmp-999999999-step-7", users = ".tmp-notes-step-by-step";
  fs::create_directory(run / "checkpoints" / ours);
  fs::create_directory(run / "checkpoints" / users);
  write_file(run / "notes.tmp-mine", "kept");
  CHECK(program({"train", "--resume", run.string()}).code == 0);
  CHECK(!fs::exists(run / "checkpoints" / ours));
  CHECK(fs::exists(run / "checkpoints" / users));
  CHECK(read_file(run / "notes.tmp-mine") == "kept");
}
