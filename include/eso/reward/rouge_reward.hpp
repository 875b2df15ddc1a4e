// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

#include "eso/concepts.hpp"
#include "eso/reward/rouge.hpp"

namespace eso {

/// ROUGE F1 in [0, 1] of a response against its example's reference: the reward of the ESO paper.
///
/// The response is decoded without special tokens and stripped at both ends, as the reference was.
template <Tokenizer T>
struct RougeReward {
  const T* tokenizer = nullptr;
  RougeVariant variant = RougeVariant::rougeL;
  bool stemmer = true;

  double operator()(const Response& response, const Example& example) const {
    const std::string text = tokenizer->decode(response.tokens, true);
    const RougeScores scores = Rouge{stemmer}(example.reference, strip(text));
    switch (variant) {
      case RougeVariant::rouge1:
        return scores.rouge1.f1;
      case RougeVariant::rouge2:
        return scores.rouge2.f1;
      case RougeVariant::rougeL:
        break;
    }
    return scores.rougeL.f1;
  }
};

}  // namespace eso
