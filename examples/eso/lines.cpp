// SPDX-License-Identifier: MIT
#include "lines.hpp"

#include <unistd.h>

#include <cerrno>
#include <istream>
#include <streambuf>
#include <system_error>
#include <utility>
#include <vector>

#include "eso/train/durable_file.hpp"
#include "model_flags.hpp"
#include "program.hpp"

namespace eso_program {
namespace {

void leave(int signal) { ::_exit(128 + signal); }

/// Standard input with what a call of the system has ready, a large block if there is one.
class StandardInput final : public std::streambuf {
 protected:
  int_type underflow() override {
    ssize_t size = 0;
    do {
      size = ::read(STDIN_FILENO, buffer_.data(), buffer_.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0)
      throw std::ios_base::failure("standard input", std::error_code(errno, std::system_category()));
    if (size == 0) return traits_type::eof();
    setg(buffer_.data(), buffer_.data(), buffer_.data() + size);
    return traits_type::to_int_type(buffer_.front());
  }

 private:
  std::vector<char> buffer_ = std::vector<char>(256 * 1024);
};

}  // namespace

std::istream& standard_input() {
  handle_signals(leave);
  static StandardInput bytes;
  static std::istream stream(&bytes);
  return stream;
}

bool gives_ids(const eso::JsonLines& line, const std::string& name) { return !line.lacks(name + "_ids"); }

eso::Tokens read_tokens(const eso::JsonLines& line, const std::string& name, const ModelFolder& folder) {
  const bool as_ids = gives_ids(line, name);
  if (!as_ids && !line.has(name)) {
    throw eso::input_error(line.where(), fmt::format("fields \"{0}\" and \"{0}_ids\" are missing", name));
  }
  if (!as_ids && !folder.tokenizer) {
    throw eso::input_error(
        line.where(),
        fmt::format("field \"{}\" is text, but {} has no tokenizer", name, folder.model.folder().string()),
        {}, fmt::format("\"{}_ids\"", name));
  }
  eso::Tokens tokens = as_ids ? line.ids(name + "_ids") : folder.tokenizer->encode(line.string(name));
  for (const eso::TokenId id : tokens) {
    if (id < folder.model.vocabulary_size()) continue;
    throw eso::input_error(line.where(), fmt::format("the {} has an id outside the vocabulary", name),
                           fmt::format("{}", id), fmt::format("0 to {}", folder.model.vocabulary_size() - 1));
  }
  return tokens;
}

eso::Tokens read_prompt(const eso::JsonLines& line, const ModelFolder& folder, eso::Index room) {
  eso::Tokens tokens = read_tokens(line, "prompt", folder);
  if (tokens.empty()) throw eso::input_error(line.where(), "the prompt is empty");
  const eso::Index most = folder.model.context_length() - room;
  if (static_cast<eso::Index>(tokens.size()) > most) {
    throw eso::input_error(line.where(), "the prompt leaves no room for a response in the context",
                           fmt::format("{} tokens", tokens.size()), fmt::format("at most {}", most));
  }
  return tokens;
}

std::optional<eso::TokenId> checked_end_of_sequence(const AnyModel& model) {
  const std::optional<eso::TokenId> eos = model.end_of_sequence();
  if (!eos || *eos < model.vocabulary_size()) return eos;
  throw eso::input_error((model.folder() / "config.json").string(),
                         "\"eos_token_id\" lies outside the vocabulary", fmt::format("{}", *eos),
                         fmt::format("0 to {}", model.vocabulary_size() - 1));
}

eso::TokenId needed_end_of_sequence(const AnyModel& model, const char* without) {
  if (const auto eos = checked_end_of_sequence(model)) return *eos;
  throw eso::input_error((model.folder() / "config.json").string(),
                         "\"eos_token_id\" names no end of sequence, and one is needed", "null",
                         fmt::format("an id{}", without));
}

Stats::Stats(std::string path, const std::string& model) : path_(std::move(path)) {
  if (path_.empty()) return;
  check_output_file("--stats", path_);
  check_spares_model("--stats", path_, model);
  check_spares("--stats", path_, "standard input", {"/dev/stdin"});
  check_spares("--stats", path_, "standard output", {"/dev/stdout"});
}

void Stats::write() const {
  if (path_.empty()) return;
  const auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
  const Clock::time_point end = Clock::now();
  const nlohmann::ordered_json stats{{"load_time", seconds(loaded_ - start_)},
                                     {"run_time", seconds(end - loaded_)},
                                     {"total_time", seconds(end - start_)},
                                     {"prompt_tokens", prompt_tokens},
                                     {"response_tokens", response_tokens}};
  eso::write_durably(path_, stats.dump() + "\n");
}

}  // namespace eso_program
