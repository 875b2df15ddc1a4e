// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "eso/data/json_lines.hpp"
#include "eso/reward/rouge.hpp"
#include "flags.hpp"
#include "lines.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

/// The lines of the input that are at hand.
struct Block {
  std::string text;
  std::vector<std::size_t> ends;     // of the lines in the text
  std::vector<std::size_t> numbers;  // of the lines in the input

  std::exception_ptr failure;  // of the line behind them

  /// Waits for one line at least; false if this is the last block.
  bool read(eso::LineReader& lines) {
    text.clear(), ends.clear(), numbers.clear();
    try {
      do {
        const auto line = lines.next();
        if (!line) return false;
        text.append(*line);
        ends.push_back(text.size());
        numbers.push_back(lines.number());
      } while (lines.ready());
      return true;
    } catch (...) {
      failure = std::current_exception();
      return false;
    }
  }

  std::string_view line(std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
};

/// Answers the lines of a share of a block.
class Worker {
 public:
  explicit Worker(bool stemmer) : rouge_{stemmer} {}

  std::string answers;
  std::exception_ptr failure;  // of the line behind those answered

  void answer(const Block& block, std::size_t begin, std::size_t end, const std::string& name) {
    answers.clear();
    try {
      for (std::size_t i = begin; i < end; ++i) {
        if (!line_.read(block.line(i), name, block.numbers[i])) continue;
        const std::string target = line_.string("target"), prediction = line_.string("prediction");
        const eso::RougeScores scores = rouge_(target, prediction, &stems_);
        const nlohmann::ordered_json answer{
            {"rouge1", scores.rouge1.f1}, {"rouge2", scores.rouge2.f1}, {"rougeL", scores.rougeL.f1}};
        answers.append(answer.dump()).append("\n");
      }
    } catch (...) {
      failure = std::current_exception();
    }
  }

 private:
  eso::Rouge rouge_;
  eso::JsonLine line_;
  eso::StemCache stems_;
};

void rouge(bool stemmer, std::int64_t thread_count) {
  const auto threads = make_threads(thread_count);
  std::vector<Worker> workers(static_cast<std::size_t>(threads->count()), Worker(stemmer));
  Output output;
  eso::LineReader lines(standard_input());
  const auto answer = [&](const Block& block) {
    const std::size_t count = block.ends.size(), shares = std::min(workers.size(), count);
    threads->for_each(static_cast<eso::Index>(shares), [&](eso::Index share) {
      const auto w = static_cast<std::size_t>(share);
      workers[w].answer(block, count * w / shares, count * (w + 1) / shares, lines.name());
    });
    for (std::size_t w = 0; w < shares; ++w) {
      output.text(workers[w].answers);
      if (workers[w].failure) std::rethrow_exception(workers[w].failure);
    }
    if (block.failure) std::rethrow_exception(block.failure);
  };
  Block block;
  for (bool more = true; more;) {
    more = block.read(lines);
    answer(block);
  }
  output.flush();
}

}  // namespace

Command add_rouge(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "rouge",
      "JSON lines {\"target\", \"prediction\"} in, {\"rouge1\", \"rouge2\", \"rougeL\"} out: F1 in [0, 1]");
  struct State {
    bool stemmer = false;
    std::int64_t threads = 0;
    std::unique_ptr<FlagSet> set;
  };
  auto state = std::make_shared<State>();
  state->set = std::make_unique<FlagSet>(*command);
  state->set->add_switch("stemmer", state->stemmer, "compare Porter stems instead of words");
  state->set->add("threads", state->threads, "threads that compute; 0: all processors");
  return [state] {
    state->set->read_config();
    rouge(state->stemmer, state->threads);
  };
}

}  // namespace eso_program
