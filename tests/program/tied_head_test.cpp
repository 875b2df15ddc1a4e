// SPDX-License-Identifier: MIT
#include <set>

#include "eso/model/safetensors_writer.hpp"
#include "train_run.hpp"

// Models whose config.json ties the head to the embedding, and what their files hold of the two. transformers
// ties them where one is missing or both are equal, and uses both where they differ.

namespace {

using Tensors = std::vector<eso::TensorView>;
namespace fs = std::filesystem;

void edit_config(const fs::path& model, const std::function<void(Json&)>& edit) {
  Json config = Json::parse(read_file(model / "config.json"));
  edit(config);
  write_file(model / "config.json", config.dump());
}

/// Writes the model's tensors anew, into one file.
void edit_weights(const fs::path& model, const std::function<void(Tensors&)>& edit) {
  Tensors tensors;
  {
    const eso::WeightFiles files = eso::WeightFiles::open(model);
    for (const std::string& name : files.names()) tensors.push_back(*files.find(name));
  }
  edit(tensors);
  eso::write_safetensors(model / "new", tensors);
  fs::rename(model / "new", model / "model.safetensors");
}

eso::TensorView& named(Tensors& tensors, const std::string& name) {
  for (eso::TensorView& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

void tie(Json& config) { config["tie_word_embeddings"] = true; }

std::string ids_of(const Json& texts) {
  std::string input;
  for (const Json& text : texts)
    input += Json{{"prompt_ids", text["prompt_ids"]}, {"response_ids", text["response_ids"]}}.dump() + "\n";
  return input;
}

/// The answers of `eso score`, with nothing told but those of tensors without a use.
std::string score(const std::string& model, const std::string& input) {
  const Finished f = program({"score", "--model", model, "--threads", "1"}, input);
  REQUIRE(f.code == 0);
  CHECK(f.err.find("head") == std::string::npos);
  CHECK(f.err.find("embed_out") == std::string::npos);
  return f.out;
}

/// How far the log-probabilities are from those of transformers.
double distance(const std::string& answers, const Json& texts) {
  const auto lines = Finished{0, answers, {}}.lines();
  REQUIRE(lines.size() == texts.size());
  double worst = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (std::size_t t = 0; t < texts[i]["logp"].size(); ++t) {
      worst =
          std::max(worst, std::abs(lines[i]["logp"][t].get<double>() - texts[i]["logp"][t].get<double>()));
    }
  }
  return worst;
}

struct Names {
  std::string model, embedding, head;
};

}  // namespace

TEST_CASE("a tied model that is stored under the head's name alone is that model") {
  const Json golden = golden_answers();
  for (const Names& names : {Names{"plain", "transformer.wte.weight", "lm_head.weight"},
                             Names{"opt/before", "model.decoder.embed_tokens.weight", "lm_head.weight"},
                             Names{"opt/after", "decoder.embed_tokens.weight", "lm_head.weight"}}) {
    const std::string &name = names.model, &head = names.head;
    INFO(name);
    const TemporaryFolder folder;
    const fs::path model = copy_model(name, folder);
    edit_weights(model, [&](Tensors& t) { named(t, names.embedding).name = names.head; });
    const std::string input = ids_of(golden[name]["score"]);
    CHECK(distance(score(model.string(), input), golden[name]["score"]) < 1e-5);
    CHECK(score(model.string(), input) == score(golden_model(name), input));
    edit_weights(
        model, [&](Tensors& t) { std::swap(named(t, names.head).shape[0], named(t, names.head).shape[1]); });
    CHECK(not_refused(program({"score", "--model", model.string()}), {head, "has the wrong shape"}) == "");
  }
}

TEST_CASE("a tied GPT-NeoX may be stored under either name of its head") {
  const std::string input = "{\"prompt_ids\":[1,2,3],\"response_ids\":[4,5]}\n";
  const TemporaryFolder folder;
  std::set<std::string> answers;
  for (const std::string head : {"", "embed_out.weight", "lm_head.weight"}) {
    const fs::path model = copy_model("gpt_neox/sequential", folder);
    edit_config(model, tie);
    edit_weights(model, [&](Tensors& t) {
      std::erase_if(t, [](const eso::TensorView& tensor) { return tensor.name == "embed_out.weight"; });
      if (!head.empty()) named(t, "gpt_neox.embed_in.weight").name = head;
    });
    answers.insert(score(model.string(), input));
  }
  CHECK(answers.size() == 1);
  CHECK(*answers.begin() != score(golden_model("gpt_neox/sequential"), input));
}

TEST_CASE("a tied model without embedding and head lacks the embedding") {
  const TemporaryFolder folder;
  const fs::path model = copy_model("plain", folder);
  edit_weights(model, [](Tensors& t) { named(t, "transformer.wte.weight").name = "x"; });
  CHECK(not_refused(program({"score", "--model", model.string()}),
                    {"the tensor transformer.wte.weight is missing"}) == "");
}

TEST_CASE("another head than the embedding is used whatever config.json ties, and written untied") {
  const Json golden = golden_answers();
  for (const std::string name : {"untied", "gpt_neox/parallel", "gpt_neox/sequential"}) {
    for (const bool absent : {false, true}) {
      if (absent && name != "untied") continue;  // a GPT-NeoX is not tied unless it says so
      INFO(name << absent);
      const TemporaryFolder folder;
      const fs::path model = copy_model(name, folder);
      edit_config(model, [&](Json& c) { absent ? void(c.erase("tie_word_embeddings")) : tie(c); });
      const std::string input = ids_of(golden[name]["score"]);
      const std::string answers = score(model.string(), input);
      CHECK(distance(answers, golden[name]["score"]) < 1e-5);
      const std::string written = (folder / "out").string();
      REQUIRE(program({"convert", "--model", model.string(), "--output", written}).code == 0);
      CHECK(score(written, input) == answers);
      CHECK(Json::parse(read_file(folder / "out" / "config.json")).at("tie_word_embeddings") == false);
      const std::string head = name == "untied" ? "lm_head.weight" : "embed_out.weight";
      CHECK(eso::WeightFiles::open(written).find(head).has_value());
    }
  }
}

TEST_CASE("another head than the embedding is trained as that of a model that is not tied") {
  const Runs runs;
  const auto train = [&](const std::string& name, const std::string& model) {
    Words call = runs.call(name, Runs::small() + Words{"--method", "sft", "--max-steps", "2"});
    call[2] = model;
    REQUIRE(program(call).code == 0);
    return runs / name;
  };
  const fs::path model = copy_model("untied", runs.folder);
  edit_config(model, tie);
  const fs::path run = train("tied", model.string()), expected = train("untied", golden_model("untied"));
  CHECK(weights_of(run) == weights_of(expected));
  CHECK(read_file(run / "model" / "config.json") == read_file(expected / "model" / "config.json"));
}

TEST_CASE("a head that equals the embedding stays tied to it") {
  const Json golden = golden_answers();
  const std::string input = ids_of(golden["plain"]["score"]);
  const TemporaryFolder folder;
  const fs::path model = copy_model("plain", folder);
  edit_weights(model, [](Tensors& t) {
    t.push_back(named(t, "transformer.wte.weight"));
    t.back().name = "lm_head.weight";
  });
  const Finished f = program({"score", "--model", model.string(), "--threads", "1"}, input);
  CHECK(f.err == "");
  CHECK(f.out == score(golden_model("plain"), input));
  REQUIRE(program({"convert", "--model", model.string(), "--output", (folder / "out").string()}).code == 0);
  CHECK_FALSE(eso::WeightFiles::open(folder / "out").find("lm_head.weight").has_value());
  edit_weights(model, [](Tensors& t) {  // one number of the last row
    auto values = std::make_shared<std::vector<std::byte>>(named(t, "lm_head.weight").bytes.begin(),
                                                           named(t, "lm_head.weight").bytes.end());
    values->back() ^= std::byte{1};
    named(t, "lm_head.weight").bytes = *values;
    named(t, "lm_head.weight").owner = values;
  });
  CHECK(score(model.string(), input) != f.out);
}
