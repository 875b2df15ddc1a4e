// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include "hostile_input.hpp"

// Places that take nothing, readers that go away, and signals at bad moments.

namespace {

namespace fs = std::filesystem;

const std::string good_line = "{\"prompt\":\"a\",\"response\":\"b\"}\n";

HostileCase output(const std::string& name, const std::function<std::string(const Place&)>& prepare,
                   const std::string& message, int code = 2) {
  return {"train into " + name,
          [=](const Place& place) { return train(place, {"--output", prepare(place)}); }, message, code};
}

Words convert(const std::string& path) {
  return {"convert", "--model", golden_model("plain"), "--output", path, "--threads", "1"};
}

Words eval(const Place& place, const Words& more) {
  return completed(Words{"eval"} + more, {{"--model", golden_model("plain")},
                                          {"--data", place.write("data.jsonl", good_line)},
                                          {"--format", "prompt-response"},
                                          {"--output", place / "eval.json"},
                                          {"--seeds", "1"},
                                          {"--threads", "1"}});
}

std::vector<HostileCase> output_cases() {
  const auto folder_with_note = [](const Place& place) {
    fs::create_directory(place / "out");
    place.write("out/note", "kept");
    return place / "out";
  };
  const auto link = [](const Place& place) {
    fs::create_symlink("out", place / "out");
    return place / "out";
  };
  return {
      output("a folder that is not empty", folder_with_note, "@/out: the output directory is not empty"),
      output(
          "a file", [](const Place& place) { return place.write("out", "kept"); },
          "@/out: is not a directory"),
      output(
          "a folder below a file", [](const Place& place) { return place.write("out", "kept") + "/a/b"; },
          "@/out: is not a directory"),
      output("a link to itself", link, "@/out: is not a directory"),
      output(
          "a folder below a link to itself", [=](const Place& place) { return link(place) + "/a"; },
          "@/out: is not a directory"),
      output(
          "a device", [](const Place&) { return "/dev/null"; }, "/dev/null: is not a directory"),
      output(
          "a place that takes no folder", [](const Place&) { return "/proc/eso"; },
          "/proc/eso: cannot make the folder: ", 1),
      output(
          "a folder whose name is no UTF-8", [](const Place& place) { return place / "caf\xE9"; },
          "--output: the path is not UTF-8"),
      {"convert into a folder that is not empty",
       [=](const Place& place) { return convert(folder_with_note(place)); },
       "@/out: the folder is not empty"},
      {"convert into a file", [](const Place& place) { return convert(place.write("out", "kept")); },
       "@/out: is there already and no folder"},
      {"convert below a file", [](const Place& place) { return convert(place.write("out", "kept") + "/a"); },
       "@/out: no such folder"},
      {"convert into a link to itself", [=](const Place& place) { return convert(link(place)); },
       "@/out: is there already and no folder"},
      {"eval into a folder", [](const Place& place) { return eval(place, {"--output", place.path()}); },
       "--output: is a folder, found @, expected a file"},
      {"eval into a missing folder",
       [](const Place& place) { return eval(place, {"--output", place / "none/x"}); },
       "--output: no such folder, found @/none"},
      {"eval into one file twice",
       [](const Place& place) { return eval(place, {"--predictions", place / "eval.json"}); },
       "--predictions: is the file of --output too, found @/eval.json"},
      {"statistics on a full disk",
       [](const Place&) {
         return Words{"score", "--model", golden_model("plain"), "--threads", "1", "--stats", "/dev/full"};
       },
       "/dev/full: cannot write: No space left on device", 1, good_line},
  };
}

// --- directories of runs -------------------------------------------------------------------------------

/// A call on a run of which `file` holds `content`.
HostileCase damaged_run(const Words& call, const std::string& file, const std::string& content,
                        const std::string& message) {
  return {fmt::format("{} {}: {}", call[0], file, content.substr(0, 40)),
          [=](const Place& place) {
            program(train(place, {"--output", place / "run"}));
            place.write("run/" + file, content);
            return call + Words{place / "run"};
          },
          fmt::format("@/run/{}{}", file, message)};
}

std::vector<HostileCase> run_cases() {
  const Words report{"report"}, resume{"train", "--resume"};
  std::string deep;
  for (int i = 0; i < 31'000; ++i) deep += ".a";
  const auto with_pipe = [=](const Place& place) {
    program(train(place, {"--output", place / "run"}));
    fs::remove_all(place / "run/model"), fs::remove(place / "run/metrics.jsonl");
    ::mkfifo((place / "run/metrics.jsonl").c_str(), 0600);
    return resume + Words{place / "run"};
  };
  return {
      damaged_run(report, "completions.jsonl", "{\"step\":1}\n", ":1: no number \"example\""),
      damaged_run(report, "completions.jsonl", "{\"step\":1,\"example\":[]}\n",
                  ":1: field \"example\", found array"),
      damaged_run(report, "metrics.jsonl", "{\"step\":1}\n{\"step\"", ":2: not a JSON object"),
      damaged_run(report, "metrics.jsonl", std::string(100'000, '[') + "\n", ":1: not a JSON object"),
      damaged_run(report, "metrics.jsonl", "{\"step\":\"1\"}\n", ":1: field \"step\", found string"),
      damaged_run(resume, "config.toml", "", ": has no backend"),
      damaged_run(resume, "config.toml", "epochs = 1 1\n", ":1: "),
      damaged_run(resume, "config.toml", "epochs = 1\n\xFF", ""),
      damaged_run(resume, "config.toml", "a" + deep + " = 1\n", ":1: a key has more than 8 parts"),
      damaged_run(resume, "config.toml", "[a" + deep + "]\n", ":1: a key has more than 8 parts"),
      {"resume with a pipe for its records", with_pipe, "@/run/metrics.jsonl: is not a regular file", 2},
  };
}

}  // namespace

TEST_CASE("a run whose files were damaged is refused by the file and line, and left as it is") {
  check_all(run_cases(), 9);
}

TEST_CASE("a place that cannot be written to is named, and what is there is left alone") {
  check_all(output_cases(), 15);
}

TEST_CASE("a disk without room is an error of the machine and holds nothing half written") {
  const Place place;
  const std::string disk = place / "disk", out = disk + "/out";
  fs::create_directory(disk);
  // A disk that these processes alone see: it needs no rights, and nothing stays mounted.
  const auto run = [&](const Words& call) {
    const std::string script = fmt::format(
        "mount -t tmpfs -o size=40k none {0} || exit 99; {1} {2}; code=$?; cd {0}; "
        "find . | grep -e tmp -e /model; exit $code",
        disk, ESO_PROGRAM_PATH, fmt::join(call, " "));
    const int status = std::system(
        fmt::format("unshare -rm sh -c '{}' > {} 2> {}", script, place / "found", place / "said").c_str());
    return Finished{WEXITSTATUS(status), read_file(place / "found"), read_file(place / "said")};
  };
  const Finished trained = run(train(place, {"--output", out}));
  if (lines_with(trained.err, "eso: error: ") == 0) {
    WARN("skipped, a disk of its own cannot be had here: " << trained.err);
    return;
  }
  CHECK(not_refused(trained, {out, "No space left on device"}, 1) == "");
  CHECK(trained.out.empty());
  const Finished converted = run(convert(out));
  CHECK(not_refused(converted, {"model.safetensors", "No space left on device"}, 1) == "");
  CHECK(converted.out.empty());
}

TEST_CASE("a reader of standard output that has gone is an error of the machine") {
  for (const Words& call : {Words{"rouge"}, Words{"tokenize", "--tokenizer", golden_model("plain")},
                            Words{"score", "--model", golden_model("plain")},
                            Words{"generate", "--model", golden_model("plain")}}) {
    INFO(call[0]);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::close(ends[0]);
    const std::string input =
        "{\"text\":\"a\",\"target\":\"a\",\"prediction\":\"a\",\"prompt\":\"a\",\"response\":\"a\"}\n";
    const Finished f = program(call, input, [&] { ::dup2(ends[1], 1); });
    ::close(ends[1]);
    CHECK(not_refused(f, {"<stdout>: cannot write: Broken pipe"}, 1) == "");
  }
}

TEST_CASE("standard input that cannot be read is an error of the machine") {
  const Finished f = program({"rouge"}, "", [] { open_as(0, "/", O_RDONLY); });
  CHECK(not_refused(f, {"<stdin>: cannot be read"}, 1) == "");
  CHECK(f.out.empty());
}

TEST_CASE("a signal while train waits for its data ends it with 128 + n") {
  const Place place;
  const std::string pipe = place / "data.jsonl";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const bool opened : {false, true}) {
    INFO(opened);
    Running running(train(place, {}));
    int end = -1;
    // It opens the pipe, or waits for somebody who does.
    if (opened) {
      end = ::open(pipe.c_str(), O_WRONLY);
    } else {
      ::usleep(200'000);
    }
    for (int i = 0; i < 100 && opened; ++i) ::usleep(1000);
    running.signal(SIGTERM);
    ::usleep(20'000);
    if (opened) ::close(end);
    const Finished f = running.finish();
    CHECK(f.code == 128 + SIGTERM);
    CHECK(f.err.empty());
    CHECK(!fs::exists(place / "out"));
  }
}

TEST_CASE("a second signal ends train at once, and the run goes on from there") {
  const Runs runs;
  const Words few = Runs::active() + Words{"--epochs", "40"};
  const auto whole = runs.train("whole", few);
  Running running(runs.call("run", few));
  running.wait_for_lines(runs / "run" / "metrics.jsonl", 3);
  running.signal(SIGINT), running.signal(SIGTERM);
  const int code = running.finish().code;
  CHECK((code == 128 + SIGINT || code == 128 + SIGTERM || code == 0));
  CHECK(program({"train", "--resume", (runs / "run").string()}).code == 0);
  CHECK(difference(whole, runs / "run") == "");
}

TEST_CASE("records that were damaged while a run stood still do not keep its model from it") {
  const Runs runs;
  const Words few = Runs::small() + Words{"--method", "sft", "--max-steps", "4", "--save-every", "2"};
  const auto whole = runs.train("whole", few);
  fs::copy(whole, runs / "run", fs::copy_options::recursive);
  fs::remove_all(runs / "run" / "model");
  fs::remove(runs / "run" / "report.html");
  std::string records = read_file(whole / "metrics.jsonl");
  records[2] = '\0';
  write_file(runs / "run" / "metrics.jsonl", records);
  const Finished f = program({"train", "--resume", (runs / "run").string()});
  CHECK(f.code == 0);
  CHECK(lines_with(f.err, "report.html: not written, " + (runs / "run" / "metrics.jsonl").string() + ":1") ==
        1);
  CHECK(weights_of(runs / "run") == weights_of(whole));
  CHECK(!fs::exists(runs / "run" / "report.html"));
}
