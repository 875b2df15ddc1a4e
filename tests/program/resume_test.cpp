// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "train_run.hpp"

namespace {

namespace fs = std::filesystem;

/// 30 steps, checkpoints at 7, 14, 21, 28 and 30; sampling from step 11 on.
const Words long_run =
    Runs::small() + Words{"--method",     "eso", "--epochs",        "15",  "--active-epochs", "from:6",
                          "--save-every", "7",   "--learning-rate", "0.01"};

Finished resume(const fs::path& run, const Words& more = {}) {
  return program(Words{"train", "--resume", run.string()} + more);
}

/// A run that was cut off when everything but the model was written: what a kill at that moment leaves.
void make_unfinished(const fs::path& run) {
  fs::remove_all(run / "model");
  fs::remove(run / "report.html");
}

/// Flips a bit.
void damage(const fs::path& file, std::size_t at) {
  std::string bytes = read_file(file);
  bytes.at(at) = static_cast<char>(bytes.at(at) ^ 4);
  write_file(file, bytes);
}

/// Starts the call and kills it when `ready` holds. False if it was finished before.
bool kill_when(const Words& call, const std::function<bool()>& ready) {
  Running running(call);
  running.wait_until(ready);
  running.signal(SIGKILL);
  return running.finish().code == 128 + SIGKILL;
}

bool has_lines(const fs::path& file, int count) {
  const std::string text = read_file(file);
  return std::count(text.begin(), text.end(), '\n') >= count;
}

/// Whether a name in the folder starts like this.
bool has_name(const fs::path& folder, const std::string& start) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with(start)) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a run killed with -9 at any moment and resumed ends with the same bytes") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run";
  std::vector<std::function<bool()>> moments;
  for (const int lines : {1, 6, 7, 13, 22, 29})
    moments.push_back([run, lines] { return has_lines(run / "metrics.jsonl", lines); });
  moments.push_back([run] { return has_lines(run / "completions.jsonl", 1); });
  moments.push_back([run] { return has_name(run / "checkpoints", ".tmp-"); });  // within the first save
  moments.push_back([run] { return has_name(run / "checkpoints", "step-28"); });
  moments.push_back([run] { return has_name(run, ".tmp-") || has_name(run, "report.html"); });  // at the end
  int killed = 0;
  for (std::size_t i = 0; i < moments.size(); ++i) {
    INFO("moment " << i);
    for (int attempt = 0; attempt < 5; ++attempt) {
      fs::remove_all(run);
      const bool in_time = kill_when(runs.call("run", long_run), moments[i]);
      killed += in_time;
      const Finished f = resume(run);
      INFO(f.err);
      REQUIRE(f.code == 0);
      CHECK(difference(whole, run) == "");
      for (const std::string& name : TemporaryFolder::names_in(whole)) CHECK(fs::exists(run / name));
      if (in_time) break;
    }
  }
  CHECK(killed >= 5);  // how many are caught depends on the machine; all of them as a rule
}

TEST_CASE("a run may be killed again and again while it is resumed") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run";
  kill_when(runs.call("run", long_run), [&] { return has_lines(run / "metrics.jsonl", 9); });
  for (const int lines : {12, 15, 16, 24})
    kill_when({"train", "--resume", run.string()}, [&] { return has_lines(run / "metrics.jsonl", lines); });
  REQUIRE(resume(run).code == 0);
  CHECK(difference(whole, run) == "");
}

TEST_CASE("a run without checkpoints starts again") {
  const Runs runs;
  Words once = long_run;
  REQUIRE(once.at(12) == "--save-every");
  once.at(13) = "0";
  const auto whole = runs.train("whole", once);
  CHECK(TemporaryFolder::names_in(whole / "checkpoints") == std::set<std::string>{"step-30"});
  const fs::path run = runs / "run";
  kill_when(runs.call("run", once), [&] { return has_lines(run / "metrics.jsonl", 14); });
  REQUIRE(resume(run).code == 0);
  CHECK(difference(whole, run) == "");
}

TEST_CASE("a newest checkpoint that is damaged in any way is skipped with one line") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run", newest = run / "checkpoints" / "step-30";
  std::vector<std::pair<std::string, std::function<void()>>> damages;
  for (const char* name : {"model.safetensors", "optimizer.safetensors", "checkpoint.json"}) {
    const fs::path file = newest / name;
    damages.emplace_back(std::string("half of ") + name,
                         [file] { fs::resize_file(file, fs::file_size(file) / 2); });
    damages.emplace_back(std::string("all but a byte of ") + name,
                         [file] { fs::resize_file(file, fs::file_size(file) - 1); });
    damages.emplace_back(std::string("longer ") + name,
                         [file] { fs::resize_file(file, fs::file_size(file) + 1); });
    damages.emplace_back(std::string("empty ") + name, [file] { fs::resize_file(file, 0); });
    damages.emplace_back(std::string("no ") + name, [file] { fs::remove(file); });
    damages.emplace_back(std::string("folder ") + name,
                         [file] { fs::remove(file), fs::create_directory(file); });
    for (const double place : {0.0, 0.02, 0.5, 0.99}) {
      damages.emplace_back(fmt::format("a bit of {} at {}", name, place), [file, place] {
        damage(file, static_cast<std::size_t>(place * static_cast<double>(fs::file_size(file))));
      });
    }
  }
  damages.emplace_back("emptied", [newest] { fs::remove_all(newest), fs::create_directory(newest); });
  damages.emplace_back("a file", [newest] { fs::remove_all(newest), write_file(newest, "step"); });
  damages.emplace_back("another's", [run, newest] {
    fs::remove_all(newest), fs::copy(run / "checkpoints" / "step-28", newest);
  });
  for (const auto& [what, action] : damages) {
    INFO(what);
    fs::remove_all(run);
    fs::copy(whole, run, fs::copy_options::recursive);
    make_unfinished(run);
    action();
    const Finished f = resume(run);
    INFO(f.err);
    REQUIRE(f.code == 0);
    CHECK(lines_with(f.err, "checkpoints/step-30") == 1);
    CHECK(lines_with(f.err, "checkpoints/step-28") == 0);
    CHECK(difference(whole, run) == "");
  }
}

TEST_CASE("several damaged checkpoints are skipped, and with none left the run starts again") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run";
  const auto damaged = [&](const std::vector<int>& steps) {
    fs::remove_all(run);
    fs::copy(whole, run, fs::copy_options::recursive);
    make_unfinished(run);
    for (const int step : steps)
      damage(run / "checkpoints" / fmt::format("step-{}", step) / "model.safetensors", 30000);
    const Finished f = resume(run);
    for (const int step : {7, 14, 21, 28, 30}) {
      const bool bad = std::find(steps.begin(), steps.end(), step) != steps.end();
      CHECK(lines_with(f.err, fmt::format("checkpoints/step-{}:", step)) == bad);
    }
    CHECK(f.code == 0);
    CHECK(difference(whole, run) == "");
  };
  damaged({});
  damaged({30, 28, 21});
  damaged({30, 28, 21, 14, 7});
  fs::remove_all(run / "checkpoints");
  make_unfinished(run);
  CHECK(resume(run).code == 0);
  CHECK(difference(whole, run) == "");
}

TEST_CASE("records that somebody cut below the newest checkpoint are told of, by their file") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run";
  for (const char* name : {"metrics.jsonl", "completions.jsonl"}) {
    for (const double left : {0.9, 0.5, 0.0}) {
      INFO(name << " " << left);
      fs::remove_all(run);
      fs::copy(whole, run, fs::copy_options::recursive);
      make_unfinished(run);
      fs::resize_file(run / name,
                      static_cast<std::uintmax_t>(left * static_cast<double>(fs::file_size(run / name))));
      const auto before = snapshot(run);
      CHECK(not_refused(resume(run), {(run / name).string()}) == "");
      const bool unchanged = snapshot(run) == before;
      CHECK(unchanged);
      fs::copy_file(whole / name, run / name, fs::copy_options::overwrite_existing);
      CHECK(resume(run).code == 0);
      CHECK(difference(whole, run) == "");
    }
  }
}

TEST_CASE("resuming a finished run changes nothing") {
  const Runs runs;
  const auto run = runs.train("run", long_run);
  const auto before = snapshot(run);
  const auto changed = fs::last_write_time(run);
  const Finished f = resume(run);
  CHECK(f.code == 0);
  CHECK(f.out.empty());
  const bool unchanged = snapshot(run) == before;
  CHECK(unchanged);
  CHECK(fs::last_write_time(run) == changed);
}

TEST_CASE("a run goes on where it was moved to") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  kill_when(runs.call("run", long_run), [&] { return has_lines(runs / "run" / "metrics.jsonl", 9); });
  fs::rename(runs / "run", runs / "moved");
  REQUIRE(program({"train", "--resume", (runs / "moved").string() + "/"}).code == 0);
  CHECK(difference(whole, runs / "moved") == "");
  CHECK(!fs::exists(runs / "run"));
}

TEST_CASE(
    "eso train --resume is refused with other flags, without a run and with a broken one, changing nothing") {
  const Runs runs;
  const auto run = runs.train("run", long_run);
  make_unfinished(run);
  fs::create_directory(runs / "empty");
  write_file(runs / "file", "kept");
  const auto refuse = [&](const Words& arguments, const Words& fragments) {
    INFO(fmt::format("{}", fmt::join(arguments, " ")));
    const auto before = snapshot(runs.folder.path());
    CHECK(not_refused(program(Words{"train"} + arguments), fragments) == "");
    const bool unchanged = snapshot(runs.folder.path()) == before;
    CHECK(unchanged);
  };
  const std::string r = run.string();
  refuse({"--resume", r, "--epochs", "20"}, {"--epochs"});
  refuse({"--resume", r, "--seed", "0"}, {"--seed"});
  refuse({"--no-shuffle", "--resume", r}, {"--no-shuffle"});
  refuse({"--resume", r, "--output", r}, {"--output"});
  refuse({"--resume", r, "--config", r + "/config.toml"}, {"--config"});
  refuse({"--resume", r, "--resume", r}, {"--resume"});
  refuse({"--resume"}, {"--resume"});
  refuse({"--resume", ""}, {"--resume"});
  for (const char* name : {"empty", "file", "none"})
    refuse({"--resume", (runs / name).string()}, {(runs / name).string()});
  const std::string config = read_file(run / "config.toml");
  write_file(run / "config.toml", config + "epoch = 3\n");
  refuse({"--resume", r}, {r + "/config.toml", "epoch"});
  write_file(run / "config.toml", config.substr(0, config.rfind("\"\n")));  // a string that does not end
  refuse({"--resume", r}, {r + "/config.toml"});
  const std::size_t last_setting = config.rfind(" = ");
  for (std::size_t end = config.find('\n'); end < last_setting; end = config.find('\n', end + 1)) {
    write_file(run / "config.toml", config.substr(0, end + 1));
    refuse({"--resume", r}, {r + "/config.toml: has no "});
  }
  write_file(run / "config.toml", config);
  fs::rename(runs.data, runs / "elsewhere");
  refuse({"--resume", r}, {runs.data});
  fs::rename(runs / "elsewhere", runs.data);
  CHECK(resume(run).code == 0);
}

TEST_CASE("eso train --keep-checkpoints keeps the newest, across a resumption too") {
  const Runs runs;
  const Words sft =
      Runs::small() + Words{"--method", "sft", "--epochs", "5", "--save-every", "3"};  // 10 steps
  using Names = std::set<std::string>;
  CHECK(TemporaryFolder::names_in(runs.train("all", sft) / "checkpoints") ==
        Names{"step-3", "step-6", "step-9", "step-10"});
  CHECK(TemporaryFolder::names_in(runs.train("one", sft + Words{"--keep-checkpoints", "1"}) /
                                  "checkpoints") == Names{"step-10"});
  const auto run = runs.train("two", sft + Words{"--keep-checkpoints", "2"});
  CHECK(TemporaryFolder::names_in(run / "checkpoints") == Names{"step-9", "step-10"});
  make_unfinished(run);
  fs::remove_all(run / "checkpoints" / "step-10");
  CHECK(resume(run).code == 0);
  CHECK(TemporaryFolder::names_in(run / "checkpoints") == Names{"step-9", "step-10"});
  CHECK(weights_of(run) == weights_of(runs / "all"));
}

TEST_CASE("a run is not resumed with other data, and what it has is left alone") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  const fs::path run = runs / "run";
  std::string changed = training_data;
  changed.replace(changed.find("u.p.l.e"), 1, "e");
  for (const std::string& other : {training_data + json_line("more", "e"), changed}) {
    INFO(other);
    // Records beyond the newest checkpoint, as a kill leaves them.
    fs::remove_all(run);
    fs::copy(whole, run, fs::copy_options::recursive);
    make_unfinished(run);
    for (const char* newer : {"step-28", "step-30"}) fs::remove_all(run / "checkpoints" / newer);
    const auto before = snapshot(run);
    write_file(runs.data, other);
    CHECK(not_refused(resume(run), {runs.data}) == "");
    const bool unchanged = snapshot(run) == before;
    CHECK(unchanged);
    write_file(runs.data, training_data);
    CHECK(resume(run).code == 0);
    CHECK(difference(whole, run) == "");
  }
}

TEST_CASE("a resumed run is rid of what the killed one had half written") {
  const Runs runs;
  const fs::path run = runs / "run";
  for (int attempt = 0; attempt < 200 && !has_name(run, "report.html.tmp-"); ++attempt) {
    fs::remove_all(run);
    kill_when(runs.call("run", long_run), [&] { return has_name(run, "report.html.tmp-"); });
  }
  REQUIRE(has_name(run, "report.html.tmp-"));
  REQUIRE(resume(run).code == 0);
  CHECK(TemporaryFolder::names_in(run) == std::set<std::string>{"config.toml", "metrics.jsonl",
                                                                "completions.jsonl", "checkpoints", "model",
                                                                "report.html"});
}

TEST_CASE("a run made from within a folder whose name is not UTF-8 can be resumed") {
  const Runs runs;
  fs::create_directory(runs / "caf\xE9");
  Words call = runs.call("run", long_run);
  call.at(8) = "run";
  const std::string command = fmt::format("cd {} && {} {} 2> /dev/null", (runs / "caf\xE9").string(),
                                          ESO_PROGRAM_PATH, fmt::join(call, " "));
  if (std::system(command.c_str()) != 0) return;  // refused
  make_unfinished(runs / "caf\xE9" / "run");
  const Finished f = resume(runs / "caf\xE9" / "run");
  INFO(f.err);
  CHECK(f.code == 0);
}
