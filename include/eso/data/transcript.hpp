// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "eso/error.hpp"
#include "eso/text/utf8.hpp"

namespace eso {

/// What introduces a turn of the assistant in a transcript of HH-RLHF.
inline constexpr std::string_view assistant_turn = "\n\nAssistant:";

/// How two transcripts become a prompt with two responses.
enum class TranscriptSplit {
  strict,      ///< each after its last assistant turn; where the texts before them differ there is no pair
  dpo_compat,  ///< both where the chosen one has its last assistant turn, as the code of DPO cuts them
};

/// Where the response of a transcript begins: behind the last "\n\nAssistant:". `name` is what an error calls
/// the text.
///
/// \throws Error (input) if the transcript has no assistant turn.
inline std::size_t response_begin(std::string_view transcript, std::string_view name,
                                  std::string_view where) {
  const std::size_t at = transcript.rfind(assistant_turn);
  if (at == std::string_view::npos) {
    throw input_error(std::string(where), fmt::format("\"{}\" has no assistant turn", name), {},
                      "a transcript with \"\\n\\nAssistant:\"");
  }
  return at + assistant_turn.size();
}

/// A transcript pair cut into one prompt and two responses, views into the texts that were given. The prompt
/// ends with "Assistant:", so the responses of the published files begin with a space.
struct TranscriptPair {
  std::string_view prompt, chosen, rejected;
  bool same_prompt = true;  ///< whether both transcripts begin with the prompt and answer it alone
};

/// Cuts `chosen` and `rejected` by `split`. With `dpo_compat` nothing about `rejected` is looked at: it loses
/// as many characters as the prompt has, whatever they are.
///
/// Source: Rafailov et al. 2023, `preference_datasets.py` of their code, for `dpo_compat`; `strict` is ours.
///
/// \throws Error (input) at `where` if `chosen`, or with `strict` either, has no assistant turn.
inline TranscriptPair split_transcripts(std::string_view chosen, std::string_view rejected,
                                        TranscriptSplit split, std::string_view where) {
  const std::size_t begin = response_begin(chosen, "chosen", where);
  TranscriptPair pair{.prompt = chosen.substr(0, begin), .chosen = chosen.substr(begin), .rejected = {}};
  if (split == TranscriptSplit::strict) {
    pair.rejected = rejected.substr(response_begin(rejected, "rejected", where));
    pair.same_prompt = rejected.substr(0, rejected.size() - pair.rejected.size()) == pair.prompt;
  } else {
    std::size_t at = 0, behind = 0;
    while (at < begin && behind < rejected.size()) {
      at += decode_utf8(chosen, at).length;
      behind += decode_utf8(rejected, behind).length;
    }
    pair.rejected = rejected.substr(behind);
  }
  return pair;
}

}  // namespace eso
