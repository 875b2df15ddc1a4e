// SPDX-License-Identifier: MIT
#include "eso/train/append_file.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "../limited_file_size.hpp"
#include "../temporary_folder.hpp"

TEST_CASE("lines are appended, across openings, and cut back to a size", "[append_file]") {
  const TemporaryFolder folder;
  {
    auto file = eso::AppendFile::open(folder / "x");
    CHECK(file.size() == 0);
    file.append("one");
    file.append("");
    file.sync();
    CHECK(file.size() == 5);
  }
  auto file = eso::AppendFile::open(folder / "x");
  file.append("two");
  CHECK(read_file(folder / "x") == "one\n\ntwo\n");
  file.truncate(5);
  file.append("three");
  CHECK(read_file(folder / "x") == "one\n\nthree\n");
  CHECK_THAT(error_of([&] { file.truncate(100); }),
             Catch::Contains("x: is shorter") && Catch::Contains("found 11 bytes"));
  CHECK_THAT(error_of([&] { file.append("a\nb"); }), Catch::Contains("line break"));
  CHECK(file.size() == 11);
}

TEST_CASE("a line that does not fit on the disk is not there at all", "[append_file]") {
  const TemporaryFolder folder;
  auto file = eso::AppendFile::open(folder / "x");
  file.append("first");
  for (rlim_t room = 6; room < 6 + 11; ++room) {
    std::string error;
    {
      const LimitedFileSize limit(room);
      error = error_of([&] { file.append("0123456789"); });
    }
    CHECK_THAT(error, Catch::StartsWith((folder / "x").string() + ": cannot write"));
    CHECK(read_file(folder / "x") == "first\n");
  }
  file.append("0123456789");
  CHECK(read_file(folder / "x") == "first\n0123456789\n");
}

TEST_CASE("a full device and a missing folder are system errors", "[append_file]") {
  const TemporaryFolder folder;
  const auto fault = [](const std::filesystem::path& path) {
    try {
      auto file = eso::AppendFile::open(path);
      file.append("line");
    } catch (const eso::Error& error) {
      return error.fault();
    }
    FAIL("no error");
    return eso::Fault::input;
  };
  CHECK(fault(folder / "none/x") == eso::Fault::system);
  if (!std::filesystem::exists("/dev/full")) {
    WARN("no /dev/full: not tested");
    return;
  }
  CHECK(fault("/dev/full") == eso::Fault::system);
}
