// SPDX-License-Identifier: MIT
#include "eso/train/directory_lock.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <optional>
#include <string>

#include "../temporary_folder.hpp"

TEST_CASE("a second holder is refused with the folder and the process, until the first lets go",
          "[directory_lock]") {
  const TemporaryFolder folder;
  {
    const eso::DirectoryLock lock(folder.path());
    const std::string error = error_of([&] { const eso::DirectoryLock second(folder.path()); });
    CHECK(error == fmt::format("{}: is in use by another process, found process {}", folder.path().string(),
                               ::getpid()));
    CHECK(folder.names() == std::set<std::string>{".lock"});
    // The refused one has not taken the lock away.
    CHECK_FALSE(error_of([&] { const eso::DirectoryLock third(folder.path()); }).empty());
  }
  CHECK(folder.names().empty());
  const eso::DirectoryLock again(folder.path());
  CHECK_THAT(error_of([&] { const eso::DirectoryLock lock(folder / "none"); }),
             Catch::Contains("none/.lock: cannot open"));
}

TEST_CASE("a killed process holds nothing", "[directory_lock]") {
  const TemporaryFolder folder;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      const eso::DirectoryLock lock(folder.path());
      if (::write(ready[1], "x", 1) == 1) ::pause();
    } catch (...) {}
    ::_exit(1);
  }
  ::close(ready[1]);
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  CHECK_THAT(error_of([&] { const eso::DirectoryLock lock(folder.path()); }),
             Catch::EndsWith(fmt::format("process {}", child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(folder.names() == std::set<std::string>{".lock"});
  CHECK(error_of([&] { const eso::DirectoryLock lock(folder.path()); }).empty());
  CHECK(folder.names().empty());
}
