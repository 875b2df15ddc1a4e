// SPDX-License-Identifier: MIT
#include <set>

#include "train_run.hpp"

// What is appended to a response, and what ends one: eos_token_id of config.json and generation_config.json.

namespace {

namespace fs = std::filesystem;

/// A copy of a golden model with these two; "" where there is none.
struct Model {
  TemporaryFolder folder;
  fs::path path = copy_model("plain", folder);

  Model(const std::string& config, const std::string& generation) {
    Json json = Json::parse(read_file(path / "config.json"));
    json.erase("eos_token_id");
    if (!config.empty()) json["eos_token_id"] = Json::parse(config);
    write_file(path / "config.json", json.dump());
    if (!generation.empty()) write_file(path / "generation_config.json", generation);
  }

  /// The ids that responses end with whose `finish` is "eos"; all others must be as long as they may be.
  std::set<int> ends() const {
    const Finished f = program({"generate", "--model", path.string(), "--temperature", "2", "--samples",
                                "400", "--max-response-tokens", "8", "--threads", "1"},
                               "{\"prompt\":\"!\"}\n");
    REQUIRE(f.code == 0);
    std::set<int> ends, others;
    for (const Json& line : f.lines()) {
      const auto ids = line["response_ids"].get<std::vector<int>>();
      const bool finished = line["finish"] == "eos";
      CHECK((finished || ids.size() == 8));
      (finished ? ends : others).insert(ids.back());
      others.insert(ids.begin(), ids.end() - 1);
    }
    for (const int end : ends) CHECK(!others.contains(end));  // wherever it is drawn, it ends
    return ends;
  }
};

std::string appended(const Model& model) {
  const Finished f =
      program({"score", "--model", model.path.string()}, "{\"prompt\":\"!\",\"response\":\"\"}\n");
  return f.code == 0 ? f.lines().front().at("response_ids").dump() : f.last_error();
}

const std::string none = "\"eos_token_id\" names no end of sequence, and one is needed";

}  // namespace

TEST_CASE(
    "a response ends at any id of generation_config.json or else config.json and the first is appended") {
  const auto check = [](const std::string& config, const std::string& generation, const std::string& first,
                        const std::set<int>& ends) {
    INFO(config << " " << generation);
    const Model model(config, generation);
    CHECK(appended(model) == first);
    CHECK(model.ends() == ends);
  };
  check("7", "", "[7]", {7});
  check("[7,3,9]", "", "[7]", {3, 7, 9});
  check("[9,7]", R"({"temperature":0.5})", "[9]", {7, 9});
  check("[9,7]", R"({"eos_token_id":null})", "[9]", {7, 9});
  check("7", R"({"eos_token_id":[3,7]})", "[7]", {3, 7});
  check("7", R"({"eos_token_id":11})", "[7]", {11});
}

TEST_CASE("a model without end of sequence generates to the limit, and what needs one is refused") {
  const Model model("null", "");
  CHECK(model.ends().empty());
  const std::string config = (model.path / "config.json").string();
  CHECK(appended(model) ==
        "eso: error: " + config + ": " + none + ", found null, expected an id, or --no-eos");
  CHECK(
      program({"score", "--model", model.path.string(), "--no-eos"}, "{\"prompt\":\"!\",\"response\":\"e\"}")
          .code == 0);
  const Runs runs(training_data.substr(0, training_data.rfind("{")));  // the last response is empty
  const auto train = [&](const std::string& method, const Words& more = {}) {
    Words call = runs.call(method, Runs::small() + Words{"--method", method, "--max-steps", "1"} + more);
    call[2] = model.path.string();
    return program(call);
  };
  CHECK(not_refused(train("sft"), {config, none, "--no-eos"}) == "");
  CHECK(!fs::exists(runs / "sft"));
  CHECK(train("sft", {"--no-eos"}).code == 0);
  CHECK(train("eso", {"--no-eos", "--active-epochs", "all"}).code == 0);
  write_file(runs.data, "{\"text\":\"a b c\"}\n");
  Words call = runs.call("pretrain", Runs::small() + Words{"--method", "pretrain", "--no-eos"});
  call[2] = model.path.string();
  call[6] = "text";
  CHECK(not_refused(program(call), {config, none}) == "");
  const Model generating("null", R"({"eos_token_id":[7]})");
  CHECK(generating.ends() == std::set<int>{7});
  CHECK(appended(generating).find(none) != std::string::npos);
}

TEST_CASE("eso eval of a model without end of sequence appends none") {
  const Model model("null", "");
  write_file(model.folder / "data", json_line("!(", "u.p.l.e"));
  const Finished f =
      program({"eval", "--model", model.path.string(), "--data", (model.folder / "data").string(), "--format",
               "prompt-response", "--temperature", "0", "--seeds", "1", "--max-response-tokens", "4",
               "--output", (model.folder / "out.json").string()});
  CHECK(f.code == 0);
  CHECK(Json::parse(read_file(model.folder / "out.json"))["results"][0]["eos_rate"]["mean"] == 0.0);
}

TEST_CASE("eso train copies generation_config.json and obeys it") {
  const Model model("7", "{\"eos_token_id\": [7, 3]} ");
  const Runs runs;
  Words call = runs.call("run", Runs::active() + Words{"--max-steps", "2", "--temperatures", "2,2,2,2"});
  call[2] = model.path.string();
  REQUIRE(program(call).code == 0);
  CHECK(read_file(runs / "run" / "model" / "generation_config.json") == "{\"eos_token_id\": [7, 3]} ");
  for (const Json& line : json_lines(runs / "run" / "completions.jsonl")) {
    const auto ids = line["response_ids"].get<std::vector<int>>();
    CHECK((line["finish"] == "eos") == (ids.back() == 7 || ids.back() == 3));
    CHECK(std::count_if(ids.begin(), ids.end() - 1, [](int id) { return id == 7 || id == 3; }) == 0);
  }
}
