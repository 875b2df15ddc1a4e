// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <filesystem>
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
