// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>

#include "../as_nobody.hpp"
#include "eso/train/durable_file.hpp"
#include "run_directory.hpp"
#include "run_record.hpp"
#include "train_run.hpp"

namespace fs = std::filesystem;
using eso_program::FlagRole;

namespace {

Finished resume_run(const fs::path& run) { return program({"train", "--resume", run.string()}); }

/// Leaves a run as a kill does after its last checkpoint.
void cut_off(const fs::path& run) {
  fs::remove_all(run / "model");
  fs::remove(run / "report.html");
}

/// The value of a flag in a config.toml, and the text with another one.
std::string value_in(const std::string& config, const std::string& flag) {
  const std::size_t at = ("\n" + config).find("\n" + flag + " = ");
  if (at == std::string::npos) throw std::runtime_error("no flag " + flag);
  const std::size_t begin = at + flag.size() + 3;
  return config.substr(begin, config.find('\n', begin) - begin);
}
std::string with_value(const std::string& config, const std::string& flag, const std::string& value) {
  const std::string line = flag + " = ";
  std::string text = "\n" + config;
  text.replace(text.find("\n" + line) + 1 + line.size(), value_in(config, flag).size(), value);
  return text.substr(1);
}

/// Has the manifest of a checkpoint say something else, with a right checksum.
void edit_manifest(const fs::path& checkpoint, const std::function<void(Json&)>& edit) {
  const fs::path path = checkpoint / "checkpoint.json";
  Json manifest = Json::parse(read_file(path));
  manifest.erase("crc32");
  edit(manifest);
  const std::string rest = manifest.dump().substr(1) + "\n";
  eso::FileDigest digest;
  digest.add(std::as_bytes(std::span(rest)));
  write_file(path, fmt::format("{{\"crc32\":\"{:08x}\",{}", digest.crc32, rest));
}

/// Another legal value of a flag: half of a number, one more of an integer, the opposite, or what stands
/// here.
std::string another_value(const std::string& flag, const std::string& value) {
  static const std::map<std::string, std::string> others{
      {"backend", "\"torch\""},
      {"precision", "\"bfloat16\""},
      {"device", "\"cuda\""},
      {"lora-targets", "[\"c_attn\"]"},
      {"xsum-template", "\"tldr\""},
      {"bad-rows", "\"refuse\""},
      {"hh-split", "\"dpo-compat\""},
      {"test-split", "\"first-n:1\""},
      {"format", "\"debsum\""},
      {"method", "\"unlike\""},
      {"active-epochs", "\"last\""},
      {"schedule", "\"linear\""},
      {"weight-decay-mode", "\"l2\""},
      {"prompt-overflow", "\"truncate\""},
      {"temperatures", "[0.5, 1.0, 1.5]"},
      {"optimizer", "\"sgd\""},
      {"dropout", "\"0.1\""},
      {"reward", "\"rouge1\""},
      {"window-tokens", "8"},
      {"sft-reduction", "\"sequence-mean\""},
      {"eso-baseline", "\"greedy\""},
      {"eso-advantage-norm", "\"std\""},
      {"eso-token-reduce", "\"mean-seq\""},
      {"eso-sample-reduce", "\"mean\""},
      {"eso-batch-reduce", "\"sum-if-any-above\""},
      {"eso-min-mean-reward", "0.5"},
      {"unlike-objective", "\"plain-logp\""},
      {"unlike-select", "\"all\""},
      {"unlike-weight", "\"gap\""},
      {"drl-combine", "\"convex\""},
      {"rrhf-length-mode", "\"padded-row\""},
      {"dpo-loss", "\"ipo\""},
  };
  if (const auto other = others.find(flag); other != others.end()) return other->second;
  if (value == "true" || value == "false") return value == "true" ? "false" : "true";
  if (value.starts_with('"') || value.starts_with('[')) throw std::runtime_error(flag + ": no other value");
  if (value.find_first_of(".e") == std::string::npos) return fmt::format("{}", std::stoll(value) + 1);
  return value == "0.0" ? "1e-06" : fmt::format("{:e}", std::stod(value) / 2);
}

/// Resumes and expects to be refused, with nothing changed.
void refuse(const fs::path& run, const Words& fragments) {
  const auto before = snapshot(run);
  CHECK(not_refused(resume_run(run), fragments) == "");
  const bool unchanged = snapshot(run) == before;
  CHECK(unchanged);
}

}  // namespace

TEST_CASE("resuming refuses every setting that counts and is not as the run began, by its name") {
  const Runs runs;
  const fs::path run = runs.train("run", Runs::active() + Words{"--max-steps", "1"});
  cut_off(run);
  const fs::path file = run / "config.toml", checkpoint = run / "checkpoints" / "step-1";
  int counting = 0;
  for (const eso_program::Setting& setting : eso_program::settings_of({})) {
    if (setting.role != FlagRole::counts) continue;
    INFO(setting.name);
    ++counting;
    // What goes with some flags alone is what the run began with.
    std::map<std::string, std::string> began;
    for (const char* of_torch : {"precision", "device", "lora-", "checkpoint-activations", "shard-optimizer"})
      if (setting.name.starts_with(of_torch)) began = {{"backend", "\"torch\""}, {"lora-rank", "4"}};
    if (setting.name == "eso-min-mean-reward" || setting.name == "eso-batch-reduce")
      began = {{"eso-batch-reduce", "\"mean-kept\""}};
    const std::string original = read_file(file), manifest = read_file(checkpoint / "checkpoint.json");
    std::string config = original;
    for (const auto& [flag, value] : began) config = with_value(config, flag, value);
    edit_manifest(checkpoint, [&](Json& json) { json["counters"]["settings"].update(Json(began)); });
    const std::string value = value_in(config, setting.name), other = another_value(setting.name, value);
    write_file(file, with_value(config, setting.name, other));
    refuse(run, {fmt::format("{}: {}: is not what the run began with", file.string(), setting.name),
                 "expected " + value.substr(0, 20)});
    write_file(file, original);
    write_file(checkpoint / "checkpoint.json", manifest);
  }
  CHECK(counting > 50);
  CHECK(resume_run(run).code == 0);
}

TEST_CASE("resuming takes other settings that change no result, and inputs that lie elsewhere") {
  const Runs runs;
  const Words flags = Runs::active() + Words{"--save-every", "1"};
  const fs::path whole = runs.train("whole", flags), run = runs.train("run", flags);
  cut_off(run);
  fs::remove_all(run / "checkpoints" / "step-10");  // there is something left to do
  fs::copy(golden_model("plain"), runs / "moved");
  fs::rename(runs.data, runs / "moved.jsonl");
  const std::map<std::string, std::string> others{{"output", "\"elsewhere\""},
                                                  {"preset", "\"recommended\""},
                                                  {"save-every", "2"},
                                                  {"keep-checkpoints", "3"},
                                                  {"print-every", "1"}};
  std::string config = read_file(run / "config.toml");
  for (const eso_program::Setting& setting : eso_program::settings_of({})) {
    INFO(setting.name);
    if (setting.role != FlagRole::free) continue;
    REQUIRE(others.contains(setting.name));
    config = with_value(config, setting.name, others.at(setting.name));
  }
  config = with_value(config, "model", "\"" + (runs / "moved").string() + "\"");
  config = with_value(config, "data", "[\"" + (runs / "moved.jsonl").string() + "\"]");
  write_file(run / "config.toml", config);
  const Finished f = resume_run(run);
  INFO(f.err);
  CHECK(f.code == 0);
  CHECK(f.err.find("going on after step 9") != std::string::npos);
  CHECK(difference(whole, run) == "");
}

TEST_CASE("a run with as many threads as there are processors is resumed") {
  const Runs runs;
  const fs::path run = runs.train("run", {"--method", "sft", "--max-steps", "1"});
  cut_off(run);
  CHECK(resume_run(run).code == 0);
}

TEST_CASE("resuming refuses another number of processes") {
  const Runs runs;
  const fs::path run = runs.train("run", Runs::active() + Words{"--max-steps", "1"});
  cut_off(run);
  edit_manifest(run / "checkpoints" / "step-1", [](Json& json) { json["counters"]["processes"] = 2; });
  refuse(run, {"WORLD_SIZE: the run began with another number of processes, found 1, expected 2"});
}

TEST_CASE("resuming refuses every file that is not as the run began, by its name") {
  std::string pairs;
  for (const char* word : {"a", "the", "Q", "zz"})
    pairs += Json{{"prompt", word}, {"chosen", "l u"}, {"rejected", "e f"}}.dump() + "\n";
  const Runs runs(pairs);
  const fs::path model = copy_model("plain", runs.folder), reference = runs / "reference";
  fs::copy(model, reference);
  Words call = runs.call("run", Runs::small() + Words{"--method", "dpo", "--epochs", "2", "--dpo-reference",
                                                      reference.string()});
  for (std::string& word : call) {
    if (word == "prompt-response") word = "preference";
    if (word == golden_model("plain")) word = model.string();
  }
  REQUIRE(program(call).code == 0);
  const fs::path run = runs / "run";
  cut_off(run);
  const auto changed = [&](const fs::path& file, const std::string& content, const std::string& what) {
    INFO(file << ": " << what);
    const bool there = fs::exists(file);
    const std::string original = read_file(file);
    write_file(file, content);
    refuse(run, {file.string() + ": ", what});
    fs::remove(file);
    if (there) write_file(file, original);
  };
  const std::string differs = "is not what the run began with", added = "was not there when the run began";
  for (const fs::path& folder : {model, reference}) {
    const Json config = Json::parse(read_file(folder / "config.json"));
    for (const auto& [key, value] :
         {std::pair<const char*, Json>("n_head", config.at("n_head").get<int>() * 2),
          std::pair<const char*, Json>("layer_norm_epsilon", 0.1),
          std::pair<const char*, Json>("activation_function", "relu")}) {
      Json other = config;
      other[key] = value;
      changed(folder / "config.json", other.dump(), differs);
    }
    std::string weights = read_file(folder / "model.safetensors");
    weights.back() = static_cast<char>(weights.back() ^ 1);
    changed(folder / "model.safetensors", weights, differs);
    changed(folder / "generation_config.json", R"({"eos_token_id": [1, 2]})", added);
  }
  for (const char* name : {"vocab.json", "merges.txt", "special_tokens_map.json"})
    changed(model / name, read_file(model / name) + "\n", differs);
  changed(model / "tokenizer_config.json", "{}", added);
  changed(runs.data, "\n" + pairs, "the examples are not those that the run began with");
  changed(runs.data, pairs.substr(pairs.find('\n') + 1),
          "the examples are not those that the run began with");
  fs::rename(model / "special_tokens_map.json", runs / "aside");
  refuse(run, {(model / "special_tokens_map.json").string() + ": is missing, and the run began with it"});
  fs::rename(runs / "aside", model / "special_tokens_map.json");
  Json config = Json::parse(read_file(model / "config.json"));
  config["transformers_version"] = "9.9.9";
  write_file(model / "config.json", config.dump(7));  // says the same
  write_file(reference / "vocab.json", "{}");         // nobody reads it
  const Finished f = resume_run(run);
  INFO(f.err);
  CHECK(f.code == 0);
}

TEST_CASE(
    "weights, too, are what the run began with, since a run without a good checkpoint starts from them") {
  const Runs runs;
  const fs::path model = copy_model("plain", runs.folder);
  Words call = runs.call("run", Runs::active() + Words{"--max-steps", "2"});
  for (std::string& word : call)
    if (word == golden_model("plain")) word = model.string();
  REQUIRE(program(call).code == 0);
  const fs::path run = runs / "run";
  cut_off(run);
  const std::string weights = read_file(model / "model.safetensors");
  std::string other = weights;
  other.back() = static_cast<char>(other.back() ^ 1);
  write_file(model / "model.safetensors", other);
  refuse(run, {(model / "model.safetensors").string() + ": is not what the run began with"});
  write_file(model / "model.safetensors", weights);
  CHECK(resume_run(run).code == 0);
}

TEST_CASE("a checkpoint of another version is refused and not passed over") {
  const Runs runs;
  const fs::path run = runs.train("run", Runs::active() + Words{"--max-steps", "2", "--save-every", "1"});
  cut_off(run);
  const fs::path newest = run / "checkpoints" / "step-2";
  const std::string manifest = read_file(newest / "checkpoint.json");
  const auto edited = [&](const std::function<void(Json&)>& edit, const std::string& what) {
    INFO(what);
    edit_manifest(newest, edit);
    refuse(run, {(newest / "checkpoint.json").string() + ": ", what});
    write_file(newest / "checkpoint.json", manifest);
  };
  edited([](Json& json) { json["version"] = 2; }, "is of another version, found 2, expected 1");
  // Those of the program before it recorded what a run depends on.
  edited([](Json& json) { json["counters"].erase("settings"); }, "does not record the settings of the run");
  edited([](Json& json) { json["counters"].erase("files"); }, "does not record the files of the run");
  edited([](Json& json) { json["counters"]["settings"] = 1; }, "does not record the settings of the run");
  edited([](Json& json) { json["counters"] = nullptr; }, "does not record the settings of the run");
  CHECK(resume_run(run).code == 0);
}

TEST_CASE("a checkpoint that may not be read for the moment stops the resumption, which changes nothing") {
  const Runs runs;
  const fs::path run = runs.train("run", Runs::active() + Words{"--max-steps", "2", "--save-every", "1"});
  cut_off(run);
  for (const char* name : {"checkpoint.json", "model.safetensors", "optimizer.safetensors"}) {
    INFO(name);
    const fs::path file = run / "checkpoints" / "step-2" / name;
    const auto before = snapshot(run);
    fs::permissions(file, fs::perms::none);
    {
      const AsNobody nobody(run.parent_path());
      try {
        eso_program::RunDirectory::recorded(run);
        eso_program::RunDirectory::reopen(run).restore([](const Json&) {});
        FAIL("went on");
      } catch (const eso::Error& error) {
        CHECK(error.fault() == eso::Fault::system);
        CHECK_THAT(error.what(), Catch::Contains(file.string() + ": cannot open"));
      }
    }
    fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
    const bool unchanged = snapshot(run) == before;
    CHECK(unchanged);
  }
  CHECK(resume_run(run).code == 0);
}

TEST_CASE("a directory in which a run was killed before it began takes the run anew and cannot be resumed") {
  const Runs runs;
  const fs::path run = runs / "run";
  const auto killed = [&](const Words& left) {
    INFO(fmt::format("{}", fmt::join(left, " ")));
    fs::remove_all(run);
    fs::create_directory(run);
    for (const std::string& name : left) write_file(run / name, "1\n");
    refuse(run, {run.string() + ": the run was killed before it began: begin it anew"});
    const Finished f = program(runs.call("run", Runs::small() + Words{"--method", "sft", "--epochs", "1"}));
    INFO(f.err);
    CHECK(f.code == 0);
    for (const std::string& name : left) CHECK(!fs::exists(run / name));
  };
  killed({".lock"});
  killed({"config.toml.tmp-123"});
  killed({".lock", "config.toml.tmp-123", "config.toml.tmp-4567890"});
  for (const char* name :
       {"config.toml.tmp-", "config.toml.tmp-12a", "report.html.tmp-123", "notes.tmp-123"}) {
    INFO(name);
    fs::remove_all(run);
    fs::create_directory(run);
    write_file(run / name, "kept");
    CHECK(not_refused(program(runs.call("run", Runs::active())), {run.string() + ": "}) == "");
    refuse(run, {run.string() + ": holds no run"});
  }
}
