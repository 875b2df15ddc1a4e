// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eso/error.hpp"
#include "eso/threads.hpp"

namespace eso_program {

/// A subcommand: adds itself to the program and gives what it does when it is called.
using Command = std::function<void()>;

Command add_train(CLI::App& app);
Command add_eval(CLI::App& app);
Command add_generate(CLI::App& app);
Command add_score(CLI::App& app);
Command add_tokenize(CLI::App& app);
Command add_rouge(CLI::App& app);
Command add_compare(CLI::App& app);
Command add_report(CLI::App& app);
Command add_convert(CLI::App& app);

/// Thrown to leave the program on a signal, with the exit code 128 + n.
struct Interrupted {
  int signal;
};

/// Has SIGINT, SIGTERM and, unless it is ignored, SIGHUP call `handler`, on a stack of its own. The main
/// thread calls this, which gets them.
void handle_signals(void (*handler)(int));
/// From here on these signals are noted instead of ending the program; a second one ends it at once.
void catch_signals();
/// Throws `Interrupted` if a signal was noted.
void check_signals();
/// The signal that was noted, or 0.
int noted_signal();

/// What `read` gives. A signal that came meanwhile goes before an error: it may be what cut the input off.
template <class Read>
auto unless_interrupted(const Read& read) {
  try {
    return read();
  } catch (const eso::Error&) {
    check_signals();
    throw;
  }
}

/// Standard output: whole lines, and an error (a full disk, a closed pipe) that is not lost.
class Output {
 public:
  void line(std::string_view line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
    text("\n");
  }
  /// Lines with their ends.
  void text(std::string_view lines) {
    std::fwrite(lines.data(), 1, lines.size(), stdout);
    if (std::ferror(stdout)) throw eso::system_error("<stdout>", "cannot write");
  }
  /// JSON as a line, in ASCII: to some readers U+2028 and its like end a line.
  template <class Json>
  void json(const Json& value) {
    line(value.dump(-1, ' ', true));
  }
  /// To be called at the end.
  void flush() {
    if (std::fflush(stdout) != 0) throw eso::system_error("<stdout>", "cannot write");
  }
};

/// Writes to standard error. That it cannot be written to, closed or a pipe nobody reads, must not end a run.
inline void diagnose(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

/// From here on a mapped file that is cut while it is in use, or cannot be read, ends the program with exit
/// code 1 and one line that names it.
void name_lost_files();

/// From here on this process, one of several, tells nothing but its error.
void be_silent();
bool silent();

/// A line of progress or advice on standard error.
template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  if (!silent()) diagnose(eso::printable(fmt::format(format, std::forward<Args>(args)...), true) + "\n");
}

/// Threads for a `--threads` value; 0 stands for all processors that this process may use.
std::shared_ptr<eso::Threads> make_threads(std::int64_t count);
/// The number that 0 stands for.
std::int64_t processor_count();

}  // namespace eso_program
