// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// A batch as one block of rows, a row a token that is fed to the model: each prompt once, then its responses
/// one after the other, each without its last token (nothing is predicted from it).
///
///     rows of a prompt:  p_0 ... p_{m-1} | a_1 ... a_{n-1} | b_1 ... b_{k-1} | ...
///     positions          0   ... m-1       m ...             m ...
///
/// The row before a response's first token is the last of its prompt, so one row may predict the first tokens
/// of all the prompt's responses.
struct Packing {
  /// Consecutive rows of a prompt or of a response.
  struct Segment {
    Index begin = 0, end = 0;
    Index size() const { return end - begin; }
  };
  /// A prompt's rows and those of its responses, which follow it directly.
  struct Group {
    Segment prompt;
    std::vector<Segment> responses;
    Index end = 0;
  };
  /// Something a row predicts: token `token` at (response, position) of the log-probabilities.
  struct Target {
    Index row = 0;  ///< of `head_rows`
    TokenId token = 0;
    Index response = 0, position = 0;
  };

  Tokens tokens;                 ///< a row's token
  std::vector<Index> positions;  ///< a row's position in its text
  std::vector<Group> groups;     ///< P
  std::vector<Index> head_rows;  ///< rows whose next token is asked for, ascending
  std::vector<Target> targets;   ///< ordered by `row`

  Index rows() const { return static_cast<Index>(tokens.size()); }
};

/// Packs a checked batch. O(tokens).
inline Packing pack(const Batch& batch) {
  Packing packing;
  std::vector<std::vector<Index>> responses_of(batch.prompts.size());
  for (Index n = 0; n < batch.response_count(); ++n) {
    responses_of[static_cast<std::size_t>(batch.response(n).prompt)].push_back(n);
  }
  const auto add_row = [&](TokenId token, Index position) {
    packing.tokens.push_back(token);
    packing.positions.push_back(position);
  };
  const auto add_target = [&](Index row, Index n, Index t) {
    if (packing.head_rows.empty() || packing.head_rows.back() != row) packing.head_rows.push_back(row);
    packing.targets.push_back({static_cast<Index>(packing.head_rows.size()) - 1,
                               batch.response(n).tokens[static_cast<std::size_t>(t)], n, t});
  };
  for (std::size_t p = 0; p < batch.prompts.size(); ++p) {
    Packing::Group group;
    group.prompt.begin = packing.rows();
    for (const TokenId token : batch.prompts[p].tokens) add_row(token, packing.rows() - group.prompt.begin);
    group.prompt.end = packing.rows();
    for (const Index n : responses_of[p]) add_target(group.prompt.end - 1, n, 0);
    for (const Index n : responses_of[p]) {
      const Tokens& tokens = batch.response(n).tokens;
      Packing::Segment segment{packing.rows(), packing.rows()};
      for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
        add_row(tokens[t], group.prompt.size() + static_cast<Index>(t));
        add_target(packing.rows() - 1, n, static_cast<Index>(t) + 1);
      }
      segment.end = packing.rows();
      if (segment.size() > 0) group.responses.push_back(segment);
    }
    group.end = packing.rows();
    packing.groups.push_back(std::move(group));
  }
  return packing;
}

/// Packs prompts alone; every prompt's last row is a head row.
inline Packing pack(std::span<const Prompt> prompts) {
  Packing packing;
  for (const Prompt& prompt : prompts) {
    Packing::Group group;
    group.prompt.begin = packing.rows();
    for (std::size_t t = 0; t < prompt.tokens.size(); ++t) {
      packing.tokens.push_back(prompt.tokens[t]);
      packing.positions.push_back(static_cast<Index>(t));
    }
    group.prompt.end = group.end = packing.rows();
    packing.head_rows.push_back(group.end - 1);
    packing.groups.push_back(std::move(group));
  }
  return packing;
}

}  // namespace eso
