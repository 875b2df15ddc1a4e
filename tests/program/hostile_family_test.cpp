// SPDX-License-Identifier: MIT
#include "hostile_input.hpp"

// config.json and weights of OPT and GPT-NeoX that are damaged or ask for what is not implemented.

namespace {

namespace fs = std::filesystem;

/// A damaged copy of a golden model, scored.
HostileCase damaged(std::string name, const std::string& model,
                    const std::function<void(const fs::path&)>& damage, std::string message) {
  return {std::move(name),
          [=](const Place& place) {
            damage(place.model(model));
            return Words{"score", "--model", place / "model", "--threads", "1"};
          },
          std::move(message), 2, "{\"prompt\":\"!\",\"response\":\"!\"}\n"};
}

/// With these values in config.json.
HostileCase config(const std::string& model, const Json& values, const std::string& message) {
  return damaged(
      model + " " + values.dump(), model,
      [=](const fs::path& m) {
        Json json = Json::parse(read_file(m / "config.json"));
        json.update(values);
        write_file(m / "config.json", json.dump());
      },
      message);
}

HostileCase unusable(const std::string& model, const Json& values, const std::string& key,
                     const std::string& found) {
  return config(model, values,
                fmt::format("@/model/config.json: \"{}\" is not usable, found {}", key, found));
}

const std::string size = ", expected an integer from 1 to 2147483647";

std::vector<HostileCase> opt_cases() {
  const std::string opt = "opt/before", after = "opt/after";
  const auto wrong_shape = [](const std::string& tensor, const std::string& found,
                              const std::string& expected) {
    return fmt::format("@/model: the tensor {} has the wrong shape, found ({}), expected ({})", tensor, found,
                       expected);
  };
  std::vector<HostileCase> cases{
      unusable(opt, {{"enable_bias", false}}, "enable_bias", "false, expected true"),
      unusable(opt, {{"layer_norm_elementwise_affine", false}}, "layer_norm_elementwise_affine",
               "false, expected true"),
      unusable(opt, {{"activation_function", "silu"}}, "activation_function", "\"silu\""),
      unusable(opt, {{"num_attention_heads", 5}}, "num_attention_heads",
               "5, expected a divisor of hidden_size, 24"),
      unusable(opt, {{"num_hidden_layers", 1.5}}, "num_hidden_layers", "1.5" + size),
      unusable(after, {{"eos_token_id", Json::array()}}, "eos_token_id", "[]"),
      config(opt, {{"do_layer_norm_before", 1}},
             "@/model/config.json: wrong value of \"do_layer_norm_before\", found 1, expected true or false"),
      config(opt, {{"_remove_final_layer_norm", "no"}},
             "@/model/config.json: wrong value of \"_remove_final_layer_norm\", found \"no\""),
      config(opt, {{"word_embed_proj_dim", 12}},
             wrong_shape("model.decoder.embed_tokens.weight", "101, 24", "101, 12")),
      config(after, {{"word_embed_proj_dim", 24}},
             wrong_shape("decoder.embed_tokens.weight", "101, 10", "101, 24")),
      config(opt, {{"ffn_dim", 48}}, wrong_shape("model.decoder.layers.0.fc1.weight", "49, 24", "48, 24")),
      config(opt, {{"max_position_embeddings", 22}},
             wrong_shape("model.decoder.embed_positions.weight", "22, 24", "24, 24")),
      config(opt, {{"max_position_embeddings", 2147483647}},
             wrong_shape("model.decoder.embed_positions.weight", "22, 24", "2147483649, 24")),
      config(opt, {{"num_hidden_layers", 2147483647}},
             "@/model: the tensor model.decoder.layers.2.self_attn_layer_norm.weight is missing"),
      config(opt, {{"tie_word_embeddings", false}}, "@/model: the tensor lm_head.weight is missing"),
      config(after, {{"do_layer_norm_before", true}},
             "@/model: the tensor model.decoder.final_layer_norm.weight is missing"),
  };
  for (const char* key : {"vocab_size", "hidden_size", "ffn_dim", "max_position_embeddings",
                          "word_embed_proj_dim", "num_hidden_layers"}) {
    cases.push_back(unusable(opt, {{key, 0}}, key, "0" + size));
    cases.push_back(unusable(opt, {{key, "24"}}, key, "\"24\"" + size));
  }
  return cases;
}

std::vector<HostileCase> neox_cases() {
  const std::string old = "gpt_neox/parallel", rope = "gpt_neox/sequential";
  const auto with = [](const char* key, const Json& value) {
    Json parameters{{"rope_type", "default"}, {"rope_theta", 50.0}, {"partial_rotary_factor", 1.0}};
    parameters[key] = value;
    return Json{{"rope_parameters", parameters}};
  };
  const std::string above = ", expected a number above 0", even = ", expected an even number of at least 2";
  std::vector<HostileCase> cases{
      unusable(old, {{"attention_bias", false}}, "attention_bias", "false, expected true"),
      unusable(old, {{"hidden_act", "gelu_10"}}, "hidden_act", "\"gelu_10\""),
      unusable(old, {{"num_attention_heads", 7}}, "num_attention_heads",
               "7, expected a divisor of hidden_size, 24"),
      unusable(old, {{"layer_norm_eps", -1}}, "layer_norm_eps", "-1" + above),
      unusable(old, {{"head_dim", 16}}, "head_dim", "16, expected 8"),
      unusable(old, {{"rotary_pct", 0}}, "rotary_pct", "0" + above),
      unusable(old, {{"rotary_pct", "all"}}, "rotary_pct", "\"all\"" + above),
      unusable(old, {{"rotary_pct", 1.25}}, "rotary_pct", "1.25, expected above 0, at most 1"),
      unusable(old, {{"rotary_pct", 0.125}}, "rotary_pct",
               "0.125, which turns 1 of a head's 8 entries" + even),
      unusable(old, {{"rotary_pct", 0.4}}, "rotary_pct", "0.4, which turns 3 of a head's 8 entries" + even),
      unusable(old, {{"rotary_pct", nullptr}, {"num_attention_heads", 6}}, "rotary_pct",
               "0.25, which turns 1 of a head's 4 entries" + even),
      unusable(old, {{"rotary_emb_base", 0}}, "rotary_emb_base", "0" + above),
      unusable(old, {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}, "rope_scaling.type",
               "\"linear\", expected \"default\""),
      unusable(rope, with("rope_type", "yarn"), "rope_parameters.rope_type",
               "\"yarn\", expected \"default\""),
      unusable(rope, with("rope_theta", -5), "rope_parameters.rope_theta", "-5" + above),
      unusable(rope, with("partial_rotary_factor", 2), "rope_parameters.partial_rotary_factor",
               "2, expected above 0, at most 1"),
      unusable(rope, with("partial_rotary_factor", 0.4), "rope_parameters.partial_rotary_factor",
               "0.4, which turns 3"),
      unusable(rope, {{"rotary_pct", 0.5}}, "rope_parameters.partial_rotary_factor",
               "1.0, expected 0.5 as in rotary_pct"),
      unusable(rope, {{"rotary_emb_base", 10000}}, "rope_parameters.rope_theta",
               "50.0, expected 10000 as in rotary_emb_base"),
      config(rope, {{"rope_parameters", 5}},
             "@/model/config.json: wrong value of \"rope_parameters\", found 5, expected an object"),
      config(rope, with("rope_type", 5),
             "@/model/config.json: wrong value of \"rope_parameters.rope_type\", found 5, expected a string"),
      config(old, {{"use_parallel_residual", "yes"}},
             "@/model/config.json: wrong value of \"use_parallel_residual\", found \"yes\", expected true or "
             "false"),
      config(old, {{"intermediate_size", 48}},
             "@/model: the tensor gpt_neox.layers.0.mlp.dense_h_to_4h.weight has the wrong shape, found (49, "
             "24), "
             "expected (48, 24)"),
      config(old, {{"num_hidden_layers", 3}},
             "@/model: the tensor gpt_neox.layers.2.input_layernorm.weight is missing"),
      config(old, {{"model_type", "gpt_neox_japanese"}},
             "@/model/config.json: \"model_type\" is not supported, found \"gpt_neox_japanese\", expected "
             "\"gpt2\", "
             "\"opt\" or \"gpt_neox\""),
      config(old, {{"model_type", "opt"}},
             "@/model: the tensor model.decoder.embed_tokens.weight is missing"),
  };
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings", "num_hidden_layers"}) {
    cases.push_back(unusable(old, {{key, 0}}, key, "0" + size));
    cases.push_back(unusable(old, {{key, 2147483648}}, key, "2147483648" + size));
  }
  return cases;
}

/// One tensor of the only file under another name: header and file stay as long as they were.
HostileCase renamed(const std::string& model, const std::string& tensor) {
  return damaged(
      model + " without " + tensor, model,
      [=](const fs::path& m) {
        std::string file = read_file(m / "model.safetensors");
        const std::size_t at = file.find("\"" + tensor + "\"");
        REQUIRE(at != std::string::npos);
        file.at(at + 1) = 'x';
        write_file(m / "model.safetensors", file);
      },
      fmt::format("@/model: the tensor {} is missing", tensor));
}

}  // namespace

TEST_CASE("an OPT's config.json that is absurd or asks for what is not there is refused") {
  check_all(opt_cases(), 25);
}

TEST_CASE("a GPT-NeoX's config.json that is absurd or asks for what is not there is refused") {
  check_all(neox_cases(), 30);
}

TEST_CASE("a tensor that is missing is named as transformers names it") {
  check_all({renamed("opt/before", "model.decoder.layers.1.self_attn.k_proj.bias"),
             renamed("opt/before", "model.decoder.final_layer_norm.bias"),
             renamed("gpt_neox/parallel", "gpt_neox.layers.1.attention.query_key_value.weight"),
             renamed("gpt_neox/parallel", "embed_out.weight")},
            4);
}
