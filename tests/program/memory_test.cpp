// SPDX-License-Identifier: MIT
#include <sys/resource.h>

#include "hostile_input.hpp"

TEST_CASE("memory that gives out ends score and rouge with 1 and one line, at whatever limit") {
  if (sanitized) return;
  const TemporaryFolder folder;
  std::string line = "{\"prompt\":[1";
  for (int i = 0; i < 500'000; ++i) line += ",1";
  write_file(folder / "large", line + "],\"target\":\"b\",\"prediction\":\"b\"}\n");
  write_file(folder / "small", "{\"prompt\":\"a\",\"response\":\"b\"}\n");
  int ended = 0;
  for (rlim_t kibibytes = 12'000; kibibytes < 48'000; kibibytes += 800) {
    for (const bool large : {true, false}) {
      INFO(kibibytes << " KiB, large " << large);
      const Words words =
          large ? Words{"rouge"} : Words{"score", "--model", golden_model("plain"), "--threads", "1"};
      const pid_t child =
          start_program(words, folder / (large ? "large" : "small"), folder / "out", folder / "err", [&] {
            const rlimit limit{kibibytes << 10, kibibytes << 10};
            ::setrlimit(RLIMIT_AS, &limit);
          });
      int status = 0;
      REQUIRE(::waitpid(child, &status, 0) == child);
      const std::string err = read_file(folder / "err");
      INFO(err);
      REQUIRE(WIFEXITED(status));
      if (err.find("shared librar") != std::string::npos) continue;  // the loader had no room for the program
      const int code = WEXITSTATUS(status);
      REQUIRE((code == 0 || code == 1));
      if (code == 1) CHECK(err.starts_with("eso: error: "));
      ended += code;
    }
  }
  CHECK(ended > 0);
}
