// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include "run_directory.hpp"
#include "train_run.hpp"

namespace fs = std::filesystem;

namespace {

std::set<std::string> synced;  // what this process has brought to the disk

}  // namespace

/// Stands before the C library's own.
extern "C" int fsync(int file) {
  synced.insert(fs::read_symlink(fmt::format("/proc/self/fd/{}", file)).string());
  return static_cast<int>(::syscall(SYS_fsync, file));
}

TEST_CASE("a new run directory is on the disk with all folders above it that are new") {
  const TemporaryFolder folder;
  synced.clear();
  eso_program::RunDirectory::create(folder / "new/run/", "");
  for (const fs::path& path : {folder.path(), folder / "new", folder / "new/run"}) {
    INFO(path);
    CHECK(synced.contains(path.string()));
  }
}

TEST_CASE("a link in a run directory is refused and never followed") {
  const Runs runs;
  runs.train("run", Runs::active());
  const fs::path run = runs / "run", victim = runs / "victim";
  write_file(run / ".lock", "");  // as a kill leaves it
  for (const char* name : {"config.toml", "metrics.jsonl", "completions.jsonl", "report.html", "checkpoints",
                           "model", ".lock"}) {
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

TEST_CASE("records that have a second name are refused: they would be cut under that one, too") {
  const Runs runs;
  runs.train("run", Runs::active());
  const fs::path run = runs / "run";
  fs::remove_all(run / "model");
  for (const char* name : {"metrics.jsonl", "completions.jsonl"}) {
    INFO(name);
    const std::string records = read_file(run / name);
    fs::create_hard_link(run / name, runs / "kept");
    CHECK(not_refused(program({"train", "--resume", run.string()}), {(run / name).string(), "hard link"}) ==
          "");
    CHECK(read_file(runs / "kept") == records);
    fs::remove(runs / "kept");
  }
}

TEST_CASE("eso report follows no link at report.html") {
  const Runs runs;
  runs.train("run", Runs::active());
  const fs::path run = runs / "run", victim = runs / "victim";
  write_file(victim, "precious\n");
  fs::remove(run / "report.html");
  fs::create_symlink(victim, run / "report.html");
  CHECK(not_refused(program({"report", run.string()}), {(run / "report.html").string()}) == "");
  CHECK(read_file(victim) == "precious\n");
  fs::remove(run / "report.html");
  CHECK(program({"report", run.string()}).code == 0);
}

TEST_CASE("a run makes the folders above its own") {
  const Runs runs;
  CHECK(program(runs.call("deep/er/run/", Runs::active())).code == 0);
  CHECK(fs::exists(runs / "deep" / "er" / "run" / "model"));
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
  write_file(run / "config.toml.tmp-123x", "kept");
  write_file(run / "report.html.tmp-123", "half");
  write_file(run / ".lock", "999999999\n");
  CHECK(program({"train", "--resume", run.string()}).code == 0);
  CHECK(!fs::exists(run / "checkpoints" / ours));
  CHECK(fs::exists(run / "checkpoints" / users));
  CHECK(read_file(run / "notes.tmp-mine") == "kept");
  CHECK(fs::exists(run / "config.toml.tmp-123x"));
  CHECK(!fs::exists(run / "report.html.tmp-123"));
  CHECK(!fs::exists(run / ".lock"));
}
