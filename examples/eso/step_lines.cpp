// SPDX-License-Identifier: MIT
#include "step_lines.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace eso_program {

std::string sample_table(const eso::Step& step, const eso::ByteLevelBpe& tokenizer) {
  const auto shown = [](std::string text, std::size_t width) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
    if (text.size() <= width) return text;
    std::size_t end = width;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return text.substr(0, end) + "...";
  };
  const eso::Example& example = *step.examples.front();
  std::string text =
      fmt::format("  step {}, example {}: {}\n    reference      {}", step.number, example.number,
                  shown(example.prompt_text, 70), shown(example.reference, 70));
  for (const eso::Response& response : step.batch.responses) {
    if (response.prompt != 0 || (response.kind != eso::Kind::sample && response.kind != eso::Kind::greedy))
      continue;
    text += fmt::format("\n    T {:<4} {:.3f}  {}", response.temperature, response.reward,
                        shown(tokenizer.decode(response.tokens, true), 70));
  }
  return text;
}

std::string news_of(const eso::Step& step, std::int64_t left_out) {
  std::string news = fmt::format("loss {:.3f}", step.loss);
  if (std::isfinite(step.reward)) news += fmt::format("  reward {:.3f}", step.reward);
  if (!step.updated) news += fmt::format("  not finite, left out ({} so far)", left_out);
  return news;
}

}  // namespace eso_program
