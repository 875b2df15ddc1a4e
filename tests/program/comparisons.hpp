// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>

#include "train_run.hpp"

/// Comparisons on seven examples, evaluated on five others.
struct Comparisons : Runs {
  std::string evaluation = (folder / "evaluation.jsonl").string();
  std::string output = (folder / "out").string();
  std::string format = "prompt-response";

  Comparisons() {
    write_file(evaluation, json_line("x", "e u") + json_line("y", "p") + json_line("the", "l e") +
                               json_line("zz", "u") + json_line(std::string(30, '!'), "too long"));
  }

  static Words training() { return small() + Words{"--epochs", "3", "--learning-rate", "0.01"}; }
  Words arguments(const Words& more) const {
    return Words{"compare",  "--model",  golden_model("plain"),
                 "--data",   data,       "--evaluation-data",
                 evaluation, "--format", format,
                 "--output", output} +
           more;
  }
  Finished call(const Words& more) const {
    return program(arguments(training() + Words{"--seeds", "10,20", "--temperature", "1,0"} + more));
  }
  /// A call that must be refused with these words and leave nothing.
  void refuse(const Words& more, const Words& fragments) const {
    INFO(fmt::format("{}", fmt::join(more, " | ")));
    const Finished f = call(more);
    CHECK(not_refused(f, fragments) == "");
    CHECK(f.out.empty());
    CHECK(folder.names() == std::set<std::string>{"data.jsonl", "evaluation.jsonl"});
    std::filesystem::remove_all(output);
  }
  Json result() const { return Json::parse(read_file(std::filesystem::path(output) / "comparison.json")); }

  /// A plain run with the flags of an arm.
  std::filesystem::path plain(const std::string& name, const Words& flags) const {
    Words words = Runs::call(name, training() + flags);
    std::replace(words.begin(), words.end(), std::string("prompt-response"), format);
    const Finished f = program(words);
    if (f.code != 0) throw std::runtime_error(f.err);
    return folder / name;
  }
};

inline std::string pair_line(const std::string& prompt, const std::string& chosen,
                             const std::string& rejected) {
  return Json{{"prompt", prompt}, {"chosen", chosen}, {"rejected", rejected}}.dump() + "\n";
}

/// Comparisons on seven preference pairs, evaluated on three others.
struct PairComparisons : Comparisons {
  PairComparisons() {
    format = "preference";
    write_file(data, pair_line("!(", "u.p.l.e", "e") + pair_line("the", "e f u", "u u") +
                         pair_line("Q", "l/p u", "t") + pair_line("zz", "e", "l l e") +
                         pair_line("%", "u% %e", "u") + pair_line("a b", "l u t e", "p") +
                         pair_line("then", "u", "e t"));
    write_file(evaluation,
               pair_line("x", "e u", "l") + pair_line("y", "p", "t t") + pair_line("the", "l e", "e"));
  }
};
