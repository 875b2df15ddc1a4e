// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cstdlib>

#include "run_program.hpp"

namespace {

using Words = std::vector<std::string>;

/// What `eso train --plan` says for a folder that has no weights.
Finished planned(const std::string& model, const Words& more, const std::function<void()>& prepare = {}) {
  TemporaryFolder folder;
  std::filesystem::copy_file(golden_model(model) + "/config.json", folder / "config.json");
  Words words{"train", "--plan", "--model", folder.path().string()};
  words.insert(words.end(), more.begin(), more.end());
  Finished finished = program(words, {}, prepare);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files += entry.exists();
  CHECK(files == 1);
  return finished;
}

nlohmann::json plan_of(const std::string& model, const Words& more,
                       const std::function<void()>& prepare = {}) {
  const Finished finished = planned(model, more, prepare);
  INFO(finished.err);
  REQUIRE(finished.code == 0);
  REQUIRE(finished.lines().size() == 1);
  CHECK(finished.err.find("GiB") != std::string::npos);
  return finished.lines().front();
}

}  // namespace

TEST_CASE("train --plan tells parameters, memory and work from config.json alone") {
  for (const std::string& model : models_of_all_families) {
    for (const char* backend : {"eigen", "torch"}) {
      INFO(model << " " << backend);
      const nlohmann::json plan = plan_of(model, {"--backend", backend, "--method", "eso"});
      CHECK(plan["backend"] == backend);
      CHECK(plan["parameters"] == plan["trained_parameters"]);
      double most = 0, shares = 0;
      for (const auto& [phase, bytes] : plan["bytes"]["phases"].items()) {
        double sum = 0;
        for (const auto& [part, value] : bytes.items()) sum += part == "total" ? 0 : value.get<double>();
        CHECK(sum == Approx(bytes["total"].get<double>()).epsilon(1e-12));
        most = std::max(most, bytes["total"].get<double>());
      }
      CHECK(plan["bytes"]["total"] == most);
      CHECK(plan["bytes"]["phases"][plan["bytes"]["phase"].get<std::string>()]["total"] == most);
      for (const auto& [part, share] : plan["flop_shares"].items()) shares += share.get<double>();
      CHECK(shares == Approx(1));
    }
  }
}

TEST_CASE("train --plan counts the largest batch that the flags and the context let through") {
  // a context of 20
  nlohmann::json batch = plan_of("plain", {"--method", "eso"})["batch"];
  CHECK(batch["prompt_tokens"] == 1);
  CHECK(batch["response_tokens"] == 19);
  CHECK(batch["responses"] == 5);
  batch =
      plan_of("plain", {"--method", "eso", "--max-prompt-tokens", "7", "--max-response-tokens", "5",
                        "--temperatures", "1,1", "--batch-size", "6", "--micro-batch-size", "2"})["batch"];
  CHECK(batch["rows"] == 6 * (7 + 3 * 4));
  CHECK(batch["micro_batch_rows"] == 2 * (7 + 3 * 4));
  CHECK(batch["micro_batch_head_rows"] == 2 * (1 + 3 * 4));
  CHECK(plan_of("plain", {"--method", "sft"})["batch"]["responses"] == 1);
  CHECK(plan_of("plain", {"--method", "drl"})["batch"]["responses"] == 3);
  CHECK(plan_of("plain", {"--method", "dpo"})["batch"]["responses"] == 2);
  batch = plan_of("plain", {"--method", "pretrain"})["batch"];
  CHECK(batch["prompt_tokens"] == 1);
  CHECK(batch["response_tokens"] == 19);
  CHECK(plan_of("plain", {"--method", "pretrain", "--window-tokens", "8"})["batch"]["rows"] == 16 * 7);
}

TEST_CASE("train --plan knows what a flag saves") {
  const auto bytes = [](const Words& more, const char* phase, const char* part,
                        const std::function<void()>& prepare = {}) {
    Words words{"--backend", "torch", "--method", "eso"};
    words.insert(words.end(), more.begin(), more.end());
    return plan_of("opt/before", words, prepare)["bytes"]["phases"][phase][part].get<double>();
  };
  const double moments = bytes({}, "update", "moments"), weights = bytes({}, "update", "weights");
  CHECK(bytes({"--optimizer", "sgd"}, "update", "moments") == 0);
  CHECK(bytes({"--lora-rank", "2"}, "update", "moments") < moments);
  CHECK(bytes({"--lora-rank", "2", "--precision", "bfloat16"}, "update", "weights") < weights);
  CHECK(bytes({"--checkpoint-activations"}, "head", "activations") < bytes({}, "head", "activations"));
  const auto two = [] { ::setenv("WORLD_SIZE", "2", 1); };
  CHECK(bytes({}, "update", "moments", two) == moments);
  CHECK(bytes({"--shard-optimizer"}, "update", "moments", two) < moments);
  CHECK(bytes({"--shard-optimizer"}, "update", "moments") == moments);
  Words dpo{"--method", "dpo"};
  CHECK(plan_of("opt/before", dpo)["bytes"]["phases"]["head"]["reference"] == weights);
}

TEST_CASE("train --plan refuses what train refuses, and what no machine holds is only printed") {
  CHECK(not_refused(planned("plain", {}), {"--method", "required"}) == "");
  CHECK(not_refused(planned("plain", {"--method", "eso", "--lora-rank", "2"}),
                    {"--lora-rank", "--backend torch"}) == "");
  CHECK(not_refused(planned("plain", {"--method", "eso", "--batch-size", "0"}), {"--batch-size"}) == "");
  CHECK(not_refused(planned("plain", {"--method", "pretrain", "--window-tokens", "21"}),
                    {"--window-tokens", "20"}) == "");
  CHECK(not_refused(planned("plain", {"--method", "eso", "--backend", "torch", "--lora-rank", "2",
                                      "--lora-targets", "q_proj"}),
                    {"--lora-targets", "q_proj", "c_attn"}) == "");
  for (const char* targets : {"c_attn", "c_fc", "mlp.c_proj", "all-linear"}) {
    const auto of_rank = [&](const char* rank) {
      return planned(
          "plain", {"--method", "eso", "--backend", "torch", "--lora-rank", rank, "--lora-targets", targets});
    };
    CHECK(of_rank("24").code == 0);  // the width
    for (const char* rank : {"25", "4611686018427387904"})
      CHECK(not_refused(of_rank(rank), {"--lora-rank: exceeds", "expected at most 24"}) == "");
  }
  CHECK(not_refused(planned("plain", {"--method", "eso", "--backend", "torch"},
                            [] { ::setenv("WORLD_SIZE", "two", 1); }),
                    {"WORLD_SIZE", "two"}) == "");
  CHECK(not_refused(program({"train", "--plan", "--method", "eso"}), {"--model", "required"}) == "");
  CHECK(not_refused(program({"train", "--plan", "--resume", "x"}), {"--plan", "--resume"}) == "");
  const nlohmann::json plan = plan_of("plain", {"--method", "eso", "--batch-size", "9223372036854775807"});
  CHECK(plan["bytes"]["total"].get<double>() > 1e20);
}
