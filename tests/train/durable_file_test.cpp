// SPDX-License-Identifier: MIT
#include "eso/train/durable_file.hpp"

#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <string>

#include "../limited_file_size.hpp"
#include "../temporary_folder.hpp"

namespace {

eso::Fault fault_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const eso::Error& error) {
    return error.fault();
  }
  FAIL("no error");
  return {};
}

}  // namespace

TEST_CASE("a file is written whole, with its size and checksum", "[durable_file]") {
  const TemporaryFolder folder;
  // The check value of CRC-32: crc of "123456789" is cbf43926.
  const eso::FileDigest digest = eso::write_durably(folder / "x", "123456789");
  CHECK(digest == eso::FileDigest{9, 0xCBF43926});
  CHECK(read_file(folder / "x") == "123456789");
  CHECK(eso::write_durably(folder / "x", "") == eso::FileDigest{0, 0});
  CHECK(read_file(folder / "x").empty());
  const std::string large(3'000'001, 'y');
  eso::DurableFile file(folder / "x");
  file.write(std::string_view(large).substr(0, 10));
  file.write(std::string_view(large).substr(10));
  CHECK(read_file(folder / "x").empty());  // until the commit, what was there
  CHECK(file.commit().size == large.size());
  CHECK(read_file(folder / "x") == large);
  CHECK(folder.names() == std::set<std::string>{"x"});
}

TEST_CASE("without a commit nothing has happened", "[durable_file]") {
  const TemporaryFolder folder;
  write_file(folder / "x", "before");
  {
    eso::DurableFile file(folder / "x");
    file.write("after");
    CHECK(folder.names().size() == 2);
  }
  CHECK(read_file(folder / "x") == "before");
  CHECK(folder.names() == std::set<std::string>{"x"});
}

TEST_CASE("a disk that is full at any byte leaves what was there and names the file", "[durable_file]") {
  const TemporaryFolder folder;
  const std::string before = "before", after(300, 'a');
  for (std::size_t room = 0; room <= after.size(); ++room) {
    write_file(folder / "x", before);
    std::string error;
    {
      const LimitedFileSize limit(room);
      error = error_of([&] { eso::write_durably(folder / "x", after); });
    }
    INFO(room << " bytes: " << error);
    CHECK(error.empty() == (room == after.size()));
    if (room < after.size())
      CHECK_THAT(error, Catch::StartsWith((folder / "x").string()) && Catch::Contains("cannot write: "));
    CHECK(read_file(folder / "x") == (room < after.size() ? before : after));
    CHECK(folder.names() == std::set<std::string>{"x"});
  }
  CHECK(fault_of([&] {
          const LimitedFileSize limit(3);
          eso::write_durably(folder / "x", after);
        }) == eso::Fault::system);
}

TEST_CASE("paths that cannot be written are system errors with their name", "[durable_file]") {
  const TemporaryFolder folder;
  write_file(folder / "file", "before");
  CHECK(fault_of([&] { eso::write_durably(folder / "none/x", ""); }) == eso::Fault::system);
  CHECK_THAT(error_of([&] { eso::write_durably(folder / "none/x", ""); }), Catch::Contains("none/x"));
  CHECK_THAT(error_of([&] { eso::write_durably(folder / "file/x", ""); }), Catch::Contains("file/x"));
  std::filesystem::create_directory(folder / "folder");
  CHECK_THAT(error_of([&] { eso::write_durably(folder / "folder", ""); }),
             Catch::Contains("folder: cannot rename to"));
  CHECK(folder.names() == std::set<std::string>{"file", "folder"});
  CHECK_THAT(error_of([&] { eso::sync_directory(folder / "none"); }), Catch::Contains("none: cannot open"));
  CHECK_THAT(error_of([&] { eso::rename_durably(folder / "none", folder / "to"); }),
             Catch::Contains("to: cannot rename to"));
  eso::rename_durably(folder / "file", folder / "to");
  CHECK(read_file(folder / "to") == "before");
  if (::geteuid() == 0) {
    WARN("running as root: missing permission cannot be tested");
    return;
  }
  std::filesystem::permissions(folder / "folder", std::filesystem::perms::owner_read);
  CHECK_THAT(error_of([&] { eso::write_durably(folder / "folder/x", ""); }),
             Catch::Contains("Permission denied"));
  std::filesystem::permissions(folder / "folder", std::filesystem::perms::owner_all);
}

TEST_CASE("a temporary file that is a link is replaced, not followed", "[durable_file]") {
  const TemporaryFolder folder;
  write_file(folder / "victim", "untouched");
  std::filesystem::create_symlink(folder / "victim", folder / fmt::format("x.tmp-{}", ::getpid()));
  eso::write_durably(folder / "x", "new");
  CHECK(read_file(folder / "victim") == "untouched");
  CHECK(read_file(folder / "x") == "new");
  CHECK(folder.names() == std::set<std::string>{"victim", "x"});
}

TEST_CASE("a link to a file is followed, a pipe is written to and not replaced", "[durable_file]") {
  const TemporaryFolder folder;
  write_file(folder / "target", "before");
  std::filesystem::create_symlink(folder / "target", folder / "link");
  eso::write_durably(folder / "link", "after");
  CHECK(read_file(folder / "target") == "after");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const int reader = ::open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  CHECK(eso::write_durably(folder / "pipe", "123456789") == eso::FileDigest{9, 0xCBF43926});
  char text[16] = {};
  CHECK(::read(reader, text, sizeof(text)) == 9);
  ::close(reader);
  CHECK(std::string(text) == "123456789");
  CHECK(std::filesystem::is_fifo(folder / "pipe"));
  CHECK(folder.names() == std::set<std::string>{"link", "pipe", "target"});
}
