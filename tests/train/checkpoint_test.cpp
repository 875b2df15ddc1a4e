// SPDX-License-Identifier: MIT
#include "eso/train/checkpoint.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../as_nobody.hpp"
#include "../limited_file_size.hpp"
#include "../temporary_folder.hpp"

namespace {

/// Two small arrays that tell which step they are of.
struct State {
  explicit State(std::int64_t step)
      : weights(16, static_cast<float>(step)), moments(8, static_cast<double>(step) / 2) {}
  std::vector<float> weights;
  std::vector<double> moments;

  std::vector<eso::TensorView> model() const {
    return {{"weights", eso::DataType::float32, {4, 4}, std::as_bytes(std::span(weights)), nullptr}};
  }
  std::vector<eso::TensorView> optimizer() const {
    return {{"moments", eso::DataType::float64, {8}, std::as_bytes(std::span(moments)), nullptr}};
  }
};

void save(const std::filesystem::path& folder, std::int64_t step, int keep = 0) {
  const State state(step);
  eso::save_checkpoint(folder, step, state.model(), state.optimizer(),
                       {{"num_tokens", 10 * step}, {"text", "a\"b"}}, keep);
}

/// Whether the loaded checkpoint is that of its step, to the last number.
bool is_whole(const eso::LoadedCheckpoint& loaded) {
  const State expected(loaded.step);
  const auto model = loaded.model.find("weights"), optimizer = loaded.optimizer.find("moments");
  if (!model || !optimizer || loaded.counters["num_tokens"] != 10 * loaded.step) return false;
  std::vector<float> weights(16);
  std::vector<double> moments(8);
  eso::read_values(*model, weights.data());
  eso::read_values(*optimizer, moments.data());
  return weights == expected.weights && moments == expected.moments;
}

/// Step of the newest valid checkpoint, -1 if there is none; the reasons of those passed over.
std::int64_t newest(const std::filesystem::path& folder, std::vector<std::string>* reasons = nullptr) {
  const auto loaded =
      eso::load_newest_checkpoint(folder, [&](const std::filesystem::path&, const std::string& reason) {
        if (reasons != nullptr) reasons->push_back(reason);
      });
  if (!loaded) return -1;
  CHECK(is_whole(*loaded));
  return loaded->step;
}

std::string manifest_of(std::string_view rest) {
  eso::FileDigest digest;
  digest.add(std::as_bytes(std::span(rest)));
  return fmt::format("{{\"crc32\":\"{:08x}\",{}", digest.crc32, rest);
}

/// Kills `child` after a random part of the time that a few saves take here.
void kill_within(pid_t child, const std::filesystem::path& folder, std::mt19937& random) {
  const auto start = std::chrono::steady_clock::now();
  save(folder, 0);
  const auto saving = std::chrono::steady_clock::now() - start;
  std::this_thread::sleep_for(saving * static_cast<int>(random() % 500) / 100);
  ::kill(child, SIGKILL);
}

const char* const file_names[] = {"checkpoint.json", "model.safetensors", "optimizer.safetensors"};

}  // namespace

TEST_CASE("a checkpoint is read back with its step, counters and tensors", "[checkpoint]") {
  const TemporaryFolder folder;
  const auto path = folder / "run/checkpoints";
  CHECK_FALSE(eso::load_newest_checkpoint(path));
  save(path, 5);
  const auto loaded = eso::load_newest_checkpoint(path);
  REQUIRE(loaded);
  CHECK(loaded->path == path / "step-5");
  CHECK(loaded->counters == nlohmann::json{{"num_tokens", 50}, {"text", "a\"b"}});
  CHECK(is_whole(*loaded));
  CHECK(TemporaryFolder::names_in(path) == std::set<std::string>{"step-5"});
  CHECK(TemporaryFolder::names_in(path / "step-5") ==
        std::set<std::string>{"checkpoint.json", "model.safetensors", "optimizer.safetensors"});
  CHECK(nlohmann::json::parse(read_file(path / "step-5/checkpoint.json"))["step"] == 5);
  save(path, 10);
  CHECK(newest(path) == 10);  // the highest number, not the last in the alphabet
  CHECK(eso::find_newest_valid(path) == path / "step-10");
}

TEST_CASE("the same state makes the same bytes", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder / "a", 3);
  save(folder / "b", 3);
  for (const char* name : file_names)
    CHECK(read_file(folder / "a" / "step-3" / name) == read_file(folder / "b" / "step-3" / name));
}

TEST_CASE("the newest are kept", "[checkpoint]") {
  const TemporaryFolder folder;
  for (std::int64_t step = 1; step <= 12; ++step) save(folder.path(), step, 2);
  CHECK(folder.names() == std::set<std::string>{"step-11", "step-12"});
  for (std::int64_t step = 13; step <= 15; ++step) save(folder.path(), step, 0);
  CHECK(folder.names().size() == 5);
  save(folder.path(), 16, 1);
  CHECK(folder.names() == std::set<std::string>{"step-16"});
  // Back at step 14, as after step 16 was found damaged: what is there with a higher number does not count.
  save(folder.path(), 14, 1);
  CHECK(folder.names() == std::set<std::string>{"step-14", "step-16"});
}

TEST_CASE("a checkpoint of the same step is replaced", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 4);
  write_file(folder / "step-4/model.safetensors", "junk");
  write_file(folder / "step-4/more", "junk");
  CHECK(newest(folder.path()) == -1);
  save(folder.path(), 4);
  CHECK(newest(folder.path()) == 4);
  CHECK(TemporaryFolder::names_in(folder / "step-4").size() == 3);
  write_file(folder / "step-6", "a file");
  save(folder.path(), 6);
  CHECK(newest(folder.path()) == 6);
  CHECK(folder.names() == std::set<std::string>{"step-4", "step-6"});
}

TEST_CASE("what killed saves left is removed, and nothing else", "[checkpoint]") {
  const TemporaryFolder folder;
  const std::set<std::string> strangers{"notes", "step-x", ".tmp-other"};
  for (const std::string& name : strangers) std::filesystem::create_directory(folder / name);
  std::filesystem::create_directory(folder / ".tmp-123-step-9");
  write_file(folder / ".tmp-123-step-9/model.safetensors", "half");
  eso::remove_unfinished_checkpoints(folder.path());
  CHECK(folder.names() == strangers);
  std::filesystem::create_directory(folder / fmt::format(".tmp-{}-step-1", ::getpid()));
  save(folder.path(), 1);
  CHECK(folder.names() == std::set<std::string>{"notes", "step-x", ".tmp-other", "step-1"});
}

TEST_CASE("every flipped bit of a checkpoint is found, and the one before is taken", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  save(folder.path(), 2);
  for (const char* name : file_names) {
    const auto path = folder / "step-2" / name;
    const std::string content = read_file(path);
    for (std::size_t bit = 0; bit < 8 * content.size(); ++bit) {
      std::string flipped = content;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      write_file(path, flipped);
      std::vector<std::string> reasons;
      const std::int64_t step = newest(folder.path(), &reasons);
      if (step != 1 || reasons.size() != 1 || reasons[0].find(path.string()) != 0)
        FAIL(name << " bit " << bit);
    }
    write_file(path, content);
    CHECK(newest(folder.path()) == 2);
  }
}

TEST_CASE("every length but the right one is found", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  save(folder.path(), 2);
  for (const char* name : file_names) {
    const auto path = folder / "step-2" / name;
    const std::string content = read_file(path);
    for (std::size_t length = 0; length < content.size(); ++length) {
      std::filesystem::resize_file(path, length);
      std::vector<std::string> reasons;
      if (newest(folder.path(), &reasons) != 1 || reasons.size() != 1)
        FAIL(name << " of " << length << " bytes");
      write_file(path, content);
    }
    for (const char* tail : {"x", "\n", " "}) {
      write_file(path, content + tail);
      CHECK(newest(folder.path()) == 1);
    }
    std::filesystem::remove(path);
    CHECK(newest(folder.path()) == 1);
    std::filesystem::create_directory(path);
    CHECK(newest(folder.path()) == 1);
    std::filesystem::remove(path);
    write_file(path, content);
  }
  CHECK(newest(folder.path()) == 2);
}

TEST_CASE("files of another step are found", "[checkpoint]") {
  const TemporaryFolder folder;
  for (std::int64_t step = 1; step <= 3; ++step) save(folder.path(), step);
  write_file(folder / "step-3/model.safetensors", read_file(folder / "step-2/model.safetensors"));
  std::vector<std::string> reasons;
  CHECK(newest(folder.path(), &reasons) == 2);
  CHECK_THAT(reasons.at(0), Catch::Contains("step-3/model.safetensors: the checksum is wrong"));
  std::filesystem::rename(folder / "step-3", folder / "step-30");
  std::filesystem::rename(folder / "step-2", folder / "step-3");
  reasons.clear();
  CHECK(newest(folder.path(), &reasons) == 1);
  CHECK_THAT(reasons.at(1), Catch::Contains("belongs to another step, found step 2"));
}

TEST_CASE("manifests whose checksum is right but not their content are passed over", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  save(folder.path(), 2);
  const auto path = folder / "step-2/checkpoint.json";
  const std::string good = read_file(path).substr(std::string("{\"crc32\":\"xxxxxxxx\",").size());
  const auto reason = [&](const std::string& rest) {
    write_file(path, manifest_of(rest));
    std::vector<std::string> reasons;
    CHECK(newest(folder.path(), &reasons) == 1);
    REQUIRE(reasons.size() == 1);
    CHECK(reasons[0].find('\n') == std::string::npos);
    return reasons[0];
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    const std::size_t at = good.find(from);
    REQUIRE(at != std::string::npos);
    return std::string(good).replace(at, from.size(), to);
  };
  const auto version = [&](const std::string& rest) {
    write_file(path, manifest_of(rest));
    try {
      newest(folder.path());
    } catch (const eso::OtherVersion& error) {
      return std::string(error.what());
    }
    return std::string("passed over");
  };
  CHECK_THAT(version(replaced("\"version\":1", "\"version\":2")),
             Catch::Contains("step-2/checkpoint.json: is of another version, found 2, expected 1"));
  CHECK_THAT(version(replaced("\"version\":1", "\"version\":\"1\"")), Catch::Contains("another version"));
  CHECK_THAT(version(replaced("\"version\":1,", "")), Catch::Contains("another version, expected 1"));
  CHECK_THAT(reason(replaced("\"files\"", "\"file\"")), Catch::Contains("not the form"));
  CHECK_THAT(reason(replaced("\"counters\"", "\"counter\"")), Catch::Contains("not the form"));
  CHECK_THAT(reason(replaced("\"model.safetensors\"", "\"other\"")),
             Catch::Contains("is not in the manifest"));
  CHECK_THAT(reason(replaced("\"size\":", "\"size\":1")), Catch::Contains("wrong size"));
  CHECK_THAT(reason(replaced("\"step\":2", "\"step\":20")), Catch::Contains("another step"));
  for (const char* size : {"-1", "8.0", "1e88", "18446744073709551615", "\"80\"", "null"}) {
    CHECK_THAT(reason(replaced("\"size\":", fmt::format("\"size\":{},\"x\":", size))),
               Catch::Contains("form"));
  }
  for (const char* step : {"-2", "2.0", "1e88", "18446744073709551615", "\"2\""}) {
    CHECK_THAT(reason(replaced("\"step\":2", fmt::format("\"step\":{}", step))), Catch::Contains("form"));
  }
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  CHECK_THAT(reason(replaced("\"version\":1", "\"version\":" + deep)), Catch::Contains("nested too deep"));
  CHECK_THAT(reason(replaced("\"step\":2", "\"step\":3,\"x\":" + deep)), Catch::Contains("nested too deep"));
  CHECK_THAT(reason("]"), Catch::Contains("not valid JSON"));
  CHECK_THAT(reason("\"version\":1,\"x\":" + std::string(1'000'000, '[')),
             Catch::Contains("nested too deep"));
  std::filesystem::resize_file(path, std::uintmax_t{1} << 32);  // a hole of 4 GiB
  CHECK(newest(folder.path()) == 1);
  write_file(path, manifest_of(good));
  CHECK(newest(folder.path()) == 2);
}

TEST_CASE("a checkpoint that may not be read for the moment is not passed over", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder / "checkpoints", 1);
  save(folder / "checkpoints", 2);
  const AsNobody nobody(folder.path());
  for (const char* name : file_names) {
    INFO(name);
    const auto file = folder / "checkpoints/step-2" / name;
    std::filesystem::permissions(file, std::filesystem::perms::none);
    try {
      newest(folder / "checkpoints");
      FAIL("passed over");
    } catch (const eso::Error& error) {
      CHECK(error.fault() == eso::Fault::system);
      CHECK_THAT(error.what(), Catch::Contains(file.string() + ": cannot open"));
    }
    std::filesystem::permissions(file, std::filesystem::perms::owner_read);
  }
  CHECK(newest(folder / "checkpoints") == 2);
}

TEST_CASE("junk in the folder is passed over", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 3);
  for (const char* name :
       {"step-", "step--1", "step-07", "step-1e3", "step-99999999999999999999", "step-8 ", "STEP-9"}) {
    std::filesystem::copy(folder / "step-3", folder / name, std::filesystem::copy_options::recursive);
  }
  std::filesystem::create_directory(folder / "step-100");
  write_file(folder / "step-101", "");
  std::filesystem::create_symlink(folder / "nowhere", folder / "step-102");
  std::filesystem::create_directory_symlink(folder.path(), folder / "step-103");
  std::vector<std::string> reasons;
  CHECK(newest(folder.path(), &reasons) == 3);
  CHECK(reasons.size() == 4);
  write_file(folder / "file", "");
  CHECK_THAT(error_of([&] { newest(folder / "file"); }), Catch::Contains("file: cannot list"));
}

TEST_CASE("a disk that is full at any byte leaves the checkpoints that are there", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  std::uintmax_t largest = 0;
  for (const char* name : file_names)
    largest = std::max(largest, std::filesystem::file_size(folder / "step-1" / name));
  for (std::uintmax_t room = 0; room <= largest + 5; ++room) {
    std::string error;
    {
      const LimitedFileSize limit(room);
      error = error_of([&] { save(folder.path(), 2, 1); });
    }
    if (error.empty()) {
      CHECK(room >= largest);
      CHECK(folder.names() == std::set<std::string>{"step-2"});
      CHECK(newest(folder.path()) == 2);
      return;
    }
    CHECK_THAT(error, Catch::StartsWith(folder.path().string()) && Catch::Contains("cannot write: "));
    CHECK(folder.names() == std::set<std::string>{"step-1"});
    CHECK(newest(folder.path()) == 1);
  }
  FAIL("no room was enough");
}

TEST_CASE("tensors and settings that cannot be saved change nothing", "[checkpoint]") {
  const TemporaryFolder folder;
  save(folder.path(), 1);
  const State state(2);
  auto twice = state.model();
  twice.push_back(twice[0]);
  CHECK_THROWS_AS(eso::save_checkpoint(folder.path(), 2, twice, state.optimizer(), nlohmann::json::object()),
                  eso::Error);
  CHECK_THROWS_AS(eso::save_checkpoint(folder.path(), 2, state.model(), twice, nlohmann::json::object()),
                  eso::Error);
  CHECK_THROWS_AS(eso::save_checkpoint(folder.path(), 2, state.model(), state.optimizer(), 3), eso::Error);
  CHECK_THROWS_AS(save(folder.path(), -1), eso::Error);
  CHECK_THROWS_AS(save(folder.path(), 2, -1), eso::Error);
  CHECK(folder.names() == std::set<std::string>{"step-1"});
  write_file(folder / "file", "");
  CHECK_THAT(error_of([&] { save(folder / "file", 1); }), Catch::Contains("file"));
  CHECK_THAT(error_of([&] { save(folder / "file/sub", 1); }),
             Catch::Contains("file/sub: cannot make the folder"));
}

TEST_CASE("a process killed at any moment of its saves leaves the newest checkpoint whole", "[checkpoint]") {
  const TemporaryFolder folder, other;
  std::mt19937 random(11);
  std::int64_t before = -1;
  for (int round = 0; round < 60; ++round) {
    int progress[2];
    REQUIRE(::pipe(progress) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
      // Each step is told after it was saved: from then on it must be there.
      for (std::int64_t step = before + 1;; ++step) {
        try {
          save(folder.path(), step, 2);
        } catch (...) {
          ::_exit(1);
        }
        if (::write(progress[1], &step, sizeof(step)) != sizeof(step)) ::_exit(2);
      }
    }
    ::close(progress[1]);
    kill_within(child, other.path(), random);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    std::int64_t saved = before, step = 0;
    while (::read(progress[0], &step, sizeof(step)) == sizeof(step)) saved = step;
    ::close(progress[0]);
    std::vector<std::string> reasons;
    const std::int64_t found = newest(folder.path(), &reasons);
    INFO("round " << round << ": told " << saved << ", found " << found);
    CHECK((found == saved || found == saved + 1));
    CHECK(reasons.empty());
    eso::remove_unfinished_checkpoints(folder.path());
    for (const std::string& name : folder.names()) CHECK_THAT(name, Catch::StartsWith("step-"));
    before = found;
  }
  CHECK(before > 0);
  // Each kill between a save and the removal of the oldest leaves one more; the next save that ends removes
  // them.
  save(folder.path(), before + 1, 2);
  CHECK(folder.names() ==
        std::set<std::string>{fmt::format("step-{}", before), fmt::format("step-{}", before + 1)});
}

TEST_CASE("a process killed while it replaces a checkpoint leaves it whole", "[checkpoint]") {
  const TemporaryFolder folder, other;
  save(folder.path(), 7, 1);
  std::mt19937 random(12);
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) save(folder.path(), 7, 1);
    }
    kill_within(child, other.path(), random);
    ::waitpid(child, nullptr, 0);
    std::vector<std::string> reasons;
    CHECK(newest(folder.path(), &reasons) == 7);
    CHECK(reasons.empty());
  }
}
