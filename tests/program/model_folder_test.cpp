// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <functional>

#include "eso/model/safetensors.hpp"
#include "eso/model/safetensors_writer.hpp"
#include "run_program.hpp"

namespace {

using Json = nlohmann::json;
using Path = std::filesystem::path;

const std::string line = "{\"prompt_ids\":[1],\"response_ids\":[2]}\n";

void edit_config(const Path& model, const std::function<void(Json&)>& edit) {
  Json config = Json::parse(read_file(model / "config.json"));
  edit(config);
  write_file(model / "config.json", config.dump());
}

/// Writes the weights again after `edit` had them.
void edit_weights(const Path& model, const std::function<void(std::vector<eso::TensorView>&)>& edit) {
  std::vector<eso::TensorView> tensors;
  const eso::Safetensors file = eso::Safetensors::open(model / "model.safetensors");
  for (const eso::TensorView& tensor : file.tensors()) tensors.push_back(tensor);
  edit(tensors);
  eso::write_safetensors(model / "new", tensors, {{"format", "pt"}});
  std::filesystem::rename(model / "new", model / "model.safetensors");
}

eso::TensorView& named(std::vector<eso::TensorView>& tensors, const std::string& name) {
  for (eso::TensorView& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

/// Damages a copy of a golden model and expects that it is refused with these words.
void refuse(const std::string& name, const std::function<void(const Path&)>& damage,
            std::vector<std::string> fragments) {
  const TemporaryFolder folder;
  const Path model = copy_model(name, folder);
  damage(model);
  fragments.push_back(model.string());
  CHECK(not_refused(program({"score", "--model", model.string()}, line), fragments) == "");
}

void refuse_config(const std::function<void(Json&)>& edit, std::vector<std::string> fragments) {
  fragments.emplace_back("config.json");
  refuse("plain", [&](const Path& model) { edit_config(model, edit); }, fragments);
}

void refuse_weights(const std::function<void(std::vector<eso::TensorView>&)>& edit,
                    const std::vector<std::string>& fragments) {
  refuse("plain", [&](const Path& model) { edit_weights(model, edit); }, fragments);
}

}  // namespace

TEST_CASE("a model folder that is not there or has no weights is refused") {
  CHECK(not_refused(program({"score", "--model", "/nonexistent/model"}, line), {"/nonexistent/model"}) == "");
  refuse("plain", [](const Path& m) { std::filesystem::remove(m / "config.json"); }, {"config.json"});
  refuse("plain", [](const Path& m) { std::filesystem::remove(m / "model.safetensors"); },
         {"model.safetensors"});
  refuse("plain",
         [](const Path& m) { std::filesystem::rename(m / "model.safetensors", m / "pytorch_model.bin"); },
         {"safetensors", "pytorch_model.bin"});
  refuse("untied", [](const Path& m) { std::filesystem::remove(m / "model-00002-of-00003.safetensors"); },
         {"model-00002-of-00003.safetensors"});
  refuse("untied", [](const Path& m) { write_file(m / "model.safetensors.index.json", "{}"); },
         {"model.safetensors.index.json"});
}

TEST_CASE("settings of config.json that cannot be meant or are not implemented are refused by name") {
  refuse("plain", [](const Path& m) { write_file(m / "config.json", "{\"model_type\":"); }, {"config.json"});
  refuse("plain", [](const Path& m) { write_file(m / "config.json", "[]"); }, {"config.json"});
  refuse_config([](Json& c) { c.erase("model_type"); }, {"model_type"});
  refuse_config([](Json& c) { c["model_type"] = "bert"; }, {"model_type", "bert"});
  refuse_config([](Json& c) { c["n_head"] = 5; }, {"n_head", "5"});
  refuse_config([](Json& c) { c["n_layer"] = "2"; }, {"n_layer"});
  refuse_config([](Json& c) { c["n_layer"] = 0; }, {"n_layer"});
  refuse_config([](Json& c) { c["n_embd"] = -24; }, {"n_embd", "-24"});
  refuse_config([](Json& c) { c["vocab_size"] = 1e3; }, {"vocab_size"});
  refuse_config([](Json& c) { c["vocab_size"] = std::string(100'000, '1'); },
                {"vocab_size", "found \"1111", "1...\""});
  refuse_config([](Json& c) { c["activation_function"] = "swish"; }, {"activation_function", "swish"});
  refuse_config([](Json& c) { c["add_cross_attention"] = true; }, {"add_cross_attention"});
  refuse_config([](Json& c) { c["layer_norm_epsilon"] = 0; }, {"layer_norm_epsilon"});
  refuse_config([](Json& c) { c["tie_word_embeddings"] = "yes"; }, {"tie_word_embeddings"});
  refuse_config([](Json& c) { c["eos_token_id"] = Json::array(); }, {"eos_token_id"});
}

TEST_CASE("a config.json that lies about sizes is refused before anything of that size is allocated") {
  const auto wrong = [](const char* key, std::int64_t value, const char* tensor) {
    refuse("plain", [&](const Path& m) { edit_config(m, [&](Json& c) { c[key] = value; }); }, {tensor});
  };
  wrong("vocab_size", 2147483647, "wte.weight");
  wrong("n_positions", 2000000000, "wpe.weight");
  wrong("n_inner", 2000000000, "mlp.c_fc.weight");
  wrong("n_layer", 1000, "h.2.ln_1.weight");
}

TEST_CASE("weights that are missing, misshapen, cut or not finite are refused by name") {
  refuse_weights([](auto& t) { t.erase(t.begin() + (&named(t, "transformer.h.1.ln_2.bias") - t.data())); },
                 {"transformer.h.1.ln_2.bias", "missing"});
  refuse_weights([](auto& t) { named(t, "transformer.h.0.attn.c_attn.weight").shape = {72, 24}; },
                 {"transformer.h.0.attn.c_attn.weight", "shape", "72, 24", "24, 72"});
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    refuse_weights(
        [&](auto& t) {
          eso::TensorView& tensor = named(t, "transformer.h.1.mlp.c_fc.bias");
          auto values = std::make_shared<std::vector<float>>(49, 0.F);
          (*values)[48] = value;
          tensor.bytes = std::as_bytes(std::span(*values));
          tensor.owner = values;
        },
        {"transformer.h.1.mlp.c_fc.bias", "finite"});
  }
  refuse("plain", [](const Path& m) { std::filesystem::resize_file(m / "model.safetensors", 40000); },
         {"model.safetensors"});
  refuse("plain", [](const Path& m) { write_file(m / "model.safetensors", ""); }, {"model.safetensors"});
  refuse("untied", [](const Path& m) { edit_config(m, [](Json& c) { c["vocab_size"] = 100; }); },
         {"wte.weight", "101, 30", "100, 30"});
}

TEST_CASE("an unknown type of numbers is refused by its tensor") {
  refuse("plain",
         [](const Path& m) {
           std::string file = read_file(m / "model.safetensors");
           for (std::size_t at = file.find("\"F32\""); at != std::string::npos; at = file.find("\"F32\"", at))
             file.replace(at, 5, "\"I32\"");
           write_file(m / "model.safetensors", file);
         },
         {"wte.weight"});
}

TEST_CASE("a tokenizer with more ids than the embedding has rows is refused with both numbers") {
  refuse("plain",
         [](const Path& m) {
           Json vocabulary = Json::parse(read_file(m / "vocab.json"));
           for (int id = 100; id < 103; ++id) vocabulary["new" + std::to_string(id)] = id;
           write_file(m / "vocab.json", vocabulary.dump());
         },
         {"103", "101"});
}

TEST_CASE("an end of sequence outside the vocabulary is refused where it is needed") {
  const TemporaryFolder folder;
  const Path model = copy_model("plain", folder);
  edit_config(model, [](Json& c) { c.erase("eos_token_id"); });  // GPT-2's default
  CHECK(program({"score", "--model", model.string()}, line).code == 0);
  CHECK(not_refused(program({"score", "--model", model.string()}, "{\"prompt\":\"a\",\"response\":\"b\"}"),
                    {"config.json", "eos_token_id", "50256", "0 to 100"}) == "");
}

TEST_CASE("what leaves the mathematics alone is ignored") {
  const TemporaryFolder folder;
  const Path model = copy_model("plain", folder);
  edit_config(model, [](Json& c) {
    c["attn_pdrop"] = 0.9;
    c["summary_type"] = "cls_index";
    c["torch_dtype"] = "float16";
    c["use_cache"] = false;
  });
  CHECK(program({"score", "--model", model.string()}, line).out ==
        program({"score", "--model", golden_model("plain")}, line).out);
}
