// SPDX-License-Identifier: MIT
#include "report/findings.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "report/comparison.hpp"
#include "report/html.hpp"
#include "report/report.hpp"
#include "report_fixture.hpp"

using namespace eso_program;
using namespace report_fixture;

namespace {

Effect effect_of_arm(const json& arm) {
  const Comparison comparison = read_comparison(comparison_with(arm), "test");
  return effect_of(comparison.arms[1], comparison);
}

std::string findings_of(const json& arm) {
  std::string out;
  for (const Finding& finding : score_findings(read_comparison(comparison_with(arm), "test"))) {
    out += finding.tag + "| " + finding.text + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("an arm better under every decoding improves") {
  const json arm = arm_with(0.218, 0.30, 2.34, {paired(1, 0.04, 0.07), paired(0, 0.01, 0.05)});
  CHECK(effect_of_arm(arm) == Effect::improves);
  const std::string text = findings_of(arm);
  CHECK(contains(text, "is better than <b>SFT</b> under every decoding: +5.5 at T=1 and +3.0 greedy"));
  CHECK(contains(text, "Greedy decoding keeps 3.0 of the 5.5 points."));
  CHECK(contains(text, "falls: 2.34 nats a token against 2.74"));
  CHECK_FALSE(contains(text, "sharpen"));
}

TEST_CASE("a gain that greedy decoding does not show is sharpening only where the entropy fell") {
  const std::vector<json> differences{paired(1, 0.04, 0.07), paired(0, -0.01, 0.02)};
  CHECK(effect_of_arm(arm_with(0.22, 0.275, 1.5, differences)) == Effect::sharpens);
  CHECK(effect_of_arm(arm_with(0.22, 0.275, 2.7, differences)) == Effect::samples);
  CHECK(contains(findings_of(arm_with(0.22, 0.275, 1.5, differences)), "sharpening"));
  CHECK_FALSE(contains(findings_of(arm_with(0.22, 0.275, 2.7, differences)), "sharpening"));
  const std::vector<json> loses{paired(1, 0.04, 0.07), paired(0, -0.03, -0.01)};
  CHECK(contains(findings_of(arm_with(0.22, 0.25, 1.5, loses)), "but loses under greedy"));
}

TEST_CASE("an arm is called worse or unclear only by its intervals") {
  CHECK(effect_of_arm(arm_with(0.13, 0.27, 3.8, {paired(1, -0.04, -0.02), paired(0, -0.01, 0.01)})) ==
        Effect::hurts);
  CHECK(effect_of_arm(arm_with(0.19, 0.29, 2.7, {paired(1, -0.01, 0.07), paired(0, -0.01, 0.05)})) ==
        Effect::unclear);
  CHECK(effect_of_arm(arm_with(0.13, 0.29, 3.8, {paired(1, -0.04, -0.02), paired(0, 0.01, 0.03)})) ==
        Effect::mixed);
  CHECK(effect_of_arm(method(0.2, 0.3, 2)) == Effect::unknown);
}

TEST_CASE("the control sentence follows the numbers") {
  const json below = arm_with(0.22, 0.30, 2, {});
  CHECK(contains(findings_of(below),
                 "<b>SFT</b> decoded greedily reaches 27.0: above every other method sampled at T=1"));
  const json above = arm_with(0.28, 0.30, 2, {});
  CHECK(contains(findings_of(above), "sampled at T=1, <b>arm</b> (28.0) reaches or passes that"));
  CHECK(contains(findings_of(above), "moves <b>SFT</b> by +11.0 points"));
}

TEST_CASE("the lead sentence names who reaches it") {
  CHECK(contains(findings_of(arm_with(0.22, 0.301, 2, {})),
                 "scores 30.0: reached by <b>arm</b> greedy (30.1)."));
  CHECK(contains(findings_of(arm_with(0.22, 0.299, 2, {})), "no method here reaches it"));
}

TEST_CASE("the curve sentence compares at equal entropy") {
  // SFT's line from (0, .27) to (2.74, .16): at 1.37 nats it scores .215.
  const auto place = [](double score) {
    json value = comparison_with(arm_with(score, 0.3, 1.37, {paired(1, 0.01, 0.03)}));
    value["methods"]["SFT"]["curve"] = {{{{"temperature", 1}, {"rougeL", 0.16}, {"entropy", 2.74}},
                                         {{"temperature", 0}, {"rougeL", 0.27}, {"entropy", 2.74}}}};
    value["methods"]["arm"]["curve"] = {{{{"temperature", 1}, {"rougeL", score}, {"entropy", 1.37}}}};
    return curve_findings(read_comparison(value, "test")).at(0);
  };
  CHECK(place(0.25).tag == "above");
  CHECK(contains(place(0.25).text, "At 1.37 nats a token"));
  CHECK(contains(place(0.25).text,
                 "scores 25.0 and <b>SFT</b> 21.5: +3.5 points, better at the same certainty"));
  CHECK(place(0.22).tag == "along");
  CHECK(place(0.17).tag == "below");
}

TEST_CASE("a curve is interpolated inside its entropies and nowhere else") {
  const std::vector<CurvePoint> curve{{1, 0.1, 2}, {0.5, 0.2, 1}};
  CHECK(interpolated(curve, 1.25) == Approx(0.175));
  CHECK(interpolated(curve, 2) == Approx(0.1));
  CHECK(std::isnan(interpolated(curve, 2.5)));
}

TEST_CASE("figures are averaged over training seeds with their standard deviation") {
  json value = comparison_with(arm_with(0.2, 0.3, 2, {}));
  json second = value["methods"]["arm"]["eval"][0];
  second["results"][0]["rougeL"]["mean"] = 0.24;
  value["methods"]["arm"]["eval"].push_back(second);
  const Comparison comparison = read_comparison(value, "test");
  const Figure both = figure_at(comparison.arms[1], 1, &TemperatureResult::rouge_l);
  CHECK(both.mean == Approx(0.22));
  CHECK(both.std == Approx(0.04 / std::sqrt(2.0)));
  const Figure single = figure_at(comparison.arms[0], 1, &TemperatureResult::rouge_l);
  CHECK(single.std == Approx(0.002));  // over sampling seeds
  CHECK(comparison.temperatures() == std::vector<double>{1, 0});
}

TEST_CASE("the table is aligned, narrow and complete") {
  json value = comparison_with(arm_with(0.218, 0.30, 2.34, {paired(1, 0.04, 0.076), paired(0, 0.01, 0.05)}));
  const std::string long_name = "a method whose name is much longer than any table can hold, with é";
  value["methods"][long_name] = value["methods"]["arm"];
  value["order"].push_back(long_name);
  const std::string table = comparison_table(value);
  INFO(table);
  CHECK(contains(table, "arm"));
  CHECK(contains(table, "21.8±0.2  +5.8±0.9"));
  CHECK(contains(table, "first 12 words"));
  CHECK(contains(table, "T=1"));
  CHECK(contains(table, "greedy"));
  CHECK(contains(table, "103"));
  std::istringstream lines(table);
  std::vector<std::string> rows;
  for (std::string line; std::getline(lines, line);) {
    CHECK(length_of(line) <= 110);
    rows.push_back(line);
  }
  REQUIRE(rows.size() > 5);
  // The point after the first score stands in one column for all rows.
  CHECK(length_of(rows[2].substr(0, rows[2].find("16.0"))) ==
        length_of(rows[3].substr(0, rows[3].find("21.8"))));
}

TEST_CASE("a table of many temperatures is broken into blocks") {
  json value = comparison_with(arm_with(0.2, 0.3, 2, {}));
  for (const auto& [name, unused] : value["methods"].items()) {
    for (int i = 2; i < 14; ++i) value["methods"][name]["eval"][0]["results"].push_back(result(i, 0.1, 3));
  }
  std::istringstream lines(comparison_table(value));
  std::size_t blocks = 0;
  for (std::string line; std::getline(lines, line);) {
    CHECK(length_of(line) <= 110);
    blocks += line.starts_with("method") ? 1 : 0;
  }
  CHECK(blocks == 2);
}

TEST_CASE("a comparison of the wrong shape is refused with its place") {
  CHECK(contains(what_of([] { comparison_table(json::array()); }), "comparison"));
  CHECK(contains(what_of([] { comparison_table(json::object()); }), "methods"));
  json value = comparison_with(method(0.2, 0.3, 2));
  value["order"].push_back("nobody");
  CHECK(contains(what_of([&] { comparison_table(value); }), "nobody"));
  value = comparison_with(method(0.2, 0.3, 2));
  value["methods"]["arm"]["eval"][0]["results"][0]["rougeL"]["mean"] = "high";
  CHECK(contains(what_of([&] { comparison_table(value); }), "method \"arm\": field \"mean\", found string"));
}
