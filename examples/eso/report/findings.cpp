// SPDX-License-Identifier: MIT
#include "report/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/html.hpp"

namespace eso_program {
namespace {

std::string strong(const std::string& name) { return "<b>" + escape(cut(name, 60)) + "</b>"; }
std::string points(double value) { return fixed(100 * value, 1); }
std::string signed_points(double value) { return with_sign(100 * value, 1); }

/// "at T=1" or "greedy", as it follows a number.
std::string where_words(double temperature) {
  return (temperature == 0 ? "" : "at ") + decoding_name(temperature);
}

/// "a", "a and b", "a, b and c".
std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    out += i == 0 ? "" : i + 1 == words.size() ? " and " : ", ";
    out += words[i];
  }
  return out;
}

std::string all_differences(const Arm& arm, const std::vector<double>& temperatures) {
  std::vector<std::string> words;
  for (const double temperature : temperatures) {
    const auto paired = paired_at(arm, temperature);
    if (paired) words.push_back(signed_points(paired->difference) + " " + where_words(temperature));
  }
  return joined(words);
}

double entropy_at(const Arm* arm, double temperature) {
  return arm == nullptr ? missing : figure_at(*arm, temperature, &TemperatureResult::entropy).mean;
}

std::string entropy_words(const Arm& arm, const Comparison& comparison, double hottest) {
  const double before = entropy_at(comparison.baseline_arm(), hottest);
  const double after = entropy_at(&arm, hottest);
  if (!std::isfinite(before) || !std::isfinite(after)) return {};
  const double change = after / before - 1;
  const char* verb = change < -0.02 ? "falls" : change > 0.02 ? "rises" : "hardly moves";
  return fmt::format(" Entropy at {} {}: {} nats a token against {}.", decoding_name(hottest), verb,
                     fixed(after, 2), fixed(before, 2));
}

const char* greedy_words(const Arm& arm) {
  const auto greedy = paired_at(arm, 0);
  return greedy && greedy->high < 0 ? "but loses" : "but not clearly";
}

/// How much of the gain at the hottest temperature greedy decoding keeps.
std::string kept_words(const Arm& arm, double hottest) {
  const auto hot = paired_at(arm, hottest);
  const auto greedy = paired_at(arm, 0);
  if (!hot || !greedy || hottest == 0 || hot->difference <= 0 || greedy->difference <= 0) return {};
  if (greedy->difference >= hot->difference) return " Greedy decoding keeps the whole gain.";
  return fmt::format(" Greedy decoding keeps {} of the {} points.", points(greedy->difference),
                     points(hot->difference));
}

Finding finding_of(const Arm& arm, const Comparison& comparison) {
  const std::vector<double> temperatures = comparison.temperatures();
  const double hottest = temperatures.empty() ? missing : temperatures.front();
  const std::string name = strong(arm.name);
  const std::string base = strong(comparison.baseline_name());
  const std::string differences = all_differences(arm, temperatures);
  const std::string entropy = entropy_words(arm, comparison, hottest);
  if (arm.never_on) {
    return {
        "never on", "bad",
        fmt::format("The runs of {} ended before its method began: its figures say nothing of the method.",
                    name)};
  }
  switch (effect_of(arm, comparison)) {
    case Effect::improves:
      return {"improves", "good",
              fmt::format("{} is better than {} under every decoding: {}.{}{}", name, base, differences,
                          kept_words(arm, hottest), entropy)};
    case Effect::sharpens:
      return {
          "sharpens", "part",
          fmt::format("{} gains when sampled {} under greedy decoding: {}.{} A gain of this shape is "
                      "largely sharpening: a lower decoding temperature gives much of it without training.",
                      name, greedy_words(arm), differences, entropy)};
    case Effect::samples:
      return {"better sampled", "part",
              fmt::format("{} gains when sampled but not clearly under greedy decoding: {}.{}", name,
                          differences, entropy)};
    case Effect::hurts:
      return {"worse", "bad",
              fmt::format("{} is worse than {} at these settings: {}.{}", name, base, differences, entropy)};
    case Effect::unclear:
      return {"no clear change", "plain",
              fmt::format("{} cannot be told from {} here: {}; every interval includes zero.", name, base,
                          differences)};
    case Effect::mixed:
      return {"mixed", "plain",
              fmt::format("{} against {} depends on the decoding: {}.{}", name, base, differences, entropy)};
    case Effect::unknown:
      break;
  }
  return {"no intervals", "plain", fmt::format("{} has no paired differences to judge by.", name)};
}

/// The arm with the highest ROUGE-L at a temperature, the baseline left out where `others_only`.
const Arm* best_at(const Comparison& comparison, double temperature, bool others_only) {
  const Arm* best = nullptr;
  double highest = missing;
  for (const Arm& arm : comparison.arms) {
    if (others_only && &arm == comparison.baseline_arm()) continue;
    const double score = figure_at(arm, temperature, &TemperatureResult::rouge_l).mean;
    if (!std::isfinite(score) || score <= highest) continue;
    best = &arm;
    highest = score;
  }
  return best;
}

/// Where the baseline decoded greedily stands against the others sampled hottest.
std::vector<Finding> greedy_control(const Comparison& comparison, double hottest) {
  const Arm* baseline = comparison.baseline_arm();
  if (baseline == nullptr || !(hottest > 0)) return {};
  const double greedy = figure_at(*baseline, 0, &TemperatureResult::rouge_l).mean;
  const double sampled = figure_at(*baseline, hottest, &TemperatureResult::rouge_l).mean;
  const Arm* best = best_at(comparison, hottest, true);
  if (!std::isfinite(greedy) || best == nullptr) return {};
  const double best_score = figure_at(*best, hottest, &TemperatureResult::rouge_l).mean;
  const std::string base = strong(baseline->name);
  const std::string hot = decoding_name(hottest);
  std::string text;
  if (greedy > best_score) {
    text = fmt::format(
        "{} decoded greedily reaches {}: above every other method sampled at {} (the best is {} with {}).",
        base, points(greedy), hot, strong(best->name), points(best_score));
  } else {
    std::vector<std::string> above;
    for (const Arm& arm : comparison.arms) {
      const double score = figure_at(arm, hottest, &TemperatureResult::rouge_l).mean;
      if (&arm != baseline && score >= greedy) above.push_back(strong(arm.name) + " (" + points(score) + ")");
    }
    text = fmt::format("{} decoded greedily reaches {}; sampled at {}, {} {} that.", base, points(greedy),
                       hot, joined(above), above.size() == 1 ? "reaches or passes" : "reach or pass");
  }
  if (std::isfinite(sampled)) {
    text += fmt::format(" Decoding alone, without any training, moves {} by {} points.", base,
                        signed_points(greedy - sampled));
  }
  return {{"decoding", "plain", text}};
}

std::vector<Finding> lead_finding(const Comparison& comparison) {
  if (!comparison.lead || !std::isfinite(comparison.lead->rouge_l)) return {};
  const double lead = comparison.lead->rouge_l;
  const std::vector<double> temperatures = comparison.temperatures();
  std::vector<std::string> reached;
  for (const Arm& arm : comparison.arms) {
    for (const double temperature : temperatures) {
      const double score = figure_at(arm, temperature, &TemperatureResult::rouge_l).mean;
      if (score < lead || !std::isfinite(score)) continue;
      reached.push_back(
          fmt::format("{} {} ({})", strong(arm.name), decoding_name(temperature), points(score)));
    }
  }
  const std::string start =
      fmt::format("Copying the first {} words of the document scores {}: ", compact(comparison.lead->words),
                  points(lead));
  const std::string end =
      reached.empty() ? "no method here reaches it." : "reached by " + joined(reached) + ".";
  return {{"lead baseline", "plain", start + end}};
}

CurvePoint hottest_of(const std::vector<CurvePoint>& curve) {
  return *std::max_element(curve.begin(), curve.end(), [](const CurvePoint& a, const CurvePoint& b) {
    return a.temperature < b.temperature;
  });
}

}  // namespace

Effect effect_of(const Arm& arm, const Comparison& comparison) {
  std::size_t better = 0;
  std::size_t worse = 0;
  std::size_t judged = 0;
  double hottest = 0;
  for (const Paired& paired : arm.paired) {
    if (!std::isfinite(paired.low) || !std::isfinite(paired.high) || !std::isfinite(paired.temperature))
      continue;
    ++judged;
    better += paired.low > 0 ? 1 : 0;
    worse += paired.high < 0 ? 1 : 0;
    hottest = std::max(hottest, paired.temperature);
  }
  if (judged == 0) return Effect::unknown;
  if (better == judged) return Effect::improves;
  if (better + worse == 0) return Effect::unclear;
  if (better == 0) return Effect::hurts;
  const auto hot = paired_at(arm, hottest);
  const auto greedy = paired_at(arm, 0);
  const bool only_sampled = hottest > 0 && hot && hot->low > 0 && greedy && !(greedy->low > 0);
  if (!only_sampled) return Effect::mixed;
  const double before = entropy_at(comparison.baseline_arm(), hottest);
  const bool sharper = entropy_at(&arm, hottest) < 0.9 * before;
  if (sharper) return Effect::sharpens;
  return worse == 0 ? Effect::samples : Effect::mixed;
}

std::vector<Finding> score_findings(const Comparison& comparison) {
  std::vector<Finding> out;
  for (const Arm& arm : comparison.arms) {
    if (arm.never_on || (&arm != comparison.baseline_arm() && comparison.baseline))
      out.push_back(finding_of(arm, comparison));
  }
  const std::vector<double> temperatures = comparison.temperatures();
  for (auto& finding : greedy_control(comparison, temperatures.empty() ? missing : temperatures.front())) {
    out.push_back(std::move(finding));
  }
  for (auto& finding : lead_finding(comparison)) out.push_back(std::move(finding));
  return out;
}

std::vector<Finding> curve_findings(const Comparison& comparison) {
  std::vector<Finding> out;
  if (!comparison.baseline) return out;
  const std::vector<CurvePoint> base = mean_curve(*comparison.baseline_arm());
  for (const Arm& arm : comparison.arms) {
    const std::vector<CurvePoint> curve = mean_curve(arm);
    if (&arm == comparison.baseline_arm() || curve.empty() || base.empty()) continue;
    const double entropy = std::min(hottest_of(curve).entropy, hottest_of(base).entropy);
    const double score = interpolated(curve, entropy);
    const double expected = interpolated(base, entropy);
    if (!std::isfinite(score) || !std::isfinite(expected)) {
      out.push_back({"apart", "plain",
                     fmt::format("{} and {} reach no common entropy.", strong(arm.name),
                                 strong(comparison.baseline_name()))});
      continue;
    }
    const double gain = score - expected;
    const auto paired = paired_at(arm, hottest_of(curve).temperature);
    const double noise = std::max(
        0.005, paired && std::isfinite(paired->standard_error) ? 1.96 * paired->standard_error : 0.0);
    const char* place = gain > noise ? "above" : gain < -noise ? "below" : "along";
    const char* style = gain > noise ? "good" : gain < -noise ? "bad" : "part";
    const char* meaning = gain > noise ? "better at the same certainty, which sharpening alone does not give"
                          : gain < -noise ? "worse at the same certainty"
                                          : "no more than a change of temperature would do, within the noise";
    out.push_back(
        {place, style,
         fmt::format("At {} nats a token, the most that both reach, {} scores {} and {} {}: {} points, {}.",
                     fixed(entropy, 2), strong(arm.name), points(score), strong(comparison.baseline_name()),
                     points(expected), signed_points(gain), meaning)});
  }
  return out;
}

std::string headline(const Comparison& comparison) {
  const std::vector<double> temperatures = comparison.temperatures();
  if (temperatures.empty()) return "This comparison holds no evaluation yet.";
  const double hottest = temperatures.front();
  const Arm* best = best_at(comparison, hottest, false);
  if (best == nullptr) return "This comparison holds no ROUGE-L score.";
  const double score = figure_at(*best, hottest, &TemperatureResult::rouge_l).mean;
  std::string text = fmt::format("Decoded at {}, {} has the highest ROUGE-L: {}", decoding_name(hottest),
                                 cut(best->name, 60), points(score));
  const auto paired = paired_at(*best, hottest);
  if (paired) {
    const bool above = paired->difference >= 0;
    text += fmt::format(", {} points {} {}", points(std::abs(paired->difference)), above ? "above" : "below",
                        cut(comparison.baseline_name(), 60));
    if (std::isfinite(paired->low) && std::isfinite(paired->high)) {
      text +=
          fmt::format(" (95 % interval {} to {})", signed_points(paired->low), signed_points(paired->high));
    }
  }
  return text + ".";
}

}  // namespace eso_program
