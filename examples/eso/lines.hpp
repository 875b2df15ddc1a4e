// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>

#include "eso/data/json_lines.hpp"
#include "model_folder.hpp"

namespace eso_program {

// What the commands share that answer JSON lines of standard input.

/// Standard input. From here on SIGINT and SIGTERM end the program at once, with 128 + n.
std::istream& standard_input();

/// The ids of the line's field `NAME_ids`, or those of the text in the field `NAME`.
///
/// \throws eso::Error (input) with the line's place if neither is there or usable, an id lies outside the
///         vocabulary, or text is given and the folder has no tokenizer.
eso::Tokens read_tokens(const eso::JsonLines& line, const std::string& name, const ModelFolder& folder);

/// Whether the line gives ids for this field, which are taken as they are.
bool gives_ids(const eso::JsonLines& line, const std::string& name);

/// The same for a prompt, which must have a token and leave room for `room` more in the context.
eso::Tokens read_prompt(const eso::JsonLines& line, const ModelFolder& folder, eso::Index room);

/// The end of sequence, nothing where the model has none. \throws eso::Error (input) naming config.json if it
/// lies outside the vocabulary.
std::optional<eso::TokenId> checked_end_of_sequence(const AnyModel& model);

/// The end of sequence. \throws eso::Error (input) also if there is none; `without` goes on in "expected an
/// id".
eso::TokenId needed_end_of_sequence(const AnyModel& model, const char* without);

/// What `--stats FILE` tells: how long a call took and what it computed.
class Stats {
 public:
  /// Begins to measure; an empty path writes nothing. \throws eso::Error (input) if `path` cannot be written
  /// to, or is a file of the model in the folder `model`, standard input or standard output.
  Stats(std::string path, const std::string& model);

  void loaded() { loaded_ = Clock::now(); }
  /// Writes the file.
  void write() const;

  std::int64_t prompt_tokens = 0, response_tokens = 0;

 private:
  using Clock = std::chrono::steady_clock;

  std::string path_;
  Clock::time_point start_ = Clock::now(), loaded_ = start_;
};

}  // namespace eso_program
