// SPDX-License-Identifier: MIT
#include "report/html.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/frame.hpp"
#include "report/numbers.hpp"
#include "report/plot.hpp"
#include "report/records.hpp"
#include "report/reward_unit.hpp"
#include "report/run_plots.hpp"
#include "report/scale.hpp"
#include "report/series.hpp"
#include "report_fixture.hpp"

using namespace eso_program;
using namespace report_fixture;

TEST_CASE("hostile text cannot leave its element") {
  CHECK(escape("<script>alert('1')</script> & \"x\"") ==
        "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;");
}

TEST_CASE("control characters and reordering marks become visible") {
  CHECK(escape(std::string("a\0b", 3)) == "a␀b");
  CHECK(escape("a\x1b[31m\tb\nc\x7f") == "a␛[31m\tb\nc␡");
  CHECK(escape("a\xE2\x80\xAE"
               "b\xE2\x81\xA6") == "a[U+202E]b[U+2066]");
  CHECK(escape("שלום é 漢 😀") == "שלום é 漢 😀");
}

TEST_CASE("malformed UTF-8 becomes the replacement character, byte by byte") {
  CHECK(escape("a\xFF"
               "b") ==
        "a\xEF\xBF\xBD"
        "b");
  CHECK(escape("\xC3") == "\xEF\xBF\xBD");                                  // cut off
  CHECK(escape("\xC0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD");                  // NUL in two bytes
  CHECK(escape("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  CHECK(count_of(escape("\xF5\x80\x80\x80"), "\xEF\xBF\xBD") == 4);         // above U+10FFFF
}

TEST_CASE("cutting keeps characters whole") {
  CHECK(cut("aé漢", 3) == "aé漢");
  CHECK(cut("aé漢", 2) == "aé…");
  CHECK(cut("", 2).empty());
}

TEST_CASE("numbers are written for people") {
  CHECK(fixed(-0.04, 1) == "0.0");
  CHECK(fixed(-1.25, 2) == "−1.25");
  CHECK(fixed(missing, 1) == "–");
  CHECK(with_sign(5.81, 1) == "+5.8");
  CHECK(with_sign(-0.3, 1) == "−0.3");
  CHECK(with_sign(0.001, 1) == "0.0");
  CHECK(compact(750) == "750");
  CHECK(compact(18234) == "18.2k");
  CHECK(compact(7.4e6) == "7.40M");
  CHECK(duration(75) == "75 s");
  CHECK(duration(3600) == "60 min 00 s");
  CHECK(duration(12000) == "3 h 20 min");
  CHECK(decoding_name(0) == "greedy");
  CHECK(decoding_name(0.5) == "T=0.5");
}

TEST_CASE("ticks are round numbers inside the range") {
  CHECK(nice_ticks({0, 10}, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  const TickLabels small = labelled_ticks({0, 5e-4}, 5);
  CHECK(small.unit == "×10⁻⁴");
  CHECK(small.labels == std::vector<std::string>{"0", "1", "2", "3", "4", "5"});
  const TickLabels steps = labelled_ticks({1, 12000}, 4);
  CHECK(steps.labels.back() == "12k");
  CHECK(nice_ticks({-1e308, 1e308}, 5).empty());  // a width that no double holds
}

TEST_CASE("ranges of nothing, of one value and of outliers") {
  CHECK(range_of({}).high == 1);
  const std::vector<double> same{3, 3, missing};
  CHECK(range_of(same).low < 3);
  CHECK(range_of(same).high > 3);
  std::vector<double> values(500, 1.0);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += 0.001 * static_cast<double>(i % 100);
  values[40] = 1000;
  CHECK(robust_range_of(values).high < 2);
}

TEST_CASE("a long series is thinned to bucket means with their extremes") {
  std::vector<double> x;
  std::vector<double> y;
  for (int i = 0; i < 1250; ++i) {
    x.push_back(i);
    y.push_back(i % 3);
  }
  const Thinned result = thin(x, y, 500);
  CHECK(result.bucket == 3);
  CHECK(result.x.size() == 417);  // 416 buckets of 3 and one of 2
  CHECK(result.x[1] == Approx(4));
  CHECK(result.mean[1] == Approx(1));
  CHECK(result.low[1] == 0);
  CHECK(result.high[1] == 2);
  CHECK(result.mean.back() == Approx(0.5));
}

TEST_CASE("missing values do not enter the thinned means") {
  const std::vector<double> x{1, 2, 3, 4};
  const std::vector<double> y{missing, 4, missing, missing};
  const Thinned result = thin(x, y, 2);
  CHECK(result.mean[0] == 4);
  CHECK(std::isnan(result.mean[1]));
  CHECK(thin({}, {}, 5).mean.empty());
}

TEST_CASE("moving means keep the ends and the gaps") {
  const std::vector<double> y{1, 2, 6, missing, 4};
  const std::vector<double> means = moving_mean(y, 3);
  CHECK(means[0] == Approx(1.5));
  CHECK(means[1] == Approx(3));
  CHECK(means[2] == Approx(4));  // 2 and 6
  CHECK(std::isnan(means[3]));
  CHECK(means[4] == Approx(4));
}

TEST_CASE("labels that would overlap are moved apart inside their range") {
  const std::vector<double> placed = spread({50, 52, 51}, 10, 0, 65);
  CHECK(placed[0] == Approx(45));
  CHECK(placed[2] == Approx(55));
  CHECK(placed[1] == Approx(65));
}

TEST_CASE("a gap breaks the line and a lone value stays visible") {
  Frame frame;
  frame.x = {0, 4};
  frame.y = {0, 1};
  const std::string path = path_data(frame, {0, 1, 2, 3, 4}, {0, 1, missing, 0.5, missing});
  CHECK(count_of(path, "M") == 2);
  CHECK(contains(path, "h0.1"));
  CHECK(draw({.title = "t", .unit = "", .note = "", .curves = {{.name = "a", .x = {1}, .y = {missing}}}})
            .empty());
}

TEST_CASE("a long run's curves have at most 500 points") {
  Metrics metrics;
  for (int step = 1; step <= 12345; ++step) {
    metrics.step.push_back(step);
    metrics.active.push_back(false);
    metrics.columns["loss"].push_back(2 + 0.1 * (step % 7));
  }
  const Curve curve = metric_curve(metrics, "loss", "loss", "k1");
  CHECK(curve.x.size() <= 500);
  CHECK(curve.x.size() >= 450);
  CHECK(curve.low.size() == curve.x.size());
  CHECK(std::isnan(first_active_step(metrics)));
  metrics.active[9] = true;
  CHECK(first_active_step(metrics) == 10);
}

TEST_CASE("rewards are indexed by step and sample stream") {
  const Folder folder("index");
  folder.write("completions.jsonl", completion_line(1, 0, 0, "a", 0.2) + completion_line(1, 1, 0, "b", 0.4) +
                                        completion_line(1, 0, 1, "c", 0.9) +
                                        completion_line(2, 5, 0, "d", 0.6));
  const auto path = folder.path / "completions.jsonl";
  const CompletionIndex index = index_completions(path);
  REQUIRE(index.streams.size() == 2);
  CHECK(index.streams[0].step == std::vector<double>{1, 2});
  CHECK(index.streams[0].reward[0] == Approx(0.3));  // .2 and .4
  CHECK(index.streams[0].reward[1] == 0.6);
  CHECK(index.streams[1].step == std::vector<double>{1});
  REQUIRE(index.steps.size() == 2);
  const std::vector<Completion> second = read_completions(path, index.steps[1], 3);
  REQUIRE(second.size() == 1);
  CHECK(second[0].response == "d");
  CHECK(read_completions(path, index.steps[0], 1).size() == 2);  // both samples of example 0
}

TEST_CASE("values are found in a configuration") {
  const std::string text =
      "# method = \"no\"\nmodel-name = \"x\"\nmethod = \"e\\\"so\" # why\nseed = 3\n[table]\nmodel = "
      "\"no\"\n";
  CHECK(toml_value(text, "method") == "e\"so");
  CHECK(toml_value(text, "seed") == "3");
  CHECK(toml_value(text, "model").empty());
  CHECK(reward_unit("reward = \"model:DIR\"").factor == 1);
  CHECK(reward_unit("reward = \"rouge2\"").name == "ROUGE-2 × 100");
}
