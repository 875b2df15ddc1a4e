// SPDX-License-Identifier: MIT
#include "report/report.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "report_fixture.hpp"

using namespace eso_program;
using namespace report_fixture;

namespace {

std::string metric_line(int step, bool active) {
  json line = {{"step", step},     {"epoch", step / 10.0},  {"loss", 3.0 - 0.01 * step}, {"loss/sft", 2.9},
               {"grad_norm", 1.5}, {"learning_rate", 1e-4}, {"num_tokens", 100 * step},  {"step_time", 0.5},
               {"active", active}};
  if (active) {
    line.update({{"loss/eso", 0.1},
                 {"reward", 0.25},
                 {"reward_std", 0.1},
                 {"entropy", 2.5},
                 {"completions/mean_length", 11},
                 {"completions/min_length", 3},
                 {"completions/max_length", 24}});
  }
  return line.dump() + "\n";
}

/// Nothing in the page is fetched from anywhere or run.
void check_self_contained(const std::string& page) {
  for (const char* part : {"http:", "https:", " src=", "@import", "url(", "<script", "<link", "<iframe",
                           " href=", "javascript:"}) {
    INFO(part);
    CHECK_FALSE(contains(page, part));
  }
  CHECK(contains(page, "default-src 'none'"));
  CHECK(page.starts_with("<!DOCTYPE html>"));
  CHECK(page.ends_with("</html>\n"));
  for (const char* element :
       {"svg", "div", "section", "figure", "table", "tbody", "details", "ul", "g", "span"}) {
    INFO(element);
    const std::string name = element;
    const std::size_t opened = count_of(page, "<" + name + ">") + count_of(page, "<" + name + " ");
    CHECK(opened == count_of(page, "</" + name + ">"));
  }
}

}  // namespace

TEST_CASE("a run's page holds its figures and stands alone") {
  const Folder folder("run");
  folder.write("config.toml", "# a run\nmethod = \"eso\"\nmodel = \"models/<b>tiny</b>\"\n");
  std::string metrics;
  std::string completions;
  for (int step = 1; step <= 60; ++step) {
    metrics += metric_line(step, step > 40);
    if (step <= 40) continue;
    completions += completion_line(step, 7, 0, "</div><script>alert(1)</script>", 0.5);
    completions += completion_line(step, 7, 1, "", 0.1);
  }
  folder.write("metrics.jsonl", metrics);
  folder.write("completions.jsonl", completions);
  const std::string page = run_report(folder.path);
  check_self_contained(page);
  CHECK(contains(page, "Training with eso"));
  CHECK(contains(page, "models/&lt;b&gt;tiny&lt;/b&gt;"));
  CHECK(contains(page, "eso active"));
  CHECK(contains(page, "Gradient norm"));
  CHECK(contains(page, "&lt;script&gt;alert(1)"));
  CHECK(contains(page, "+30.0"));  // the advantage of reward .5
  CHECK(contains(page, "Step 41"));
  CHECK(contains(page, "Step 60"));
  CHECK(contains(page, "(empty)"));
  CHECK_FALSE(contains(page, "nan"));
}

TEST_CASE("a run without samples, with nulls or without steps has a page") {
  const Folder folder("sparse");
  folder.write("metrics.jsonl",
               "{\"step\":1,\"loss\":null,\"active\":false}\n\n{\"step\":2,\"loss\":2.5,\"note\":\"x\"}\n");
  const std::string sparse = run_report(folder.path);
  check_self_contained(sparse);
  CHECK(contains(sparse, "Training run"));
  CHECK_FALSE(contains(sparse, "Sampled responses"));
  CHECK_FALSE(contains(sparse, "Reward of the samples"));

  const Folder fresh("fresh");
  fresh.write("config.toml", "method = 'sft'\n");
  CHECK(contains(run_report(fresh.path), "No step has been logged yet"));
  const Folder empty("empty");
  CHECK(contains(what_of([&] { run_report(empty.path); }), "neither config.toml nor metrics.jsonl"));
}

TEST_CASE("a run's evaluation is shown where it exists") {
  const Folder folder("evaluated");
  folder.write("config.toml", "method = \"eso\"\n");
  folder.write(
      "eval.json",
      json{{"examples", 500}, {"nll", 3.254}, {"results", {result(1, 0.218, 2.3), result(0, 0.3, 2.3)}}}
          .dump());
  const std::string page = run_report(folder.path);
  check_self_contained(page);
  CHECK(contains(page, "21.8"));
  CHECK(contains(page, "3.254 nats a reference token"));
}

TEST_CASE("a broken line is named with its file and number") {
  const Folder folder("broken");
  folder.write("metrics.jsonl", metric_line(1, false) + "\n{\"step\": 2, \"lo\n");
  const std::string path = (folder.path / "metrics.jsonl").string();
  CHECK(what_of([&] { run_report(folder.path); }) == path + ":3: not a JSON object");
  folder.write("metrics.jsonl", "{\"step\":1,\"loss\":\"low\"}\n");
  CHECK(contains(what_of([&] { run_report(folder.path); }), path + ":1: field \"loss\", found string"));
  folder.write("metrics.jsonl", "{\"loss\":1}\n");
  CHECK(contains(what_of([&] { run_report(folder.path); }), path + ":1: no number \"step\""));
  folder.write("metrics.jsonl", metric_line(1, true));
  folder.write("completions.jsonl", completion_line(1, 0, 0, "a", 0.1) + "\xFF\n");
  CHECK(contains(what_of([&] { run_report(folder.path); }), "completions.jsonl:2: not a JSON object"));
}

TEST_CASE("a comparison's page shows its sections in order and stands alone") {
  const Folder folder("comparison");
  const std::string name = "arm \"<b>\" & co";
  json arm = arm_with(0.218, 0.30, 2.34, {paired(1, 0.04, 0.076), paired(0, 0.01, 0.05)});
  arm["curve"] = {{{{"temperature", 1}, {"rougeL", 0.218}, {"entropy", 2.34}},
                   {{"temperature", 0.5}, {"rougeL", 0.28}, {"entropy", 0.8}}}};
  arm["runs"] = {"arm/seed-0"};
  json value = comparison_with(arm);
  value["methods"][name] = value["methods"]["arm"];
  value["methods"].erase("arm");
  value["order"] = {"SFT", name};
  const json answer = {{"greedy", {{"text", "a <i>text</i>"}, {"rougeL", 0.4}}},
                       {"sampled", {{"text", ""}, {"rougeL", nullptr}}}};
  value["examples"] = {
      {{"example", 3}, {"prompt", "</section>"}, {"reference", "r"}, {"responses", {{name, answer}}}}};
  folder.write("comparison.json", value.dump());
  std::string metrics;
  std::string completions;
  for (int step = 1; step <= 5; ++step) {
    metrics += metric_line(step, true);
    completions += completion_line(step, 0, 0, "x", 0.3);
  }
  folder.write("arm/seed-0/metrics.jsonl", metrics);
  folder.write("arm/seed-0/completions.jsonl", completions);
  const std::string page = comparison_report(folder.path);
  check_self_contained(page);
  CHECK_FALSE(contains(page, name));
  CHECK(contains(page, "arm &quot;&lt;b&gt;&quot; &amp; co"));
  std::size_t last = 0;
  for (const char* id : {"scores", "curves", "streams", "examples", "table", "settings"}) {
    const std::size_t at = page.find("<section id=\"" + std::string(id) + "\"");
    INFO(id);
    REQUIRE(at != std::string::npos);
    CHECK(at > last);
    last = at;
  }
  CHECK(contains(page, "+5.8 (+4.0 to +7.6)"));
  CHECK(contains(page, "first 12 words: 30.0"));
  CHECK_FALSE(contains(page, "nan"));
}

TEST_CASE("the streams of a page tell greedy baselines from samples and leave references out") {
  const Folder folder("streams");
  const auto line = [](int step, const char* kind, int sample, const json& temperature,
                       const json& advantage) {
    json one = json::parse(completion_line(step, 0, sample, "x", 0.3));
    one["kind"] = kind;
    one["temperature"] = temperature;
    one["advantage"] = advantage;
    if (std::string(kind) == "reference") one["finish"] = nullptr;
    return one.dump() + "\n";
  };
  json value = comparison_with(arm_with(0.2, 0.3, 2.3, {paired(1, 0.04, 0.07)}));
  value["methods"]["arm"]["runs"] = {"drl"};
  value["methods"]["SFT"]["runs"] = {"rrhf"};
  std::string metrics, drl, rrhf;
  for (int step = 1; step <= 3; ++step) {
    metrics += metric_line(step, true);
    drl += line(step, "sample", 0, 1, 0.1) + line(step, "greedy", 0, 0, nullptr);
    rrhf += line(step, "sample", 0, 0.5, 0.1) + line(step, "sample", 1, 2, -0.1) +
            line(step, "reference", 2, nullptr, nullptr);
  }
  for (const char* run : {"drl", "rrhf"}) {
    folder.write(run + std::string("/config.toml"), "method = \"" + std::string(run) + "\"\n");
    folder.write(run + std::string("/metrics.jsonl"), metrics);
    folder.write(run + std::string("/completions.jsonl"), std::string(run) == "drl" ? drl : rrhf);
  }
  folder.write("comparison.json", value.dump());
  const std::string page = comparison_report(folder.path);
  check_self_contained(page);
  CHECK(contains(page, "<i></i>greedy"));
  for (const char* stream : {"T=0.5", "T=1", "T=2"}) CHECK(contains(page, "<i></i>" + std::string(stream)));
  CHECK(contains(page, "Not all arms sample at the same temperatures"));
  CHECK_FALSE(contains(page, "nan"));

  const std::string of_drl = run_report(folder.path / "drl");
  check_self_contained(of_drl);
  CHECK(contains(of_drl, "better than the greedy response"));
  CHECK(contains(of_drl, ">greedy<"));
  const std::string of_rrhf = run_report(folder.path / "rrhf");
  CHECK(contains(of_rrhf, "better than the mean of the prompt"));
  CHECK(contains(of_rrhf, ">reference<"));
  CHECK_FALSE(contains(of_rrhf, "nan"));
}

TEST_CASE("a comparison survives missing parts and refuses runs outside its directory") {
  const Folder folder("bare");
  folder.write("comparison.json", json{{"methods", {{"a", json::object()}}}, {"lead", nullptr}}.dump());
  check_self_contained(comparison_report(folder.path));
  folder.write("comparison.json", json{{"methods", json::object()}}.dump());
  check_self_contained(comparison_report(folder.path));
  for (const char* run : {"../other", "/etc", "a/../../b"}) {
    folder.write("comparison.json", json{{"methods", {{"a", {{"runs", {run}}}}}}}.dump());
    CHECK(contains(what_of([&] { comparison_report(folder.path); }), "a run outside the directory"));
  }
  folder.write("comparison.json", "{");
  CHECK(contains(what_of([&] { comparison_report(folder.path); }), "comparison.json"));
}
