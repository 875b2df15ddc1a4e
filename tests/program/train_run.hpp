// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "eso/model/tensor_values.hpp"
#include "eso/model/weight_files.hpp"
#include "run_program.hpp"

// What the tests of `train`, `--resume` and `compare` share: small runs and ways to look at what they left.

using Json = nlohmann::json;
using Words = std::vector<std::string>;

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Seven examples that fit the golden models. Single letters are words to ROUGE, so that even a model with
/// random weights earns something now and then.
inline const std::string training_data =
    "{\"prompt\":\"!(\",\"response\":\"u.p.l.e\"}\n{\"prompt\":\"the\",\"response\":\"e f u\"}\n"
    "{\"prompt\":\"Q\",\"response\":\"l/p u\"}\n{\"prompt\":\"zz\",\"response\":\"e\"}\n"
    "{\"prompt\":\"%\",\"response\":\"u% %e\"}\n{\"prompt\":\"a b\",\"response\":\"l u t e\"}\n"
    "{\"prompt\":\"then\",\"response\":\"t\"}\n";

inline std::string json_line(const std::string& prompt, const std::string& response) {
  return Json{{"prompt", prompt}, {"response", response}}.dump() + "\n";
}

inline std::vector<Json> json_lines(const std::filesystem::path& file) {
  return Finished{0, read_file(file), {}}.lines();
}

/// A folder with data, and runs in it.
struct Runs {
  TemporaryFolder folder;
  std::string data = (folder / "data.jsonl").string();

  explicit Runs(const std::string& content = training_data) { write_file(data, content); }

  std::filesystem::path operator/(std::string_view name) const { return folder / name; }

  /// `eso train` into the folder `name`, one thread, batches of four.
  Words call(const std::string& name, const Words& more = {}) const {
    return Words{"train",           "--model",  golden_model("plain"),   "--data", data, "--format",
                 "prompt-response", "--output", (folder / name).string()} +
           more;
  }
  static Words small() { return {"--batch-size", "4", "--max-response-tokens", "8", "--threads", "1"}; }
  static Words active() { return small() + Words{"--method", "eso", "--active-epochs", "all"}; }

  /// Runs it to its end and gives its folder. Throws what it said if it failed.
  std::filesystem::path train(const std::string& name, const Words& more) const {
    const Finished f = program(call(name, more));
    if (f.code != 0 || !f.out.empty())
      throw std::runtime_error(fmt::format("exit code {}: {}{}", f.code, f.out, f.err));
    return folder / name;
  }
};

/// The bytes of a file of weights, printed short.
struct Weights {
  std::string bytes;
  auto operator<=>(const Weights&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Weights& weights) {
    return out << weights.bytes.size() << " bytes, hash " << std::hash<std::string>()(weights.bytes);
  }
};

inline Weights weights_of(const std::filesystem::path& run) {
  Weights weights{read_file(run / "model" / "model.safetensors")};
  if (weights.bytes.empty()) throw std::runtime_error((run / "model").string() + ": no weights");
  return weights;
}

/// The lines of metrics.jsonl without the times.
inline std::vector<Json> metrics_of(const std::filesystem::path& run) {
  std::vector<Json> lines = json_lines(run / "metrics.jsonl");
  for (Json& line : lines) {
    for (auto field = line.begin(); field != line.end();) {
      const bool time = field.key() == "step_time" || field.key().starts_with("time/");
      field = time ? line.erase(field) : std::next(field);
    }
  }
  return lines;
}

/// What the two runs differ in that must not: empty if nothing.
inline std::string difference(const std::filesystem::path& a, const std::filesystem::path& b) {
  if (weights_of(a) != weights_of(b)) return "model.safetensors";
  if (read_file(a / "completions.jsonl") != read_file(b / "completions.jsonl")) return "completions.jsonl";
  if (metrics_of(a) != metrics_of(b)) return "metrics.jsonl";
  return {};
}

/// All parameters of a model folder by name, without the prefix that some files lack.
inline std::map<std::string, std::vector<float>> parameters_of(const std::filesystem::path& folder) {
  const eso::WeightFiles files = eso::WeightFiles::open(folder);
  std::map<std::string, std::vector<float>> parameters;
  for (const std::string& name : files.names()) {
    const auto tensor = files.find(name);
    std::vector<float> values(static_cast<std::size_t>(eso::value_count(*tensor)));
    eso::read_values(*tensor, values.data());
    std::string bare = name;
    for (const std::string prefix : {"transformer.", "model."}) {
      if (name.starts_with(prefix)) bare = name.substr(prefix.size());
    }
    parameters[bare] = std::move(values);
  }
  return parameters;
}

/// The differences a - b of all values of two model folders, in one list. Throws unless their tensors are
/// alike.
inline std::vector<double> subtract(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto first = parameters_of(a), second = parameters_of(b);
  if (first.size() != second.size()) throw std::runtime_error("other tensors");
  std::vector<double> differences;
  for (const auto& [name, values] : first) {
    const std::vector<float>& others = second.at(name);
    if (others.size() != values.size()) throw std::runtime_error(name + ": another size");
    for (std::size_t i = 0; i < values.size(); ++i)
      differences.push_back(static_cast<double>(values[i]) - static_cast<double>(others[i]));
  }
  return differences;
}

inline double norm(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

inline double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

/// Every file below the folder with its content and when it was written.
inline std::map<std::string, std::pair<std::string, std::filesystem::file_time_type>> snapshot(
    const std::filesystem::path& folder) {
  std::map<std::string, std::pair<std::string, std::filesystem::file_time_type>> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      files[entry.path().string()] = {read_file(entry.path()), entry.last_write_time()};
  }
  return files;
}

/// How many lines of `text` hold `fragment`.
inline int lines_with(const std::string& text, const std::string& fragment) {
  std::istringstream in(text);
  int count = 0;
  for (std::string line; std::getline(in, line);) count += line.find(fragment) != std::string::npos;
  return count;
}

/// A call of the program that is under way.
class Running {
 public:
  explicit Running(const Words& arguments, const std::function<void()>& prepare = {})
      : child_(start_program(arguments, "/dev/null", folder_ / "out", folder_ / "err", prepare)) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (child_ < 0) return;
    signal(SIGKILL);
    finish();
  }

  /// Waits until `condition` holds or the program has ended, which it does not tell apart.
  void wait_until(const std::function<bool()>& condition) {
    while (!condition()) {
      siginfo_t info{};  // left there for `finish`
      if (::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == child_)
        return;
      ::usleep(200);
    }
  }
  void wait_for_lines(const std::filesystem::path& file, int count) {
    wait_until([&] {
      const std::string text = read_file(file);
      return std::count(text.begin(), text.end(), '\n') >= count;
    });
  }

  void signal(int number) const { ::kill(child_, number); }

  /// Halts it where it is; true once it stands still, false if it had ended.
  bool halt() const {
    signal(SIGSTOP);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(child_), &info, WSTOPPED | WEXITED | WNOWAIT);
    return info.si_code == CLD_STOPPED;
  }

  Finished finish() {
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
    child_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(folder_ / "out"),
            read_file(folder_ / "err")};
  }

 private:
  TemporaryFolder folder_;
  pid_t child_;
};
