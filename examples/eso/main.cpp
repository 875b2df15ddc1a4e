// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "eso/text/json_file.hpp"
#include "eso/version.hpp"
#include "flags.hpp"
#include "program.hpp"

#ifdef EIGEN_USE_BLAS
extern "C" void openblas_set_num_threads(int count) __attribute__((weak));
#endif

namespace eso_program {
namespace {

/// The last line that a failing program prints.
void print_error(const std::string& text) { diagnose("eso: error: " + text + "\n"); }

/// Ends the program where it stands, without a byte of memory: what would be destroyed on the way out may
/// need some, and Eigen's arrays are not whole after a failure. Files are left as by a kill.
[[noreturn]] void end_without_memory() {
  static std::atomic_flag ending;
  while (ending.test_and_set()) ::pause();  // another thread says it
  constexpr std::string_view line = "eso: error: out of memory\n";
  [[maybe_unused]] const ssize_t written = ::write(2, line.data(), line.size());
  ::_exit(1);
}

/// Before the first static object of the program is made, which may need memory too.
__attribute__((constructor(101))) void catch_failed_allocations() {
  std::set_new_handler(end_without_memory);
}

/// The words of another library, which may hold what the user gave.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return eso::printable(eso::cut_middle(text, 500));
}

/// A result that reaches nobody is no success, the help included.
int ended(int code) {
  std::cout.flush();
  if (std::cout.good()) return code;
  throw eso::system_error("<stdout>", "cannot write");
}

int run(int argc, char** argv) {
  CLI::App app{"Post-fine-tuning of autoregressive language models: SFT and ESO against rewards.", "eso"};
  app.set_version_flag("--version", ESO_VERSION);
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Command>> commands;
  for (const auto add : {add_train, add_eval, add_generate, add_score, add_tokenize, add_rouge, add_compare,
                         add_report, add_convert}) {
    Command command = add(app);
    commands.emplace_back(app.get_subcommands({}).back(), std::move(command));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return ended(app.exit(success));  // --help, --version
  } catch (const CLI::ParseError& error) {
    const std::vector<CLI::App*> subcommands = app.get_subcommands();
    const std::vector<std::string> rest = app.remaining();
    print_error(
        one_line(!subcommands.empty() ? what_is_wrong(error, app, "eso " + subcommands.front()->get_name())
                 : !rest.empty() ? eso::in_quotes(rest.front()) + ": no such command; eso --help lists them"
                                 : error.what()));
    return 2;
  }
  for (const auto& [subcommand, command] : commands) {
    if (subcommand->parsed()) command();
  }
  return 0;
}

}  // namespace

}  // namespace eso_program

// The linker leads all calls of malloc in the program's own objects, which are Eigen's, here.
extern "C" void* __real_malloc(std::size_t size);
extern "C" void* __wrap_malloc(std::size_t size);
extern "C" void* __wrap_malloc(std::size_t size) {
  void* const memory = __real_malloc(size);
  if (memory == nullptr && size != 0) eso_program::end_without_memory();
  return memory;
}

namespace {

int guarded_main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // both then come as errors of the write
  std::signal(SIGXFSZ, SIG_IGN);
  // A stream that is closed must not give its number to a file that is opened later.
  for (const int stream : {0, 1, 2}) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // What is written to a closed standard output is lost, and an error: this descriptor refuses it.
    if (::open("/dev/null", stream == 1 ? O_RDONLY : O_RDWR) == -1) return 1;
  }
#ifdef EIGEN_USE_BLAS
  if (openblas_set_num_threads != nullptr)
    openblas_set_num_threads(1);  // the threads are ours, see --threads
#endif
  using namespace eso_program;
  name_lost_files();
  try {
    return run(argc, argv);
  } catch (const eso::Error& error) {
    print_error(error.what());
    return error.fault() == eso::Fault::input ? 2 : 1;
  } catch (const Interrupted& interrupted) {
    return 128 + interrupted.signal;
  } catch (const std::filesystem::filesystem_error& error) {
    const std::string path = error.path1().empty() ? "the working directory" : error.path1().string();
    std::error_code code;
    const std::filesystem::path here = std::filesystem::current_path(code);
    print_error(eso::system_error(here.empty() ? "the working directory" : path, "cannot be used",
                                  error.code().value())
                    .what());
  } catch (const std::bad_alloc&) {
    end_without_memory();
  } catch (const std::exception& error) {
    print_error("internal: " + one_line(error.what()));
  }
  return 1;
}

/// Where the system gives main a small stack (`ulimit -s 64`) and every thread as small a one, what follows
/// runs in a thread that has enough, and so has every thread that it starts.
int with_enough_stack(int argc, char** argv) {
  constexpr std::size_t least = std::size_t{1} << 20, enough = std::size_t{8} << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= least) return guarded_main(argc, argv);
  pthread_attr_t attributes;
  if (::pthread_getattr_default_np(&attributes) != 0) return guarded_main(argc, argv);
  ::pthread_attr_setstacksize(&attributes, enough);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
  int code = 1;
  std::thread thread;
  try {
    thread = std::thread([&] { code = guarded_main(argc, argv); });
  } catch (const std::system_error&) {
    return guarded_main(argc, argv);
  }
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // they are for the thread that works
  thread.join();
  return code;
}

}  // namespace

int main(int argc, char** argv) { return with_enough_stack(argc, argv); }
