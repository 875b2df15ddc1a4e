// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include <sys/ioctl.h>

#include <csignal>

#include "../limited_file_size.hpp"
#include "train_run.hpp"

namespace {

namespace fs = std::filesystem;

/// 40 steps that sample; the only checkpoint is that of the end or of a signal.
const Words long_run =
    Runs::active() + Words{"--epochs", "20", "--learning-rate", "0.01", "--save-every", "0"};
/// A run that no test waits for.
const Words endless_run = Runs::active() + Words{"--epochs", "1000000"};

std::size_t step_of_checkpoint(const fs::path& run) {
  const std::set<std::string> names = TemporaryFolder::names_in(run / "checkpoints");
  if (names.size() != 1 || !names.begin()->starts_with("step-")) throw std::runtime_error("checkpoints");
  return std::stoul(names.begin()->substr(5));
}

}  // namespace

TEST_CASE("SIGINT, SIGTERM and SIGHUP end train with 128 + n and a checkpoint from which it goes on") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    INFO("signal " << signal);
    const fs::path run = runs / fmt::format("run{}", signal);
    Finished f;
    for (int attempt = 0; attempt < 100 && f.code != 128 + signal; ++attempt) {  // or it was done before
      fs::remove_all(run);
      // Whatever started the tests may have it ignored.
      Running running(runs.call(run.filename(), long_run), [] { std::signal(SIGHUP, SIG_DFL); });
      running.wait_for_lines(run / "metrics.jsonl", 5);
      running.signal(signal);
      f = running.finish();
      REQUIRE((f.code == 0 || f.code == 128 + signal));
    }
    REQUIRE(f.code == 128 + signal);
    CHECK(f.out.empty());
    CHECK(lines_with(f.err, "eso: error") == 0);
    const std::size_t step = step_of_checkpoint(run);
    CHECK(step >= 5);
    CHECK(json_lines(run / "metrics.jsonl").size() == step);
    CHECK(!fs::exists(run / "model"));
    const Finished resumed = program({"train", "--resume", run.string()});
    REQUIRE(resumed.code == 0);
    CHECK(lines_with(resumed.err, fmt::format("{}", step)) >= 1);
    CHECK(difference(whole, run) == "");
  }
}

TEST_CASE("a SIGHUP that nohup has ignored stays ignored") {
  const Runs runs;
  bool met = false;
  for (int attempt = 0; attempt < 100 && !met; ++attempt) {  // or it was done before
    fs::remove_all(runs / "run");
    Running running(runs.call("run", long_run), [] { std::signal(SIGHUP, SIG_IGN); });
    running.wait_for_lines(runs / "run" / "metrics.jsonl", 3);
    met = running.halt();
    running.signal(SIGHUP);
    running.signal(SIGCONT);
    CHECK(running.finish().code == 0);
  }
  CHECK(met);
}

TEST_CASE("a signal that meets a checkpoint or comes before the first step loses nothing") {
  const Runs runs;
  const Words each = Runs::active() + Words{"--epochs", "30", "--save-every", "1"};
  const auto whole = runs.train("whole", each);
  const fs::path run = runs / "run";
  for (const int lines : {0, 1, 4}) {
    fs::remove_all(run);
    Running running(runs.call("run", each));
    running.wait_until([&] { return fs::exists(run / "metrics.jsonl"); });
    running.wait_for_lines(run / "metrics.jsonl", lines);
    running.signal(SIGTERM);
    const Finished f = running.finish();
    CHECK((f.code == 0 || f.code == 128 + SIGTERM));
    CHECK(program({"train", "--resume", run.string()}).code == 0);
    CHECK(difference(whole, run) == "");
  }
}

TEST_CASE("a second process in the same run directory is refused and changes nothing") {
  const Runs runs;
  const fs::path run = runs / "run";
  Running running(runs.call("run", endless_run));
  running.wait_for_lines(run / "metrics.jsonl", 3);
  REQUIRE(running.halt());  // it holds the folder and writes nothing
  const auto before = snapshot(run);
  CHECK(not_refused(program({"train", "--resume", run.string()}), {run.string(), "in use"}) == "");
  CHECK(not_refused(program(runs.call("run", endless_run)), {run.string()}) == "");
  const bool unchanged = snapshot(run) == before;
  CHECK(unchanged);
  running.signal(SIGKILL);
  CHECK(running.finish().code == 128 + SIGKILL);
  const std::string left = read_file(run / "metrics.jsonl");
  Running next({"train", "--resume", run.string()});  // the killed one's hold is gone with it
  next.wait_until([&] { return read_file(run / "metrics.jsonl") != left; });
  CHECK(next.halt());
}

TEST_CASE("a full disk is an error of the machine that names the file, and the run goes on afterwards") {
  const Runs runs;
  const Words adamw = Runs::active() + Words{"--epochs", "8", "--save-every", "10", "--log-completions", "0"};
  const auto whole = runs.train("whole", adamw);
  // Sizes: the state of the optimizer 107000 bytes, the model 54000, metrics.jsonl over 7000, the report over
  // 20000, config.toml 2000.
  for (const auto& [bytes, file] :
       {std::pair(3000, "metrics.jsonl"), std::pair(60000, "optimizer.safetensors"),
        std::pair(30000, "model.safetensors")}) {
    INFO(bytes);
    fs::remove_all(runs / "run");
    Finished f;
    {
      const LimitedFileSize limit(static_cast<rlim_t>(bytes));
      f = program(runs.call("run", adamw));
    }
    CHECK(not_refused(f, {(runs / "run").string(), file}, 1) == "");
    CHECK(!fs::exists(runs / "run" / "model"));
    for (const Json& line : json_lines(runs / "run" / "metrics.jsonl"))
      CHECK(line.is_object());  // whole lines
    const Finished resumed = program({"train", "--resume", (runs / "run").string()});
    INFO(resumed.err);
    REQUIRE(resumed.code == 0);
    CHECK(lines_with(resumed.err, "skipped") == 0);  // nothing half written stands there as a checkpoint
    CHECK(difference(whole, runs / "run") == "");
  }
}

TEST_CASE("a disk that is full before the first step leaves nothing in the way of another call") {
  const Runs runs;
  const Words few = Runs::small() + Words{"--method", "sft", "--max-steps", "1"};
  Finished f;
  {
    const LimitedFileSize limit(300);  // config.toml is larger
    f = program(runs.call("run", few));
  }
  CHECK(not_refused(f, {"config.toml"}, 1) == "");
  CHECK(program(runs.call("run", few)).code == 0);
}

TEST_CASE("a disk that is full when the model is written leaves none, and the run can be finished") {
  const Runs runs;
  const Words sgd = Runs::small() + Words{"--method", "sft", "--optimizer", "sgd", "--max-steps", "2"};
  const auto whole = runs.train("whole", sgd);
  const auto checkpoint = fs::file_size(whole / "checkpoints" / "step-2" / "model.safetensors");
  const auto model = fs::file_size(whole / "model" / "model.safetensors");
  if (model <= checkpoint) return;  // no size lies between
  Finished f;
  {
    const LimitedFileSize limit(checkpoint);
    f = program(runs.call("run", sgd));
  }
  CHECK(not_refused(f, {"model"}, 1) == "");
  CHECK(!fs::exists(runs / "run" / "model"));
  CHECK(program({"train", "--resume", (runs / "run").string()}).code == 0);
  CHECK(difference(whole, runs / "run") == "");
  CHECK(TemporaryFolder::names_in(runs / "run") == TemporaryFolder::names_in(whole));
}

TEST_CASE("train does not read standard input") {
  const Runs runs;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const std::string input = "not for you\n";
  CHECK(::write(ends[1], input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[0], 0);
    open_as(2, "/dev/null", O_WRONLY);
    Words words = Words{ESO_PROGRAM_PATH} + runs.call("run", {"--method", "sft", "--max-steps", "1"});
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(126);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  char left[64] = {};
  CHECK(::read(ends[0], left, sizeof(left)) == static_cast<ssize_t>(input.size()));
  ::close(ends[0]), ::close(ends[1]);
}

TEST_CASE("a signal that comes while nobody reads standard error still ends with 128 + n") {
  const Runs runs;
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = fmt::format("run{}", signal);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::fcntl(ends[1], F_SETPIPE_SZ, 4096);  // soon full
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(ends[1], 2), ::close(ends[0]), ::close(ends[1]);
      Words words = Words{ESO_PROGRAM_PATH} + runs.call(name, endless_run + Words{"--print-every", "1"});
      std::vector<char*> pointers;
      for (std::string& word : words) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      ::execv(pointers[0], pointers.data());
      ::_exit(126);
    }
    ::close(ends[1]);
    // Until the pipe takes nothing more.
    for (int waiting = -1, before = 0, same = 0; same < 20; ::usleep(5000)) {
      ::ioctl(ends[0], FIONREAD, &waiting);
      same = waiting > 0 && waiting == before ? same + 1 : 0;
      before = waiting;
    }
    ::kill(child, signal);
    ::usleep(10000);
    std::string said;
    char part[4096];
    for (ssize_t count = 0; (count = ::read(ends[0], part, sizeof(part))) > 0;)
      said.append(part, static_cast<std::size_t>(count));
    ::close(ends[0]);
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    INFO(Finished({0, {}, said}).last_error());
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + signal);
    CHECK(fs::exists(runs / name / "checkpoints"));
  }
}

TEST_CASE("a standard error that takes nothing is no reason to abort") {
  if (!fs::exists("/dev/full")) return;
  const Runs runs;
  const auto code = [&](const Words& call, const std::string& streams) {
    const std::string command = fmt::format("{} {} {}", ESO_PROGRAM_PATH, fmt::join(call, " "), streams);
    const int status = std::system(("exec 2> /dev/null; " + command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  };
  CHECK(code(runs.call("full", long_run + Words{"--print-every", "1"}), "2> /dev/full") <= 1);
  CHECK(code(runs.call("closed", long_run + Words{"--print-every", "1"}), "2>&-") <= 1);
  CHECK(code(runs.call("refused", {"--method", "none"}), "2> /dev/full") == 2);
  CHECK(code({"train", "--resume", (runs / "none").string()}, "2>&-") == 2);
}

TEST_CASE("closed standard streams do not let progress into the records") {
  const Runs runs;
  const auto whole = runs.train("whole", long_run);
  for (const char* closed : {"<&- 2>&-", "<&- >&- 2>&-"}) {
    INFO(closed);
    fs::remove_all(runs / "run");
    const std::string command = fmt::format("{} {} --print-every 1 {}", ESO_PROGRAM_PATH,
                                            fmt::join(runs.call("run", long_run), " "), closed);
    CHECK(std::system(("exec 2> /dev/null; " + command).c_str()) == 0);
    CHECK_NOTHROW(metrics_of(runs / "run"));
    CHECK_NOTHROW(json_lines(runs / "run" / "completions.jsonl"));
    CHECK(fs::exists(runs / "run" / "model"));
  }
}
