// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "../limited_file_size.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "eso/model/tensor_values.hpp"
#include "eso/model/weight_files.hpp"
#include "run_program.hpp"

namespace {

const std::vector<std::string> tokenizer_names{"vocab.json", "merges.txt", "special_tokens_map.json"};

std::vector<float> values_of(const eso::TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(eso::value_count(tensor)));
  eso::read_values(tensor, values.data());
  return values;
}

}  // namespace

TEST_CASE("eso convert writes what transformers would, tokenizer files unchanged") {
  const TemporaryFolder folder;
  const std::string output = (folder / "out").string();
  const Finished f =
      program({"convert", "--model", golden_model("untied"), "--output", output, "--precision", "float32"});
  REQUIRE(f.code == 0);
  CHECK(f.out.empty());
  CHECK(folder.names() == std::set<std::string>{"out"});  // nothing is left beside it
  CHECK(TemporaryFolder::names_in(output) == std::set<std::string>{"config.json", "model.safetensors",
                                                                   "vocab.json", "merges.txt",
                                                                   "special_tokens_map.json"});
  for (const std::string& name : tokenizer_names) {
    CHECK(read_file(folder / "out" / name) == read_file(golden_model("untied") + "/" + name));
  }
  const auto config = nlohmann::json::parse(read_file(folder / "out" / "config.json"));
  CHECK(config["dtype"] == "float32");
  CHECK(!config.contains("torch_dtype"));
  CHECK(config["n_inner"] == 77);
  const eso::WeightFiles before = eso::WeightFiles::open(golden_model("untied")),
                         after = eso::WeightFiles::open(output);
  CHECK(after.names().size() == before.names().size());
  for (const std::string& name : before.names()) {
    INFO(name);
    const auto written = after.find(name == "lm_head.weight" ? name : "transformer." + name);
    REQUIRE(written.has_value());
    CHECK(written->type == eso::DataType::float32);
    CHECK(values_of(*written) == values_of(*before.find(name)));
  }
}

TEST_CASE("eso convert to bfloat16 rounds to the nearest and back to float32 loses nothing more") {
  const TemporaryFolder folder;
  const std::string half = (folder / "half").string(), again = (folder / "again").string();
  REQUIRE(program({"convert", "--model", golden_model("plain"), "--output", half, "--precision", "bfloat16"})
              .code == 0);
  REQUIRE(program({"convert", "--model", half, "--output", again + "/"}).code ==
          0);  // float32 is the default
  CHECK(nlohmann::json::parse(read_file(folder / "half" / "config.json"))["dtype"] == "bfloat16");
  const eso::WeightFiles first = eso::WeightFiles::open(golden_model("plain")),
                         second = eso::WeightFiles::open(half), third = eso::WeightFiles::open(again);
  for (const std::string& name : first.names()) {
    INFO(name);
    const auto exact = values_of(*first.find(name)), rounded = values_of(*second.find(name));
    CHECK(second.find(name)->type == eso::DataType::bfloat16);
    CHECK(third.find(name)->type == eso::DataType::float32);
    CHECK(values_of(*third.find(name)) == rounded);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (std::abs(rounded[i] - exact[i]) > std::abs(exact[i]) / 256)
        FAIL("rounded too far: " << exact[i] << " " << rounded[i]);
    }
  }
}

TEST_CASE("eso convert drops what the model has no use for and scores the same after") {
  const TemporaryFolder folder;
  const std::string output = (folder / "out").string();
  REQUIRE(program({"convert", "--model", golden_model("general"), "--output", output}).code == 0);
  const std::string line = "{\"prompt_ids\":[1,2],\"response_ids\":[3,4,5]}";
  const Finished before = program({"score", "--model", golden_model("general")}, line);
  const Finished after = program({"score", "--model", output}, line);
  CHECK(after.out == before.out);
  CHECK(after.err.empty());
}

TEST_CASE("eso convert writes into an empty folder and refuses any other place without touching it") {
  const TemporaryFolder folder;
  const auto call = [&](const std::filesystem::path& output, const std::string& precision = "float32") {
    return program(
        {"convert", "--model", golden_model("plain"), "--output", output.string(), "--precision", precision});
  };
  std::filesystem::create_directory(folder / "empty");
  CHECK(call(folder / "empty").code == 0);
  CHECK(std::filesystem::exists(folder / "empty" / "config.json"));
  std::filesystem::create_directory(folder / "full");
  write_file(folder / "full" / "note", "kept");
  CHECK(not_refused(call(folder / "full"), {(folder / "full").string(), "not empty"}) == "");
  CHECK(TemporaryFolder::names_in(folder / "full") == std::set<std::string>{"note"});
  write_file(folder / "file", "kept");
  CHECK(not_refused(call(folder / "file"), {(folder / "file").string()}) == "");
  CHECK(read_file(folder / "file") == "kept");
  CHECK(not_refused(call(folder / "missing" / "out"), {(folder / "missing").string()}) == "");
  CHECK(not_refused(call(folder / "new", "float16"), {"--precision", "float16", "bfloat16"}) == "");
  CHECK(not_refused(program({"convert", "--model", (folder / "none").string(), "--output",
                             (folder / "new").string()}),
                    {(folder / "none").string()}) == "");
  CHECK(folder.names() == std::set<std::string>{"empty", "full", "file"});
}

TEST_CASE("eso convert on a full disk is an error of the machine and leaves nothing behind") {
  const TemporaryFolder folder;
  const std::string output = (folder / "out").string();
  Finished f;
  {
    const LimitedFileSize limit(20000);  // the weights take 130000 bytes
    f = program({"convert", "--model", golden_model("untied"), "--output", output});
  }
  CHECK(not_refused(f, {"model.safetensors"}, 1) == "");
  CHECK(folder.names().empty());
}

TEST_CASE("eso convert removes what a killed call left behind and nothing else") {
  const TemporaryFolder folder;
  const pid_t child = ::fork();  // a process that is gone gives a number that no process has
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  const std::string dead = fmt::format(".tmp-{}-out", child), living = fmt::format(".tmp-{}-out", ::getpid());
  for (const std::string& name :
       {dead, living, std::string(".tmp-x-out"), fmt::format(".tmp-{}-other", child)}) {
    std::filesystem::create_directory(folder / name);
    write_file(folder / name / "part", "x");
  }
  REQUIRE(
      program({"convert", "--model", golden_model("plain"), "--output", (folder / "out").string()}).code ==
      0);
  CHECK(folder.names() ==
        std::set<std::string>{living, ".tmp-x-out", fmt::format(".tmp-{}-other", child), "out"});
}

TEST_CASE("eso convert refuses a value that becomes infinite, names its tensor and leaves nothing behind") {
  const TemporaryFolder folder;
  const auto model = copy_model("plain", folder);
  const eso::WeightFiles files = eso::WeightFiles::open(model);
  const auto tensor = files.find("transformer.h.1.mlp.c_fc.weight");
  float value = 3.4e38F;
  std::memcpy(files.writable(*tensor).data() + 40, &value, sizeof value);
  std::vector<eso::TensorView> tensors;
  for (const std::string& name : files.names()) tensors.push_back(*files.find(name));
  eso::write_safetensors(folder / "changed", tensors);
  std::filesystem::rename(folder / "changed", model / "model.safetensors");
  const auto call = [&](const char* precision) {
    return program({"convert", "--model", model.string(), "--output", (folder / "out").string(),
                    "--precision", precision});
  };
  CHECK(not_refused(call("bfloat16"), {"transformer.h.1.mlp.c_fc.weight", "infinite as BF16", "3.4e+38"}) ==
        "");
  CHECK(folder.names() == std::set<std::string>{"model"});
  CHECK(call("float32").code == 0);
}

TEST_CASE("eso convert copies generation_config.json unchanged") {
  const TemporaryFolder folder;
  const auto model = copy_model("plain", folder);
  const std::string content = "{ \"eos_token_id\": [7, 3],\n\"temperature\": 0.6}";
  write_file(model / "generation_config.json", content);
  REQUIRE(program({"convert", "--model", model.string(), "--output", (folder / "out").string()}).code == 0);
  CHECK(read_file(folder / "out" / "generation_config.json") == content);
}
