// SPDX-License-Identifier: MIT
#include "eso/model/hugging_face.hpp"

#include "../temporary_folder.hpp"
#include "eso/sample/temperatures.hpp"
#include "golden_models.hpp"

namespace {

using Json = nlohmann::json;

/// A `config.json` of the family, written and read again.
eso::ModelSettings read(const std::string& name, const std::function<void(Json&)>& edit) {
  const TemporaryFolder folder;
  Json config = golden_file(name + "/config.json");
  edit(config);
  write_file(folder / "config.json", config.dump());
  return eso::read_settings(folder / "");
}

/// The values of all tensors of a folder, by name.
std::map<std::string, std::vector<float>> tensors_of(const std::filesystem::path& folder) {
  const eso::WeightFiles files = eso::WeightFiles::open(folder);
  std::map<std::string, std::vector<float>> tensors;
  for (const std::string& name : files.names()) {
    const auto tensor = files.find(name);
    std::vector<float> values(static_cast<std::size_t>(eso::value_count(*tensor)));
    eso::read_values(*tensor, values.data());
    tensors[name] = std::move(values);
  }
  return tensors;
}

}  // namespace

TEST_CASE("log-probabilities are those of transformers for every family and way to store it") {
  for (const std::string& name : golden_models) {
    INFO(name);
    const Json expected = golden_of(name);
    auto rounded = load_golden<float>(name, 2);
    auto exact = load_golden<double>(name);
    CHECK(rounded.context_length() == expected["context"].get<eso::Index>());
    CHECK(rounded.end_of_sequence() == std::optional<eso::TokenId>(7));
    CHECK(worst_score(rounded, expected["score"], "logp") < 1e-5);
    CHECK(worst_score(exact, expected["score"], "logp") < 1e-12);
    exact.set_temperature(0.7);
    CHECK(worst_score(exact, expected["score"], "logp_0.7") < 1e-12);
  }
}

TEST_CASE("greedy responses are those of transformers for every family") {
  for (const std::string& name : golden_models) {
    INFO(name);
    const Json expected = golden_of(name)["greedy"];
    auto model = load_golden<float>(name, 2);
    std::vector<eso::Prompt> prompts;
    for (const Json& text : expected) prompts.push_back({text["prompt_ids"].get<eso::Tokens>(), 0});
    const auto responses = eso::Temperatures{0}(model, std::span<const eso::Prompt>(prompts), {});
    REQUIRE(responses.size() == prompts.size());
    for (std::size_t n = 0; n < responses.size(); ++n) {
      const Json& text = expected[n];
      CHECK(responses[n].tokens == text["response_ids"].get<eso::Tokens>());
      CHECK(responses[n].finished == (text["response_ids"].back() == 7));
      for (std::size_t t = 0; t < responses[n].logp.size(); ++t) {
        CHECK(std::abs(responses[n].logp[t] - text["logp"][t].get<double>()) < 1e-5);
      }
    }
  }
}

TEST_CASE("what is written has the names and values that transformers wrote, and loads again") {
  // transformers wrote these with their prefixes; steps/ holds gradients under its names of the others.
  for (const std::string& name : golden_models) {
    INFO(name);
    const TemporaryFolder folder;
    const auto loaded = eso::load_model<float>(golden_folder(name), std::make_shared<eso::Threads>(1));
    eso::write_model(folder / "", loaded.decoder, loaded.config);
    const auto source = tensors_of(golden_folder(name)), written = tensors_of(folder / "");
    CHECK(written.size() + loaded.ignored.size() == source.size());
    const std::string prefix = name.starts_with("gpt2/")  ? "transformer."
                               : name.starts_with("opt/") ? "model."
                                                          : "gpt_neox.";
    for (const auto& [tensor, values] : written) {
      INFO(tensor);
      const bool head = tensor == "lm_head.weight" || tensor == "embed_out.weight";
      REQUIRE((head || tensor.starts_with(prefix)));
      const auto found = source.find(source.contains(tensor) ? tensor : tensor.substr(prefix.size()));
      REQUIRE(found != source.end());
      CHECK(found->second == values);
    }
    const Json config = Json::parse(read_file(folder / "config.json"));
    const Json old = golden_file(name + "/config.json");
    CHECK(config["architectures"] == old["architectures"]);
    CHECK(config["dtype"] == "float32");
    CHECK(!config.contains("torch_dtype"));
    auto again = eso::load_model<float>(folder / "", std::make_shared<eso::Threads>(1));
    CHECK(again.ignored.empty());
    CHECK(worst_score(again.decoder, golden_of(name)["score"], "logp") < 1e-5);
  }
}

TEST_CASE("a random model of every family has the names that its files have") {
  for (const std::string& name : golden_models) {
    INFO(name);
    const auto loaded = load_golden<float>(name);
    const auto fresh = eso::random_model<float>(loaded.architecture(), 3, std::make_shared<eso::Threads>(1));
    const auto a = loaded.state(), b = fresh.state();
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      CHECK(a[i].name == b[i].name);
      CHECK(a[i].shape == b[i].shape);
    }
  }
}

TEST_CASE("queries, keys and values of an OPT are tensors of their own, of a third of the rows each") {
  auto model = load_golden<float>("opt/before");
  const auto parameters = model.parameters();
  const auto find = [&](const std::string& end) {
    for (const auto& parameter : parameters) {
      if (parameter.name == "model.decoder.layers.1.self_attn." + end) return parameter;
    }
    throw std::runtime_error(end);
  };
  const auto q = find("q_proj.weight"), k = find("k_proj.weight"), v = find("v_proj.weight"),
             bias = find("v_proj.bias");
  CHECK(q.shape == std::vector<eso::Index>{24, 24});
  CHECK(k.value == q.value + 24 * 24);
  CHECK(v.value == k.value + 24 * 24);
  CHECK(v.gradient == q.gradient + 2 * 24 * 24);
  CHECK(bias.shape == std::vector<eso::Index>{24});
  CHECK(q.decays);
  CHECK(!bias.decays);
}

TEST_CASE("an OPT without its final normalisation and with a head of its own is what its config says") {
  const auto settings = read("opt/before", [](Json& config) {
    config["_remove_final_layer_norm"] = true;
    config["tie_word_embeddings"] = false;
    config["activation_function"] = "gelu";
  });
  CHECK(!settings.architecture.final_norm);
  CHECK(!settings.architecture.tied_head);
  CHECK(settings.architecture.activation == eso::Activation::gelu);
  CHECK(settings.architecture.norm_order == eso::NormOrder::before);
  const auto after = read("opt/after", [](Json&) {}).architecture;
  CHECK(!after.final_norm);
  CHECK(after.norm_order == eso::NormOrder::after);
  CHECK(after.embedding_width == 10);
  CHECK(after.position_offset == 2);
}

TEST_CASE("both spellings of rotary positions mean the same, and a missing one has its default") {
  const auto rotary = [](const char* name, const std::function<void(Json&)>& edit) {
    const eso::Architecture a = read(name, edit).architecture;
    return std::pair(a.rotary_width, a.rotary_base);
  };
  const auto wide = [](Json& config) { config["hidden_size"] = 120, config["rotary_emb_base"] = 500; };
  CHECK(rotary("gpt_neox/parallel", wide) == std::pair<eso::Index, double>{10, 500});
  CHECK(rotary("gpt_neox/parallel", [](Json& c) { c.erase("rotary_pct"), c.erase("rotary_emb_base"); }) ==
        std::pair<eso::Index, double>{2, 10000});
  CHECK(rotary("gpt_neox/parallel", [](Json& c) { c["rope_parameters"] = {{"rope_type", "default"}}; }) ==
        std::pair<eso::Index, double>{2, 10000});
  CHECK(rotary("gpt_neox/sequential", [](Json& c) { c["rotary_pct"] = 1.0; }) ==
        std::pair<eso::Index, double>{8, 50});
  CHECK(rotary("gpt_neox/sequential", [](Json& c) {
          c["rope_scaling"] = c["rope_parameters"], c.erase("rope_parameters");
        }) == std::pair<eso::Index, double>{8, 50});
}

TEST_CASE("the rates of dropout are those of config.json, or what its family takes a missing one for") {
  const auto rates = [](const char* name, const Json& values) {
    const TemporaryFolder folder;
    Json config = golden_file(std::string(name) + "/config.json");
    for (const char* key :
         {"dropout", "attention_dropout", "hidden_dropout", "embd_pdrop", "attn_pdrop", "resid_pdrop"})
      config.erase(key);
    config.update(values);
    write_file(folder / "config.json", config.dump());
    const eso::DropoutRates r = eso::read_dropout(folder / "");
    return std::vector{r.embedding, r.attention, r.residual};
  };
  using Rates = std::vector<double>;
  CHECK(rates("gpt2/plain", Json::object()) == Rates{0.1, 0.1, 0.1});
  CHECK(rates("gpt2/plain", {{"embd_pdrop", 0.2}, {"attn_pdrop", 0}, {"resid_pdrop", 0.3}}) ==
        Rates{0.2, 0, 0.3});
  CHECK(rates("opt/before", Json::object()) == Rates{0, 0, 0.1});
  CHECK(rates("opt/after", {{"dropout", 0.2}, {"attention_dropout", 0.4}}) == Rates{0, 0.4, 0.2});
  CHECK(rates("gpt_neox/parallel", Json::object()) == Rates{0, 0, 0});
  CHECK(rates("gpt_neox/parallel", {{"hidden_dropout", 0.2}, {"attention_dropout", 0.4}}) ==
        Rates{0.2, 0.4, 0.2});
  CHECK_THROWS_WITH(
      rates("gpt2/plain", {{"attn_pdrop", 1}}),
      Catch::Contains("\"attn_pdrop\" is not usable, found 1, expected a number of at least 0, below 1"));
  CHECK_THROWS_WITH(rates("opt/before", {{"layerdrop", 0.1}}),
                    Catch::Contains("\"layerdrop\" is not usable, found 0.1, expected 0"));
  CHECK(eso::DropoutRates::all(eso::Family::opt, 0.5).embedding == 0);
  CHECK(eso::DropoutRates::all(eso::Family::gpt2, 0.5).embedding == 0.5);
}
