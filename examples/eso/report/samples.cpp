// SPDX-License-Identifier: MIT
#include "report/samples.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.hpp"
#include "report/numbers.hpp"

namespace eso_program {
namespace {

constexpr std::size_t most_steps = 6;
constexpr std::size_t examples_a_step = 2;
constexpr std::size_t most_samples = 16;

/// The places of at most `most_steps` steps, evenly from the first to the last.
std::vector<CompletionIndex::Step> chosen_steps(const CompletionIndex& index) {
  std::vector<CompletionIndex::Step> out;
  const std::size_t count = std::min(index.steps.size(), most_steps);
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(index.steps[count == 1 ? 0 : i * (index.steps.size() - 1) / (count - 1)]);
  }
  return out;
}

std::string kind_words(const Completion& response) {
  if (response.kind == "reference" || response.kind == "greedy") return response.kind;
  const std::string decoding = response.temperature == 0 ? "greedy" : decoding_name(response.temperature);
  return fmt::format("sample {} · {}", compact(response.sample + 1), decoding);
}

std::string heading_of(const Completion& response, const RewardUnit& unit) {
  std::string out = fmt::format("<span class=\"who\">{}</span>", escape(kind_words(response)));
  if (std::isfinite(response.reward)) {
    out +=
        fmt::format(" <span class=\"score\">{}</span>", fixed(unit.factor * response.reward, unit.decimals));
  }
  if (std::isfinite(response.advantage)) {
    out += fmt::format(" <span class=\"advantage\" title=\"advantage\">{}</span>",
                       with_sign(unit.factor * response.advantage, unit.decimals));
  }
  if (std::isfinite(response.tokens)) {
    const std::string end = response.finish == "length" ? ", cut" : "";
    out += fmt::format(" <span class=\"size\">{}{}</span>", counted(response.tokens, "token"), end);
  }
  return out;
}

std::string example_block(const std::vector<const Completion*>& responses, double largest,
                          const RewardUnit& unit) {
  std::string out = fmt::format(
      "<div class=\"example\"><div class=\"given\"><div class=\"part\"><h4>Prompt</h4>{}</div><div "
      "class=\"part\">"
      "<h4>Reference</h4>{}</div></div><div class=\"cards\">",
      quoted(responses.front()->prompt, 420), quoted(responses.front()->reference, 600));
  for (std::size_t i = 0; i < responses.size() && i < most_samples; ++i) {
    const Completion& response = *responses[i];
    out += response_card(heading_of(response, unit), response.response, response.advantage / largest);
  }
  out += "</div>";
  if (responses.size() > most_samples) {
    out += fmt::format("<p class=\"note\">{} more responses in completions.jsonl.</p>",
                       responses.size() - most_samples);
  }
  return out + "</div>\n";
}

}  // namespace

std::string response_card(const std::string& heading, const std::string& text, double share) {
  std::string tint;
  if (std::isfinite(share)) {
    tint = fmt::format(" style=\"--tint:var(--{});--share:{:.0f}%\"", share < 0 ? "worse" : "better",
                       100 * std::min(std::abs(share), 1.0));
  }
  return fmt::format("<div class=\"card\"{}><div class=\"about\">{}</div>{}</div>", tint, heading,
                     quoted(text, 600));
}

std::string sampled_responses(const std::filesystem::path& completions, const CompletionIndex& index,
                              const RewardUnit& unit) {
  std::vector<std::vector<Completion>> steps;
  double largest = 0;
  for (const CompletionIndex::Step& step : chosen_steps(index)) {
    steps.push_back(read_completions(completions, step, examples_a_step));
    for (const Completion& response : steps.back())
      largest = std::fmax(largest, std::abs(response.advantage));
  }
  std::string out;
  for (const std::vector<Completion>& responses : steps) {
    if (responses.empty()) continue;
    out += fmt::format("<h3 class=\"step\">Step {}</h3>\n", compact(responses.front().step));
    for (std::size_t first = 0; first < responses.size();) {
      std::vector<const Completion*> same;
      const double example = responses[first].example;
      for (; first < responses.size() && responses[first].example == example; ++first)
        same.push_back(&responses[first]);
      out += example_block(same, largest > 0 ? largest : 1, unit);
    }
  }
  return out;
}

}  // namespace eso_program
