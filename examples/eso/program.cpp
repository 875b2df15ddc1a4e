// SPDX-License-Identifier: MIT
#include "program.hpp"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>

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

}  // namespace

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
