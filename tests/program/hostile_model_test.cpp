// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include "hostile_input.hpp"

// Model folders that are damaged or lie: safetensors, index, config.json and the tokenizer's files.

namespace {

namespace fs = std::filesystem;

const std::string text_line = "{\"prompt\":\"!\",\"response\":\"!\"}\n";

Words score(const std::string& model) { return {"score", "--model", model, "--threads", "1"}; }

using Damage = std::function<void(const fs::path& model)>;

Damage pipe_instead_of(const std::string& name) {
  return [=](const fs::path& m) { fs::remove(m / name), ::mkfifo((m / name).c_str(), 0600); };
}

/// A link that leads nowhere, as of a download whose content was removed.
Damage lost(const std::string& name) {
  return [=](const fs::path& m) { fs::remove(m / name), fs::create_symlink("nowhere", m / name); };
}

/// A damaged copy of a golden model, scored.
HostileCase damaged(std::string name, const std::string& model, Damage damage, std::string message) {
  return {std::move(name),
          [=](const Place& place) {
            damage(place.model(model));
            return score(place / "model");
          },
          std::move(message), 2, text_line};
}

// --- model.safetensors ---------------------------------------------------------------------------------

std::string little_endian(std::uint64_t number) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>((number >> (8 * i)) & 0xFFU);
  return bytes;
}

/// The golden model's file in its parts.
struct Golden {
  std::string header, values;
  Golden() {
    const std::string file = read_file(golden_model("plain") + "/model.safetensors");
    std::size_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length * 256 + static_cast<unsigned char>(file[i]);
    header = file.substr(8, length);
    values = file.substr(8 + length);
  }
};

/// What a clone without Git LFS has in place of a file, and a server in place of one that is not there.
const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n";
const std::string page = "\n<!DOCTYPE html><html><body>404 Not Found</body></html>";

HostileCase weights(std::string name, const std::string& file, const std::string& message) {
  return damaged(
      "weights: " + std::move(name), "plain",
      [=](const fs::path& m) { write_file(m / "model.safetensors", file); }, message);
}

std::vector<HostileCase> weights_cases() {
  const Golden golden;
  const std::string &header = golden.header, &values = golden.values;
  const std::string in_file = "@/model/model.safetensors: ", norm = "transformer.h.0.ln_1.weight",
                    of_norm = in_file + "tensor " + norm + ": ";
  const auto with_header = [&](const std::string& text) {
    return little_endian(text.size()) + text + values;
  };
  const auto edited = [&](const std::string& name, const std::function<void(Json&)>& edit,
                          const std::string& message) {
    Json json = Json::parse(header);
    edit(json);
    return weights(name, with_header(json.dump()), message);
  };
  const auto norm_with = [&](const std::string& name, const char* key, const Json& value,
                             const std::string& message) {
    return edited(name, [&](Json& json) { json[norm][key] = value; }, message);
  };
  const std::string not_json = in_file + "the header is not valid JSON at byte ";
  const std::string not_object = in_file + "the header does not begin with {";
  const std::string too_long = in_file + "the header is too long, found ";
  std::string not_utf8 = header, nan = values, infinite = values;
  not_utf8.replace(not_utf8.find("wte"), 1, "\xFF");
  nan.replace(0, 4, "\x00\x00\xC0\x7F", 4);
  infinite.replace(values.size() - 4, 4, "\x00\x00\x80\xFF", 4);
  const std::string twice = header.substr(0, header.rfind('}')) + ",\"" + norm +
                            "\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}";
  const std::string unknown = header.substr(0, header.rfind('}')) +
                              ",\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"y\":";
  const std::string wrong_form = "the header has the wrong form, found ";
  return {
      weights("no byte", "", in_file + "too short for safetensors, found 0 bytes"),
      weights("seven bytes", "1234567", in_file + "too short for safetensors, found 7 bytes"),
      weights("a Git LFS pointer", pointer, in_file + "is a Git LFS pointer, not the file itself"),
      weights("a web page", page, in_file + "is a web page (HTML or XML), expected safetensors"),
      weights("a short web page", "<html>", in_file + "is a web page"),
      weights("a zip", "PK\x03\x04" + values, in_file + "is a zip archive"),
      weights("a zip without a file", "PK\x05\x06" + std::string(18, '\0'), in_file + "is a zip archive"),
      weights("a pickle", "\x80\x02}q" + values, in_file + "is a Python pickle, which is never read"),
      weights("gzip", "\x1f\x8b\x08\x08" + values, in_file + "is compressed by gzip"),
      weights("GGUF", "GGUF\x03" + values, in_file + "is a GGUF file, expected safetensors"),
      weights("N = 0", little_endian(0) + values, not_object),
      weights("N = 1", little_endian(1) + header + values, not_json + "2"),
      weights("N = 7", little_endian(7) + header + values, not_json + "8"),
      weights("N one short", little_endian(header.size() - 1) + header + values,
              in_file + "the tensors do not cover the file"),
      weights("N = 10^8 + 1", little_endian(100'000'001) + header + values, too_long + "100000001 bytes"),
      weights("N = 2^63", little_endian(1ULL << 63U) + header + values,
              too_long + "9223372036854775808 bytes"),
      weights("N = 2^64 - 1", little_endian(~0ULL) + header + values,
              too_long + "18446744073709551615 bytes"),
      weights("N beyond the file", little_endian(80'000) + header + values,
              in_file + "the file ends inside its header"),
      weights("a bracket", with_header("["), not_object),
      weights("a byte order mark", with_header("\xEF\xBB\xBF" + header), not_object),
      weights("a NUL", with_header(header + std::string(1, '\0')), in_file + "the header has a zero byte"),
      weights("no UTF-8", with_header(not_utf8), not_json),
      weights("a name twice", with_header(twice),
              in_file + "tensor " + norm + ": stands twice in the header"),
      weights("nested a million deep",
              with_header(unknown + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}}"),
              in_file + "the header is nested too deeply"),
      weights("a byte behind", with_header(header) + "x", in_file + "the tensors do not cover the file"),
      weights("a byte less", with_header(header).substr(0, 8 + header.size() + values.size() - 1),
              in_file + "tensor transformer.wte.weight: data_offsets lie outside the file"),
      weights("half of it", with_header(header).substr(0, 8 + header.size() + values.size() / 2),
              in_file + "tensor "),
      norm_with("the end before the beginning", "data_offsets", {9792, 9696},
                of_norm + "data_offsets end before they begin"),
      norm_with("an overlap", "data_offsets", {0, 96},
                in_file + "tensor transformer.h.0.attn.c_attn.bias: overlaps the tensor before it"),
      edited(
          "a hole", [&](Json& json) { json.erase(norm); }, in_file + "tensor "),
      norm_with("offsets past the end", "data_offsets", {1ULL << 40U, (1ULL << 40U) + 96},
                of_norm + "data_offsets lie outside the file"),
      norm_with("a shape of 2^64 numbers", "shape", {1ULL << 32U, 1ULL << 32U},
                of_norm + "the shape is too large"),
      norm_with("a negative dimension", "shape", {-24}, of_norm + wrong_form + "a negative number"),
      norm_with("a dimension of 24.0", "shape", {24.0},
                of_norm + wrong_form + "a number that is not a plain integer"),
      norm_with("another shape", "shape", {2, 12},
                "@/model: the tensor " + norm + " has the wrong shape, found (2, 12), expected (24)"),
      norm_with("an unknown dtype", "dtype", "F31", of_norm + "unknown dtype, found F31"),
      norm_with("integers", "dtype", "I32", of_norm + "holds no weights, found dtype I32"),
      edited(
          "a missing tensor", [&](Json& json) { json["x"] = json[norm], json.erase(norm); },
          "@/model: the tensor " + norm + " is missing"),
      weights("not a number", little_endian(header.size()) + header + nan,
              "@/model: the tensor transformer.h.0.attn.c_attn.bias has a value that is not finite"),
      weights("infinite", little_endian(header.size()) + header + infinite,
              "@/model: the tensor transformer.wte.weight has a value that is not finite"),
      damaged(
          "weights: a folder", "plain",
          [](const fs::path& m) {
            fs::remove(m / "model.safetensors"), fs::create_directory(m / "model.safetensors");
          },
          in_file + "is not a regular file"),
      damaged("weights: a pipe", "plain", pipe_instead_of("model.safetensors"),
              in_file + "is not a regular file"),
      damaged("weights: a link that leads nowhere", "plain", lost("model.safetensors"),
              in_file + "no such file"),
  };
}

// --- model.safetensors.index.json ----------------------------------------------------------------------

HostileCase shard(std::string name, const Json& shard, const std::string& message) {
  return damaged(
      "index: " + std::move(name), "untied",
      [=](const fs::path& m) {
        Json index = Json::parse(read_file(m / "model.safetensors.index.json"));
        index["weight_map"]["wte.weight"] = shard;
        write_file(m / "model.safetensors.index.json", index.dump());
      },
      message);
}

HostileCase index(std::string name, const std::string& content, const std::string& message) {
  return damaged(
      "index: " + std::move(name), "untied",
      [=](const fs::path& m) { write_file(m / "model.safetensors.index.json", content); },
      "@/model/model.safetensors.index.json" + message);
}

std::vector<HostileCase> index_cases() {
  const std::string no_name =
      "@/model/model.safetensors.index.json: the shard of wte.weight is not a file of this folder";
  return {
      shard("a shard outside the folder", "../plain/model.safetensors", no_name),
      shard("a shard with an absolute path", "/etc/passwd", no_name),
      shard("a shard without a name", "", no_name),
      shard("a shard whose name no file can have", std::string(10'000, 'x'), no_name),
      shard("a shard that is no string", 5,
            "@/model/model.safetensors.index.json: the shard of wte.weight is not a string"),
      shard("a shard that is missing", "none.safetensors",
            "@/model/none.safetensors: is missing, named by model.safetensors.index.json"),
      shard("a shard that is no safetensors", "config.json", "@/model/config.json: the header is too long"),
      damaged(
          "index: a tensor that no shard has", "untied",
          [](const fs::path& m) {
            const fs::path shard = m / "model-00003-of-00003.safetensors";
            fs::copy_file(m / "model-00002-of-00003.safetensors", shard,
                          fs::copy_options::overwrite_existing);
          },
          "@/model: the tensor "),
      index("a Git LFS pointer", pointer, ": is a Git LFS pointer"),
      index("empty", "", ":1: is not JSON: it ends too early"),
      index("without a map", "{}", ": has no weight_map"),
      index("nested a million deep", std::string(1'000'000, '['), ": JSON is nested too deep at byte 65"),
  };
}

// --- config.json ---------------------------------------------------------------------------------------

HostileCase config_text(std::string name, const std::function<std::string(std::string)>& edit,
                        const std::string& message) {
  return damaged(
      "config: " + std::move(name), "plain",
      [=](const fs::path& m) { write_file(m / "config.json", edit(read_file(m / "config.json"))); }, message);
}

HostileCase config(const std::string& key, const Json& value, const std::string& message) {
  return config_text(
      fmt::format("{} = {}", key, value.dump()),
      [=](const std::string& text) {
        Json json = Json::parse(text);
        json[key] = value;
        return json.dump();
      },
      message);
}

std::vector<HostileCase> config_cases() {
  const std::string file = "@/model/config.json";
  const auto unusable = [&](const char* key, const std::string& found) {
    return fmt::format("{}: \"{}\" is not usable, found {}", file, key, found);
  };
  const auto value = [](const std::string& text) { return [=](const std::string&) { return text; }; };
  const auto replace = [](const std::string& what, const std::string& by) {
    return [=](std::string text) { return text.replace(text.find(what), what.size(), by); };
  };
  const std::string size = ", expected an integer from 1 to 2147483647";
  return {
      config("vocab_size", 1'000'000'000'000'000'000, unusable("vocab_size", "1000000000000000000" + size)),
      config("vocab_size", 2147483647,
             "@/model: the tensor transformer.wte.weight has the wrong shape, found (101, 24), expected "
             "(2147483647, 24)"),
      config("vocab_size", 101.0, unusable("vocab_size", "101.0" + size)),
      config("n_positions", 2147483647,
             "@/model: the tensor transformer.wpe.weight has the wrong shape, found (20, 24), expected "
             "(2147483647, 24)"),
      config("n_layer", 2147483647, "@/model: the tensor transformer.h.2.ln_1.weight is missing"),
      config("n_layer", "2", unusable("n_layer", "\"2\"" + size)),
      config("n_embd", -24, unusable("n_embd", "-24" + size)),
      config("n_head", 7, unusable("n_head", "7, expected a divisor of n_embd, 24")),
      config("n_head", 0, unusable("n_head", "0" + size)),
      config("hidden_size", 25, unusable("hidden_size", "25, expected 24 as in its synonym")),
      config("layer_norm_epsilon", 0, unusable("layer_norm_epsilon", "0, expected a number above 0")),
      config("layer_norm_epsilon", 1e39,
             unusable("layer_norm_epsilon", "1e+39, expected a number that float32 can hold")),
      config("layer_norm_epsilon", 1e-46,
             unusable("layer_norm_epsilon", "1e-46, expected a number that float32 can hold")),
      config("is_causal", false, unusable("is_causal", "false, expected true")),
      config("compression_config", {{"format", "pack-quantized"}},
             file + ": \"compression_config\": quantized weights are not implemented"),
      config("quantization_config", {{"quant_method", "bitsandbytes"}},
             file + ": \"quantization_config\": quantized weights are not implemented"),
      config_text("a Git LFS pointer", value(pointer), file + ": is a Git LFS pointer"),
      config_text("a web page", value(page), file + ": is a web page (HTML or XML), expected JSON"),
      damaged(
          "generation_config: no object", "plain",
          [](const fs::path& m) { write_file(m / "generation_config.json", "[]"); },
          "@/model/generation_config.json: wrong content, found an array, expected an object"),
      damaged(
          "generation_config: no id", "plain",
          [](const fs::path& m) { write_file(m / "generation_config.json", R"({"eos_token_id":[7,"x"]})"); },
          "@/model/generation_config.json: wrong value of \"eos_token_id[1]\", found \"x\""),
      config("eos_token_id", nullptr,
             file + ": \"eos_token_id\" names no end of sequence, and one is needed, found null, expected an "
                    "id, or --no-eos"),
      config("activation_function", "swish", unusable("activation_function", "\"swish\"")),
      config("model_type", "llama",
             file + ": \"model_type\" is not supported, found \"llama\", expected \"gpt2\", \"opt\" or "
                    "\"gpt_neox\""),
      config("tie_word_embeddings", "yes",
             file + ": wrong value of \"tie_word_embeddings\", found \"yes\", expected true or false"),
      config("add_cross_attention", true, unusable("add_cross_attention", "true, expected false")),
      config("eos_token_id", 101,
             file + ": \"eos_token_id\" lies outside the vocabulary, found 101, expected 0 to 100"),
      config("eos_token_id", Json::array(), unusable("eos_token_id", "[]")),
      config_text("a NaN", replace("101", "NaN"), file + ":6: is not JSON at byte "),
      config_text("1e999", replace("101", "1e999"), file + ": holds a number that is out of range"),
      config_text("empty", value(""), file + ":1: is not JSON: it ends too early"),
      config_text("a list", value("[]"), file + ": wrong content, found an array, expected an object"),
      config_text("no UTF-8", replace("gelu_new", "gelu\xFF"), file + ": malformed UTF-8 at byte "),
      config_text(
          "a NUL", [](const std::string& text) { return text + '\0' + "{"; }, file + ": a NUL at byte "),
      config_text("a line end in a word", replace("gelu_new", "a\\nb\\u001b"),
                  unusable("activation_function", "\"a b\\u001B\"")),
      config_text("nested a million deep",
                  value("{\"x\":" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}"),
                  file + ": JSON is nested too deep at byte 69"),
      damaged(
          "config: a terabyte", "plain",
          [](const fs::path& m) {
            write_file(m / "config.json", ""), fs::resize_file(m / "config.json", 1ULL << 40U);
          },
          file + ": is larger than 67108864 bytes"),
      damaged(
          "config: missing", "plain", [](const fs::path& m) { fs::remove(m / "config.json"); },
          file + ": no such file"),
  };
}

// --- tokenizer -----------------------------------------------------------------------------------------

HostileCase tokenizer(std::string name, const std::string& file, const std::string& content,
                      const std::string& message) {
  return damaged(
      fmt::format("{}: {}", file, name), "plain", [=](const fs::path& m) { write_file(m / file, content); },
      fmt::format("@/model/{}{}", file, message));
}

std::vector<HostileCase> tokenizer_cases() {
  const std::string vocabulary = read_file(golden_model("plain") + "/vocab.json");
  const std::string merges = read_file(golden_model("plain") + "/merges.txt");
  const auto more = [&](const std::string& entry) {
    return vocabulary.substr(0, vocabulary.rfind('}')) + "," + entry + "}";
  };
  const auto json = [&](const char* key, const Json& value) {
    Json whole{{"model", {{"type", "BPE"}, {"vocab", Json::parse(vocabulary)}, {"merges", {"t h"}}}},
               {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
               {"decoder", {{"type", "ByteLevel"}}}};
    whole[Json::json_pointer(key)] = value;
    return whole.dump();
  };
  const std::string range = ", expected an integer from 0 to 2147483647";
  return {
      tokenizer("cut", "vocab.json", vocabulary.substr(0, vocabulary.size() / 2), ":1: is not JSON"),
      tokenizer("a list", "vocab.json", "[]", ": wrong content, found an array, expected an object"),
      tokenizer("an id of 2^31", "vocab.json", more("\"x\":2147483648"),
                ": wrong value of \"x\", found 2147483648" + range),
      tokenizer("an id that is a text", "vocab.json", more("\"x\":\"1\""),
                ": wrong value of \"x\", found \"1\"" + range),
      tokenizer("an id twice", "vocab.json", more("\"x\":5"),
                ": two tokens have the id 5, the second is \"x\""),
      damaged(
          "vocab.json: an id beyond the model", "plain",
          [text = more("\"x\":2147483647")](const fs::path& m) { write_file(m / "vocab.json", text); },
          "@/model: the tokenizer has more ids than the embedding has rows, found 2147483648 ids, expected "
          "at most 101"),
      tokenizer("an absent token", "merges.txt", merges + "q qq\n",
                ":5: a merge names a token that is not in the vocabulary, found \"qq\""),
      tokenizer("a line of three", "merges.txt", merges + "a b c\n",
                ":5: is no merge, found \"a b c\", expected two tokens with a space between"),
      tokenizer("no UTF-8", "merges.txt", merges + "\xFF x\n", ":5: malformed UTF-8 at byte 1"),
      tokenizer("a line of 65 MiB", "merges.txt", std::string(std::size_t{65} << 20U, 'x'),
                ":1: the line is longer than 67108864 bytes"),
      damaged(
          "merges.txt: missing", "plain", [](const fs::path& m) { fs::remove(m / "merges.txt"); },
          "@/model/merges.txt: no such file"),
      damaged("merges.txt: a pipe", "plain", pipe_instead_of("merges.txt"),
              "@/model/merges.txt: is no regular file"),
      damaged("special_tokens_map.json: a link that leads nowhere", "plain", lost("special_tokens_map.json"),
              "@/model/special_tokens_map.json: is a link that leads to no file"),
      tokenizer("a token that is a number", "special_tokens_map.json", "{\"eos_token\":5}",
                ": wrong value of \"eos_token\", found 5"),
      tokenizer("a key that is no id", "tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{}}}",
                ": a key of \"added_tokens_decoder\" is not a token id, found \"x\""),
      tokenizer("an id with a gap", "added_tokens.json", "{\"zz\":2147483647}",
                ": wrong id of added token \"zz\", found 2147483647, expected 100"),
      tokenizer("another kind", "tokenizer.json", json("/model/type", "Unigram"),
                ": wrong value of \"model.type\", found \"Unigram\", expected BPE"),
      tokenizer("a normalizer that is not there", "tokenizer.json", json("/normalizer", {{"type", "NFKC"}}),
                ": wrong value of \"normalizer.type\", found \"NFKC\", expected null or NFC"),
      tokenizer("an absent token", "tokenizer.json", json("/model/merges", {"q qq"}),
                ": model.merges[0]: a merge names a token that is not in the vocabulary, found \"qq\""),
      tokenizer("no model", "tokenizer.json", json("/model", nullptr),
                ": wrong value of \"model\", found null"),
  };
}

}  // namespace

TEST_CASE("weights that are damaged or lie are refused, and nothing of the size they promise is allocated") {
  check_all(weights_cases(), 30);
}

TEST_CASE("an index of shards that lies is refused") { check_all(index_cases(), 10); }

TEST_CASE("a config.json that is damaged or absurd is refused") { check_all(config_cases(), 25); }

TEST_CASE("tokenizer files that are damaged or contradict each other are refused") {
  check_all(tokenizer_cases(), 20);
}

TEST_CASE("eso convert leaves no folder behind for a model that it refuses") {
  for (const std::vector<HostileCase>& cases : {weights_cases(), config_cases()}) {
    for (HostileCase c : cases) {
      if (c.message.find("eos_token_id\" lies") != std::string::npos ||
          c.message.find("eos_token_id\" names no") != std::string::npos)
        continue;  // nothing for convert to mind
      INFO(c.name);
      c.prepare = [prepare = c.prepare](const Place& place) {
        prepare(place);
        return Words{"convert", "--model", place / "model", "--output", place / "out", "--threads", "1"};
      };
      CHECK(not_held(c) == "");
    }
  }
}
