// SPDX-License-Identifier: MIT
#pragma once

#include <sys/resource.h>

#include <catch2/catch.hpp>

#include "train_run.hpp"

// Tables of bad input: a call that the whole program must refuse, with its exit code and its one line.

/// A folder for a case to make its files in.
class Place {
 public:
  std::string path() const { return folder_.path().string(); }
  std::string operator/(std::string_view name) const { return (folder_ / name).string(); }

  /// Writes a file and gives its path.
  std::string write(std::string_view name, std::string_view content) const {
    write_file(folder_ / name, content);
    return *this / name;
  }
  /// A copy of a golden model in the folder `model`.
  std::string model(const std::string& name = "plain") const { return copy_model(name, folder_).string(); }

 private:
  TemporaryFolder folder_;
};

struct HostileCase {
  std::string name;
  std::function<Words(const Place&)> prepare;  ///< makes the files and gives the arguments
  std::string message;                         ///< how the error line goes on; @ is the folder
  int code = 2;
  std::string input{};  ///< standard input
};

/// All names below the folder, with what kind of thing each is, when it was written and how it begins.
inline std::map<std::string, std::string> tree_of(const std::string& folder) {
  std::map<std::string, std::string> tree;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const auto status = entry.symlink_status();
    std::string& about = tree[entry.path().string()];
    about = fmt::format("type {}", static_cast<int>(status.type()));
    if (!std::filesystem::is_regular_file(status)) continue;
    std::string start(1 << 16, '\0');
    std::ifstream(entry.path(), std::ios::binary).read(start.data(), 1 << 16);
    about += fmt::format(", {} bytes, {}, hash {}", entry.file_size(),
                         entry.last_write_time().time_since_epoch().count(), std::hash<std::string>()(start));
  }
  return tree;
}

/// Sanitizers reserve terabytes of addresses, which no limit of ours must cut.
inline constexpr bool sanitized =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    true;
#elif !defined(__has_feature)
    false;
#elif __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    true;
#else
    false;
#endif

/// In the new process: whatever hangs is ended, and what would take more than a gigabyte for a small file
/// gets nothing.
inline void bound() {
  ::alarm(60);
  const rlimit gigabyte{1U << 30U, 1U << 30U};
  if (!sanitized) ::setrlimit(RLIMIT_AS, &gigabyte);
}

/// What was not as it must be when the program met the case; empty if all was: the exit code, one line of
/// error that goes as it should, whole lines on standard output or none, and every file as it was.
inline std::string not_held(const HostileCase& c) {
  const Place place;
  const Words arguments = c.prepare(place);
  std::string line = "eso: error: " + c.message;
  for (std::size_t at = 0; (at = line.find('@', at)) != std::string::npos; at += place.path().size())
    line.replace(at, 1, place.path());
  const auto before = tree_of(place.path());
  const Finished f = program(arguments, c.input, bound);
  if (f.code != c.code) return fmt::format("exit code {}: {}", f.code, f.err);
  if (!f.err.starts_with(line)) return fmt::format("found    {}expected {}", f.err, line);
  if (f.err.find('\n') != f.err.size() - 1) return "more than one line: " + f.err;
  if (!f.out.empty() && f.out.back() != '\n') return "a partial line: " + f.out;
  try {
    f.lines();
  } catch (const Json::exception&) {
    return "no JSON lines: " + f.out;
  }
  if (tree_of(place.path()) != before) return "it changed files";
  return {};
}

inline void check_all(const std::vector<HostileCase>& cases, std::size_t least) {
  REQUIRE(cases.size() >= least);
  std::set<std::string> names;
  for (const HostileCase& c : cases) {
    INFO(c.name);
    CHECK(names.insert(c.name).second);
    CHECK(not_held(c) == "");
  }
}

/// The words with those of a good call that they do not give themselves.
inline Words completed(Words words, const std::vector<std::pair<std::string, std::string>>& good) {
  for (const auto& [flag, value] : good) {
    if (std::find(words.begin(), words.end(), flag) == words.end()) words = words + Words{flag, value};
  }
  return words;
}

/// A good call of `eso train` into the folder `out` but for these words.
inline Words train(const Place& place, const Words& more) {
  if (!std::filesystem::exists(place / "data.jsonl")) place.write("data.jsonl", training_data);
  return completed(Words{"train"} + more, {{"--model", golden_model("plain")},
                                           {"--data", place / "data.jsonl"},
                                           {"--format", "prompt-response"},
                                           {"--method", "sft"},
                                           {"--output", place / "out"},
                                           {"--max-steps", "1"},
                                           {"--threads", "1"}});
}
