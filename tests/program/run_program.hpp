// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../temporary_folder.hpp"
#include "eso/error.hpp"

/// What a call of the program left behind.
struct Finished {
  int code = -1;  ///< exit code; 128 + n where signal n ended it
  std::string out, err;

  /// Standard output as JSON lines. Throws if a line is none.
  std::vector<nlohmann::json> lines() const {
    std::vector<nlohmann::json> result;
    std::istringstream in(out);
    for (std::string line; std::getline(in, line);) result.push_back(nlohmann::json::parse(line));
    return result;
  }

  /// The last line of standard error.
  std::string last_error() const {
    if (err.empty() || err.back() != '\n') return err;
    const std::string whole = err.substr(0, err.size() - 1);
    return whole.substr(whole.rfind('\n') + 1);  // npos + 1 is 0
  }
};

/// Makes `path` the file descriptor `number`. For the child between fork and exec.
inline void open_as(int number, const std::filesystem::path& path, int flags) {
  const int file = ::open(path.c_str(), flags, 0666);
  if (file < 0 || ::dup2(file, number) < 0) ::_exit(125);
}

/// Starts the program `eso` with these arguments and these files as its standard streams. Without `prepare`,
/// which is called in the new process before it becomes the program, no copy is made of this process, which
/// may be large.
inline pid_t start_program(std::vector<std::string> arguments, const std::filesystem::path& in,
                           const std::filesystem::path& out, const std::filesystem::path& err,
                           const std::function<void()>& prepare = {}) {
  arguments.insert(arguments.begin(), ESO_PROGRAM_PATH);
  std::vector<char*> words;
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  constexpr int write = O_WRONLY | O_CREAT | O_TRUNC;
  pid_t child = -1;
  if (!prepare) {
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 0, in.c_str(), O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, 1, out.c_str(), write, 0666);
    ::posix_spawn_file_actions_addopen(&files, 2, err.c_str(), write, 0666);
    const int failed = ::posix_spawn(&child, words[0], &files, nullptr, words.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (failed != 0) throw std::system_error(failed, std::generic_category(), words[0]);
    return child;
  }
  child = ::fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) {
    open_as(0, in, O_RDONLY);
    open_as(1, out, write);
    open_as(2, err, write);
    prepare();
    ::execv(words[0], words.data());
    ::_exit(126);
  }
  return child;
}

/// Runs the program `eso` with these arguments and this standard input; `prepare` as above.
inline Finished program(const std::vector<std::string>& arguments, const std::string& input = {},
                        const std::function<void()>& prepare = {}) {
  const TemporaryFolder folder;
  write_file(folder / "in", input);
  const pid_t child = start_program(arguments, folder / "in", folder / "out", folder / "err", prepare);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(folder / "out"),
          read_file(folder / "err")};
}

/// `family/name`, or the name of a GPT-2.
inline std::string golden_model(const std::string& name) {
  const bool other = name.find('/') != std::string::npos;
  return std::string(ESO_TEST_DIR) + (other ? "/golden/" : "/golden/gpt2/") + name;
}

inline const std::vector<std::string> models_of_all_families{
    "plain", "untied", "general", "opt/before", "opt/after", "gpt_neox/parallel", "gpt_neox/sequential"};

/// What transformers computes with each of them.
inline nlohmann::json golden_answers() {
  nlohmann::json answers = nlohmann::json::parse(read_file(std::string(ESO_TEST_DIR) + "/golden/gpt2.json"));
  answers.update(nlohmann::json::parse(read_file(std::string(ESO_TEST_DIR) + "/golden/families.json")));
  return answers;
}

/// A copy of a golden model folder, to be damaged.
inline std::filesystem::path copy_model(const std::string& name, const TemporaryFolder& folder) {
  const std::filesystem::path copy = folder / "model";
  std::filesystem::remove_all(copy);
  std::filesystem::copy(golden_model(name), copy);
  return copy;
}

/// The call refused its input: exit code `code`, one line at the end of standard error that has all
/// fragments, nothing but whole lines on standard output. Use inside CHECK: the text is what is wrong, empty
/// if nothing.
inline std::string not_refused(const Finished& call, const std::vector<std::string>& fragments,
                               int code = 2) {
  if (call.code != code) return fmt::format("exit code {}, standard error: {}", call.code, call.err);
  if (!call.out.empty() && call.out.back() != '\n') return "a partial line: " + call.out;
  if (call.err.empty() || call.err.back() != '\n')
    return "standard error does not end with a line: " + call.err;
  const std::string last = call.last_error();
  if (!last.starts_with("eso: error: ")) return "no error line at the end: " + call.err;
  for (const std::string& fragment : fragments) {
    if (last.find(fragment) == std::string::npos) return fmt::format("\"{}\" is not in: {}", fragment, last);
  }
  return {};
}
