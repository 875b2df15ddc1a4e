// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eso/data/example.hpp"
#include "eso/data/formats.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "flags.hpp"

namespace eso_program {

/// What a command reads of the data.
enum class DataPart { all, training, testing };

/// The flags that say how files of examples are read, beside their format.
struct DataFlags {
  std::string answers, xsum_template = "alpaca", hh_split = "strict", test_split, bad_rows = "drop";

  void add_to(FlagSet& set);
  /// \throws eso::Error (input) naming the flag that is no good or does not go with the format.
  void check(const std::string& format) const;
  /// The examples of a part of the files; what is left out is told of. Without `--test-split` every part is
  /// the whole. A signal that was noted ends it.
  eso::TextExamples read(const std::vector<std::string>& data, const std::string& format,
                         DataPart part) const;
};

/// The first `count` of them, before any limit of length: `--examples`; 0: all.
void keep_first(std::vector<eso::TextExample>& texts, std::int64_t count);

/// Which reference texts figures are about, `{"file", "crc32"}`; null if `file` is empty: they stand in the
/// data.
nlohmann::ordered_json answers_record(const std::string& file);

/// Limits of length for `tokenised`.
struct LengthLimits {
  std::int64_t max_prompt_tokens, max_response_tokens, context;
  std::string overflow;           ///< `--prompt-overflow`: skip or truncate
  std::string bad_rows = "drop";  ///< `--bad-rows`: drop or refuse
};

/// \throws eso::Error (input) naming `flag` unless it is skip or truncate.
void check_overflow(const char* flag, const std::string& overflow);

/// The texts as ids; what is left out or cut is told of, each line behind `title`. Rows that were left out as
/// texts are counted with those that are left out here. A signal that was noted ends it.
///
/// \throws eso::Error (input) naming `file` and the limits if nothing is left.
eso::Tokenised tokenised(const eso::TextExamples& texts, const eso::ByteLevelBpe& tokenizer,
                         std::optional<eso::TokenId> eos, const LengthLimits& limits, const std::string& file,
                         const std::string& title = {});

/// What was taken, left out and cut: `{"examples", "cut_responses", ..}`.
nlohmann::ordered_json data_counts(const eso::Tokenised& data);
/// The same as a comment for `config.toml`, one line.
std::string data_comment(const eso::Tokenised& data);

}  // namespace eso_program
