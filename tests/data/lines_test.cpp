// SPDX-License-Identifier: MIT
#include <unistd.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <streambuf>
#include <string>
#include <string_view>
#include <vector>

#include "eso/data/lines.hpp"

namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

/// A folder that goes away with its files.
struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("eso_lines_test_{}", getpid());
  Folder() { std::filesystem::create_directories(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }

  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path / name, std::ios::binary) << bytes;
    return path / name;
  }
};

std::string gzip(std::string_view text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string input(text), output(deflateBound(&stream, static_cast<uLong>(text.size())) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = static_cast<uInt>(output.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  output.resize(output.size() - stream.avail_out);
  deflateEnd(&stream);
  return output;
}

std::vector<std::string> all(eso::LineReader reader) {
  std::vector<std::string> lines;
  while (const auto line = reader.next()) {
    lines.emplace_back(*line);
    REQUIRE(reader.number() == lines.size());
  }
  REQUIRE(!reader.next());
  return lines;
}

std::vector<std::string> all(const std::string& text) {
  std::istringstream stream(text);
  return all(eso::LineReader(stream));
}

/// What reading everything throws, or nothing.
std::optional<eso::Error> failure(const std::filesystem::path& path) {
  try {
    all(eso::LineReader(path));
  } catch (const eso::Error& error) {
    return error;
  }
  return std::nullopt;
}

using Lines = std::vector<std::string>;

/// A stream that hands out one byte at a time and remembers how many.
struct Trickle : std::streambuf {
  std::string text;
  std::size_t given = 0;
  char byte = 0;
  explicit Trickle(std::string all_of_it) : text(std::move(all_of_it)) {}
  int_type underflow() override {
    if (given == text.size()) return traits_type::eof();
    byte = text[given++];
    setg(&byte, &byte, &byte + 1);
    return traits_type::to_int_type(byte);
  }
};

}  // namespace

TEST_CASE("LineReader ends lines at LF and CR LF and keeps blank ones", "[data]") {
  CHECK(all("").empty());
  CHECK(all("a") == Lines{"a"});
  CHECK(all("a\n") == Lines{"a"});
  CHECK(all("\n") == Lines{""});
  CHECK(all("a\n\n b \n") == Lines{"a", "", " b "});
  CHECK(all("a\r\nb\rc\r\n\r\n") == Lines{"a", "b\rc", ""});
  CHECK(all("a\r") == Lines{"a"});
  CHECK(all("a\r\r\n") == Lines{"a\r"});
}

TEST_CASE("LineReader skips a byte order mark at the start alone", "[data]") {
  const std::string mark = "\xEF\xBB\xBF";
  CHECK(all(mark + "a\n" + mark + "b\n") == Lines{"a", mark + "b"});
  CHECK(all(mark) == Lines{""});
}

TEST_CASE("LineReader names the line it returned", "[data]") {
  std::istringstream stream("a\n\nb");
  eso::LineReader reader(stream);
  CHECK(reader.number() == 0);
  reader.next();
  CHECK(reader.where() == "<stdin>:1");
  reader.next();
  reader.next();
  CHECK(reader.where() == "<stdin>:3");
  CHECK(!reader.next());
  CHECK(reader.number() == 3);
}

TEST_CASE("LineReader joins lines that reach over its buffer", "[data]") {
  // 65,536 bytes are read at a time: lines around one, two and three buffers, with the end at every place.
  for (const std::size_t buffers : {1U, 2U, 3U}) {
    for (std::size_t length = buffers * 65536 - 3; length <= buffers * 65536 + 2; ++length) {
      const std::string line(length, 'x');
      CHECK(all("first\n" + line + "\r\nlast") == Lines{"first", line, "last"});
      CHECK(all(line) == Lines{line});
      CHECK(all(line + "\n") == Lines{line});
    }
  }
}

TEST_CASE("LineReader answers a line as soon as it is there", "[data]") {
  Trickle bytes("one\ntwo\n");
  std::istream stream(&bytes);
  eso::LineReader reader(stream);
  CHECK(reader.next() == "one");
  CHECK(bytes.given == 4);
  CHECK(reader.next() == "two");
  CHECK(bytes.given == 8);
}

TEST_CASE("LineReader refuses malformed UTF-8 and NUL with the place", "[data]") {
  const Folder folder;
  const auto bad = [&](std::string_view bytes) {
    const auto error = failure(folder.write("bad.jsonl", bytes));
    REQUIRE(error);
    CHECK(error->fault() == eso::Fault::input);
    return std::string(error->what());
  };
  CHECK_THAT(bad("good\nab\xFFz\n"), EndsWith("bad.jsonl:2: malformed UTF-8 at byte 3"));
  CHECK_THAT(bad("\xC3"), EndsWith("bad.jsonl:1: malformed UTF-8 at byte 1"));     // cut short
  CHECK_THAT(bad("\xC0\x80"), EndsWith(":1: malformed UTF-8 at byte 1"));          // overlong NUL
  CHECK_THAT(bad("a\xED\xA0\x80"), EndsWith(":1: malformed UTF-8 at byte 2"));     // a surrogate
  CHECK_THAT(bad("\xF4\x90\x80\x80"), EndsWith(":1: malformed UTF-8 at byte 1"));  // beyond U+10FFFF
  CHECK_THAT(bad(std::string_view("abc\0d", 5)), EndsWith("bad.jsonl:1: a NUL at byte 4"));
}

TEST_CASE("LineReader says what a file is that holds no lines of text", "[data]") {
  const Folder folder;
  const auto kind = [&](std::string_view bytes) {
    const auto error = failure(folder.write("bad.jsonl", bytes));
    REQUIRE(error);
    CHECK(error->fault() == eso::Fault::input);
    const std::string words = error->what(),
                      start = (folder.path / "bad.jsonl").string() + ": is not a text file, found ";
    CHECK_THAT(words, StartsWith(start) && EndsWith(", expected lines in UTF-8"));
    return words.substr(start.size(), words.rfind(", expected") - start.size());
  };
  CHECK(kind(gzip("{}\n")) == "gzip data, whose name must end in .gz");
  CHECK(kind("PK\x03\x04 and more") == "a zip archive");
  CHECK(kind("PAR1\x15") == "a Parquet file");
  CHECK(kind("\x28\xB5\x2F\xFD") == "zstd data");
  CHECK(kind(std::string_view("\xFF\xFE{\0", 4)) == "text in UTF-16");
  CHECK(kind(std::string_view("\xFE\xFF\0{", 4)) == "text in UTF-16");
  CHECK(kind(std::string_view("{\0\"\0a\0", 6)) == "text in UTF-16");
  CHECK(kind(std::string_view("\0{\0\"", 4)) == "text in UTF-16");
  const auto zipped = failure(folder.write("twice.gz", gzip(gzip("{}\n"))));
  REQUIRE(zipped);
  CHECK_THAT(zipped->what(), Contains("found gzip data"));
}

TEST_CASE("LineReader refuses a line beyond its limit without reading it all", "[data]") {
  std::istringstream stream("1234\n12345\n");
  eso::LineReader reader(stream);
  reader.limit = 4;
  CHECK(reader.next() == "1234");
  CHECK_THROWS_WITH(reader.next(), "<stdin>:2: the line is longer than 4 bytes");

  // /dev/zero never ends: only the limit stops it.
  std::ifstream endless("/dev/zero", std::ios::binary);
  eso::LineReader zeros(endless, "zeros");
  zeros.limit = 1 << 20;
  CHECK_THROWS_WITH(zeros.next(), "zeros:1: the line is longer than 1048576 bytes");
}

TEST_CASE("LineReader tells the caller's faults from the machine's", "[data]") {
  const Folder folder;
  const auto missing = failure(folder.path / "none.jsonl");
  REQUIRE(missing);
  CHECK(missing->fault() == eso::Fault::input);
  CHECK_THAT(missing->what(),
             StartsWith((folder.path / "none.jsonl").string() + ": cannot be opened: No such file"));

  const auto directory = failure(folder.path);
  REQUIRE(directory);
  CHECK(directory->fault() == eso::Fault::input);
  CHECK_THAT(directory->what(), Contains("is a directory"));

  const auto under_a_file = failure(folder.write("file", "x") / "below");
  REQUIRE(under_a_file);
  CHECK(under_a_file->fault() == eso::Fault::input);

  // Address 0 of a process is not mapped: the first read fails.
  if (!std::filesystem::exists("/proc/self/mem")) {
    WARN("no /proc/self/mem: reading that fails is not tested");
    return;
  }
  const auto broken = failure("/proc/self/mem");
  REQUIRE(broken);
  CHECK(broken->fault() == eso::Fault::system);
  CHECK_THAT(broken->what(), StartsWith("/proc/self/mem: cannot be read: "));
}

TEST_CASE("LineReader reads gzip members as one text", "[data]") {
  const Folder folder;
  const auto read = [&](const std::string& bytes) {
    return all(eso::LineReader(folder.write("a.gz", bytes)));
  };
  CHECK(read(gzip("one\ntwo\n")) == Lines{"one", "two"});
  CHECK(read(gzip("one\ntw") + gzip("o\nthree")) == Lines{"one", "two", "three"});
  CHECK(read(gzip("") + gzip("a\n") + gzip("")) == Lines{"a"});
  CHECK(read(gzip("")).empty());
  CHECK(read(gzip("a\n") + std::string(512, '\0')) == Lines{"a"});  // padding of tapes, as gzip takes it
  const std::string large(300000, 'y');
  CHECK(read(gzip(large + "\n") + gzip(large)) == Lines{large, large});
}

TEST_CASE("LineReader refuses broken gzip data and names the path", "[data]") {
  const Folder folder;
  const auto refused = [&](const std::string& bytes) {
    const auto error = failure(folder.write("a.gz", bytes));
    REQUIRE(error);
    CHECK(error->fault() == eso::Fault::input);
    CHECK_THAT(error->what(), StartsWith((folder.path / "a.gz").string() + ": "));
    return std::string(error->what());
  };
  std::string text;
  for (int i = 0; i < 2000; ++i) text += fmt::format("line {}\n", i * i);
  const std::string good = gzip(text);

  CHECK_THAT(refused("{\"a\": 1}\n"), Contains("is not gzip data"));
  CHECK_THAT(refused(""), Contains("is not gzip data: it is empty"));
  CHECK_THAT(refused(good + "x"), Contains("end too early") || Contains("other data follow"));
  CHECK_THAT(refused(good + "more"), Contains("other data follow the gzip data"));
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{9}, good.size() / 2, good.size() - 9, good.size() - 1}) {
    CHECK_THAT(refused(good.substr(0, size)), Contains("gzip data end too early"));
  }
  CHECK_THAT(refused(good + good.substr(0, 30)), Contains("gzip data end too early"));
  std::string checksum = good, length = good;
  checksum[good.size() - 8] = static_cast<char>(checksum[good.size() - 8] ^ 1);
  length[good.size() - 4] = static_cast<char>(length[good.size() - 4] ^ 1);
  CHECK_THAT(refused(checksum), Contains("broken gzip data: incorrect data check"));
  CHECK_THAT(refused(length), Contains("broken gzip data: incorrect length check"));
}

TEST_CASE("LineReader refuses gzip data that grow more than text does", "[data]") {
  const Folder folder;
  const std::string line = "{\"prompt\":\"a\",\"response\":\"b\"}\n";
  std::string text;
  while (text.size() < (std::size_t{65} << 20)) text += line;
  const std::string once = gzip(text);
  CHECK(once.size() < text.size() / 300);
  const auto twice = folder.write("twice.gz", once + once);
  eso::LineReader whole(folder.write("once.gz", once)), reader(twice);
  std::size_t count = 0;
  while (whole.next()) ++count;
  CHECK(count == text.size() / line.size());  // below 128 MiB it may
  try {
    while (reader.next()) {}
    FAIL("it was read to its end");
  } catch (const eso::Error& error) {
    CHECK(error.fault() == eso::Fault::input);
    CHECK_THAT(error.what(), StartsWith(twice.string()) && Contains("gzip data grow suspiciously") &&
                                 EndsWith("expected at most 100 times as many"));
  }
}

TEST_CASE("no flipped bit of gzip data changes the text unseen", "[data]") {
  const Folder folder;
  const Lines lines{"The quick brown fox", "jumps over the lazy dog", "0123456789"};
  const std::string good = gzip("The quick brown fox\njumps over the lazy dog\n0123456789\n");
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string flipped = good;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto path = folder.write("flipped.gz", flipped);
    // Nothing hangs on the time, hints and system in bytes 4 to 9 of the header, on one flag in byte 3, and
    // on the bits that fill up the last byte before the checksum and the length.
    if (const auto error = failure(path)) {
      CHECK(error->fault() == eso::Fault::input);
    } else {
      CAPTURE(bit);
      const bool meaningless = (bit / 8 >= 3 && bit / 8 <= 9) || bit / 8 == good.size() - 9;
      CHECK(meaningless);
      CHECK(all(eso::LineReader(path)) == lines);
    }
  }
}
