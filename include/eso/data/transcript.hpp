// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "eso/text/utf8.hpp"

namespace eso {

/// What introduces a turn of the assistant in a transcript of HH-RLHF.
inline constexpr std::string_view assistant_turn = "\n\nAssistant:";

/// How two transcripts become a prompt with two responses.
enum class TranscriptSplit {
  strict,      ///< each after its last assistant turn; where the texts before them differ there is no pair
  dpo_compat,  ///< both where the chosen one has its last assistant turn, as the code of DPO cuts them
};

/// Where the response of a transcript begins: behind the last "\n\nAssistant:". Nothing if it has none.
inline std::optional<std::size_t> response_begin(std::string_view transcript) {
  const std::size_t at = transcript.rfind(assistant_turn);
  if (at == std::string_view::npos) return std::nullopt;
  return at + assistant_turn.size();
}

/// A transcript pair cut into one prompt and two responses, views into the texts that were given. The prompt
/// ends with "Assistant:", so the responses of the published files begin with a space.
struct TranscriptPair {
  std::string_view prompt, chosen, rejected;
  bool answered = true;     ///< whether there is an assistant turn; if not there are no texts either
  bool same_prompt = true;  ///< whether both transcripts begin with the prompt and answer it alone
};

/// Cuts `chosen` and `rejected` by `split`. They are not answered if `chosen`, or with `strict` either, has
/// no assistant turn. With `dpo_compat` nothing about `rejected` is looked at: it loses as many characters as
/// the prompt has, whatever they are.
///
/// Source: Rafailov et al. 2023, `preference_datasets.py` of their code, for `dpo_compat`; `strict` is ours.
inline TranscriptPair split_transcripts(std::string_view chosen, std::string_view rejected,
                                        TranscriptSplit split) {
  const bool strict = split == TranscriptSplit::strict;
  const auto begin = response_begin(chosen), other = strict ? response_begin(rejected) : begin;
  if (!begin || !other) return {.prompt = {}, .chosen = {}, .rejected = {}, .answered = false};
  TranscriptPair pair{.prompt = chosen.substr(0, *begin), .chosen = chosen.substr(*begin), .rejected = {}};
  if (strict) {
    pair.rejected = rejected.substr(*other);
    pair.same_prompt = rejected.substr(0, *other) == pair.prompt;
  } else {
    std::size_t at = 0, behind = 0;
    while (at < *begin && behind < rejected.size()) {
      at += decode_utf8(chosen, at).length;
      behind += decode_utf8(rejected, behind).length;
    }
    pair.rejected = rejected.substr(behind);
  }
  return pair;
}

}  // namespace eso
