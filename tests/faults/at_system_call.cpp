// SPDX-License-Identifier: MIT
// at_system_call STATUS N kill|ERRNO PROGRAM ARGUMENTS...: runs a program on one thread and, before the N-th
// of its system calls since `main` began, kills it; or lets the N-th that does I/O fail with that number
// instead of being done. STATUS becomes "CODE REACHED CALL": the exit code (128 + n for signal n), 1 if there
// were N calls, and the number of that system call.
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

bool does_io(const user_regs_struct& r) {
  switch (static_cast<long>(r.orig_rax)) {
    case SYS_open:
    case SYS_openat:
    case SYS_read:
    case SYS_pread64:
    case SYS_readv:
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_rmdir:
    case SYS_ftruncate:
    case SYS_truncate:
    case SYS_close:
    case SYS_stat:
    case SYS_lstat:
    case SYS_fstat:
    case SYS_newfstatat:
    case SYS_statx:
    case SYS_getdents64:
    case SYS_lseek:
    case SYS_fcntl:
    case SYS_flock:
    case SYS_access:
    case SYS_link:
    case SYS_linkat:
    case SYS_copy_file_range:
    case SYS_sendfile:
      return true;
    case SYS_mmap:
      return static_cast<int>(r.r8) >= 0;
    default:
      return false;
  }
}

/// Whether this is the first system call of `main`, which ignores SIGPIPE.
bool is_first(const user_regs_struct& r) {
  return static_cast<long>(r.orig_rax) == SYS_rt_sigaction && r.rdi == SIGPIPE;
}

struct Outcome {
  int code = 0;
  bool reached = false;
  long call = -1;
};

Outcome watch(pid_t child, long n, int error) {
  Outcome outcome;
  int status = 0;
  bool begun = false, entering = true, failing = false;
  long count = 0;
  int signal = 0;
  waitpid(child, &status, 0);
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (;;) {
    ptrace(PTRACE_SYSCALL, child, nullptr, signal);
    signal = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) || WIFSIGNALED(status)) break;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
      if (WSTOPSIG(status) != SIGTRAP) signal = WSTOPSIG(status);
      continue;
    }
    user_regs_struct r{};
    ptrace(PTRACE_GETREGS, child, nullptr, &r);
    if (entering) {
      begun = begun || is_first(r);
      if (begun && !outcome.reached && (error == 0 || does_io(r)) && ++count == n) {
        outcome.reached = true;
        outcome.call = static_cast<long>(r.orig_rax);
        if (error == 0) {
          kill(child, SIGKILL);
        } else {
          failing = true;
          r.orig_rax = static_cast<unsigned long long>(-1);
          ptrace(PTRACE_SETREGS, child, nullptr, &r);
        }
      }
    } else if (failing) {
      failing = false;
      r.rax = static_cast<unsigned long long>(-static_cast<long long>(error));
      ptrace(PTRACE_SETREGS, child, nullptr, &r);
    }
    entering = !entering;
  }
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return 125;
  const int error = std::strcmp(argv[3], "kill") == 0 ? 0 : std::atoi(argv[3]);
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execv(argv[4], argv + 4);
    _exit(125);
  }
  const Outcome outcome = watch(child, std::atol(argv[2]), error);
  std::FILE* const file = std::fopen(argv[1], "w");
  if (file == nullptr) return 125;
  std::fprintf(file, "%d %d %ld\n", outcome.code, outcome.reached ? 1 : 0, outcome.call);
  return std::fclose(file) == 0 ? 0 : 125;
}
