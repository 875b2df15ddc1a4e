// SPDX-License-Identifier: MIT
#include "report/paper_figures.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "report/report.hpp"
#include "report_fixture.hpp"

using namespace eso_program;
using namespace report_fixture;

namespace {

/// SFT and an arm of ESO, evaluated on a format.
json comparison_on(const char* format) {
  json value = comparison_with(arm_with(0.218, 0.30, 2.34, {paired(1, 0.04, 0.07), paired(0, 0.01, 0.05)}));
  value["methods"]["SFT"]["method"] = "sft";
  value["settings"]["evaluation_format"] = format;
  return value;
}

}  // namespace

TEST_CASE("the paper's tables are there whole") {
  // Table 1: two models on two data sets, five methods; table 2: one model on two.
  CHECK(paper_figures("dolly").size() == 10);
  CHECK(paper_figures("xsum").size() == 10);
  CHECK(paper_figures("self-instruct").size() == 5);
  CHECK(paper_figures("vicuna").size() == 5);
  for (const char* format : {"debsum", "hh", "preference", "prompt-response", "text", ""})
    CHECK(paper_figures(format).empty());
  double sum = 0;
  for (const char* format : {"dolly", "xsum", "self-instruct", "vicuna"}) {
    for (const PaperFigure& row : paper_figures(format)) {
      CHECK(row.format == format);
      CHECK(row.rouge_1 > row.rouge_l);
      CHECK(row.rouge_l > row.rouge_2);
      sum += row.rouge_1 + row.rouge_2 + row.rouge_l;
    }
  }
  CHECK(sum == Approx(1864.53));  // of the 90 figures, added up from the reference by a script
}

TEST_CASE("the gains of ESO over SFT are those that the paper states") {
  // Section 4: +4.34 ROUGE-L on Dolly and +4.33 on XSum with GPT-2; +2.95 and +3.30 with OPT.
  const auto gain_of = [](const char* format, const std::string& model) {
    const Comparison comparison = read_comparison(comparison_on(format), "test");
    for (const BesidePaper& line : beside_paper(comparison)) {
      if (line.model == model && line.method == "eso") return line.gain;
    }
    return missing;
  };
  CHECK(gain_of("dolly", "GPT-2-medium") == Approx(4.34));
  CHECK(gain_of("xsum", "GPT-2-medium") == Approx(4.33));
  CHECK(gain_of("dolly", "OPT-350m") == Approx(2.95));
  CHECK(gain_of("xsum", "OPT-350m") == Approx(3.30));
  CHECK(gain_of("self-instruct", "GPT-2-medium") == Approx(2.34));
  CHECK(gain_of("vicuna", "GPT-2-medium") == Approx(2.16));
  CHECK(std::isnan(gain_of("vicuna", "OPT-350m")));
}

TEST_CASE("arms stand below the paper's rows of their method, sampled at temperature 1") {
  const Comparison comparison = read_comparison(comparison_on("dolly"), "test");
  const std::vector<BesidePaper> lines = beside_paper(comparison);
  REQUIRE(lines.size() == 12);  // ten of the paper, SFT and the arm
  CHECK(lines[0].model == "GPT-2-medium");
  CHECK(lines[1].model == "OPT-350m");
  CHECK(lines[2].arm == "SFT");
  CHECK(lines[2].rouge_l.mean == Approx(16.0));
  CHECK(lines[2].rouge_1.mean == Approx(18.0));
  CHECK(lines[2].gain == 0);
  CHECK(lines[3].method == "unlike");
  CHECK(lines.back().arm == "arm");
  CHECK(lines.back().gain == Approx(5.8));
  json without = comparison_on("dolly");
  without["methods"]["SFT"]["method"] = "rrhf";  // a gain over another baseline is none over SFT
  CHECK(std::isnan(beside_paper(read_comparison(without, "test")).back().gain));
  CHECK(beside_paper(read_comparison(comparison_on("debsum"), "test")).empty());
}

TEST_CASE("table and page hold the paper's figures where the data set is the paper's") {
  const std::string table = comparison_table(comparison_on("xsum"));
  CHECK(contains(table, "the paper, OPT-350m"));
  CHECK(contains(table, "here, arm"));
  CHECK(contains(table, "31.79"));
  CHECK(contains(table, "compare the gains"));
  CHECK_FALSE(contains(comparison_table(comparison_on("debsum")), "the paper"));
  const Folder folder("paper");
  folder.write("comparison.json", comparison_on("xsum").dump());
  const std::string page = comparison_report(folder.path);
  CHECK(contains(page, "6. Beside the paper"));
  CHECK(contains(page, "7. Settings"));
  CHECK(contains(page, "39.31"));
  CHECK(count_of(page, "<tbody>") == count_of(page, "</tbody>"));
  CHECK(count_of(page, "<tr>") + count_of(page, "<tr ") == count_of(page, "</tr>"));
  folder.write("comparison.json", comparison_on("debsum").dump());
  const std::string other = comparison_report(folder.path);
  CHECK_FALSE(contains(other, "the paper"));
  CHECK(contains(other, "6. Settings"));
}

TEST_CASE("the table marks a difference whose interval excludes zero, and no other") {
  const std::string table = comparison_table(
      comparison_with(arm_with(0.17, 0.26, 2.7, {paired(1, 0.004, 0.016), paired(0, -0.03, 0.01)})));
  CHECK(contains(table, "+1.0±0.3*"));
  CHECK(contains(table, "−1.0±1.0 "));
  CHECK(contains(comparison_table(comparison_with(arm_with(0.15, 0.26, 2.7, {paired(1, -0.016, -0.004)}))),
                 "−1.0±0.3*"));
}
