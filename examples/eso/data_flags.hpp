// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eso/data/example.hpp"
#include "eso/text/byte_level_bpe.hpp"
#include "flags.hpp"

namespace eso_program {

/// What a command reads of the data.
enum class DataPart { all, training, testing };

/// The flags that say how files of examples are read, beside their format.
struct DataFlags {
  std::string answers, xsum_template = "alpaca", hh_split = "strict", test_split;

  void add_to(FlagSet& set);
  /// \throws eso::Error (input) naming the flag that is no good or does not go with the format.
  void check(const std::string& format) const;
  /// The examples of a part of the files; what is left out is told of. Without `--test-split` every part is
  /// the whole.
  std::vector<eso::TextExample> read(const std::vector<std::string>& data, const std::string& format,
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
  std::string overflow;  ///< `--prompt-overflow`: skip or truncate
};

/// \throws eso::Error (input) naming `flag` unless it is skip or truncate.
void check_overflow(const char* flag, const std::string& overflow);

/// The texts as ids; what is left out or cut is told of, each line behind `title`.
///
/// \throws eso::Error (input) naming `file` if nothing is left.
std::vector<eso::Example> tokenised(const std::vector<eso::TextExample>& texts,
                                    const eso::ByteLevelBpe& tokenizer, std::optional<eso::TokenId> eos,
                                    const LengthLimits& limits, const std::string& file,
                                    const std::string& title = {});

}  // namespace eso_program
