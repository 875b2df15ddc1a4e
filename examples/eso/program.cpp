// SPDX-License-Identifier: MIT
#include "program.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace eso_program {
namespace {

volatile std::sig_atomic_t caught_signal = 0;
bool is_silent = false;

void note_signal(int signal) {
  if (caught_signal != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  caught_signal = signal;
}

/// Finds the file that is mapped at an address, with what a signal handler may call alone.
class MappingSearch {
 public:
  explicit MappingSearch(std::uintptr_t address) : address_(address) {}

  /// Its path as /proc/self/maps has it, empty where there is none.
  std::string_view path() {
    const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (maps < 0) return {};
    std::array<char, 1024> chunk{};
    bool found = false;
    for (ssize_t count = 0; !found && (count = ::read(maps, chunk.data(), chunk.size())) > 0;) {
      for (ssize_t i = 0; i < count && !found; ++i) found = take(chunk[static_cast<std::size_t>(i)]);
    }
    ::close(maps);
    return found ? std::string_view(path_.data(), length_) : std::string_view();
  }

 private:
  /// A character of `begin-end rights offset device inode     path`; true where a line ends that is the one.
  bool take(char c) {
    if (c == '\n') {
      const bool here = begin_ <= address_ && address_ < number_ && length_ > 0;
      if (!here) begin_ = number_ = 0, length_ = 0, field_ = 0;
      return here;
    }
    if (field_ == 0) {
      if (c == '-') begin_ = std::exchange(number_, 0);
      if (c != '-' && c != ' ') {
        number_ = 16 * number_ + static_cast<std::uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
      }
    }
    if (field_ < 5) {
      if (c == ' ') ++field_;
    } else if ((length_ > 0 || c != ' ') && length_ < path_.size()) {
      path_[length_++] = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return false;
  }

  std::uintptr_t address_, begin_ = 0, number_ = 0;
  int field_ = 0;
  std::array<char, 4096> path_{};
  std::size_t length_ = 0;
};

void on_bus_error(int signal, siginfo_t* info, void*) {
  std::signal(signal, SIG_DFL);
  if (info->si_code != BUS_ADRERR) return;  // the instruction comes again, and ends the program
  MappingSearch search(reinterpret_cast<std::uintptr_t>(info->si_addr));
  const std::string_view path = search.path();
  if (path.empty()) return;
  for (const std::string_view part :
       {std::string_view("eso: error: "), path,
        std::string_view(": was cut while it was in use, or cannot be read\n")}) {
    if (::write(STDERR_FILENO, part.data(), part.size()) < 0) break;
  }
  ::_exit(1);
}

}  // namespace

void name_lost_files() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

void handle_signals(void (*handler)(int)) {
  // On a stack of its own: oneDNN's products have the stack pointer among numbers, and the system would write
  // the handler's frame over them.
  static std::array<char, 1 << 16> memory;
  const stack_t stack{.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
  sigaltstack(&stack, nullptr);
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  struct sigaction hangup{};  // nohup has it ignored, and so it stays
  if (sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaction(SIGHUP, &action, nullptr);
}

void catch_signals() { handle_signals(note_signal); }

void check_signals() {
  if (caught_signal != 0) throw Interrupted{caught_signal};
}

void be_silent() { is_silent = true; }
bool silent() { return is_silent; }

int noted_signal() { return caught_signal; }

std::int64_t processor_count() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  // Processes that a launcher started on one machine share it.
  const char* const processes = std::getenv("LOCAL_WORLD_SIZE");
  const int share = processes ? std::max(1, std::atoi(processes)) : 1;
  return std::max(1, CPU_COUNT(&set) / share);
}

std::shared_ptr<eso::Threads> make_threads(std::int64_t count) {
  if (count < 0 || count > 4096)
    throw eso::input_error("--threads", "is out of range", fmt::format("{}", count), "0 to 4096");
  return std::make_shared<eso::Threads>(static_cast<int>(count == 0 ? processor_count() : count));
}

}  // namespace eso_program
