// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eso/model/architecture.hpp"
#include "eso/text/json_file.hpp"

namespace eso {

/// The values of a model's `config.json` as all families have them. A key that is missing or null has the
/// default that is given.
///
/// \throws Error (input) naming file and key for a value of the wrong type or size.
class ConfigValues {
 public:
  explicit ConfigValues(const JsonNode& config) : config_(config) {}

  Error wrong(const std::string& key, const std::string& found, const std::string& expected) const {
    return input_error(config_.path(), fmt::format("\"{}\" is not usable", key), found, expected);
  }

  std::optional<JsonNode> find(const char* key) const { return config_.find(key); }

  /// The key under which the file has it.
  const char* spelled(const char* own, const char* general) const {
    return config_.find(own) || !config_.find(general) ? own : general;
  }

  /// What the keys say that are there, which must be one and the same: an integer of at least 1.
  Index count(std::initializer_list<const char*> keys, Index otherwise) const {
    std::optional<Index> found;
    for (const char* key : keys) {
      const auto node = config_.find(key);
      if (!node) continue;
      constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
      const nlohmann::json& value = node->value();
      if (!value.is_number_integer() ||
          (value.is_number_unsigned() && value.get<std::uint64_t>() > largest) ||
          value.get<std::int64_t>() < 1) {
        throw wrong(key, node->found(), "an integer from 1 to 2147483647");
      }
      const auto number = static_cast<Index>(value.get<std::int64_t>());
      if (found && *found != number)
        throw wrong(key, node->found(), fmt::format("{} as in its synonym", *found));
      found = number;
    }
    return found.value_or(otherwise);
  }

  double positive(const char* key, double otherwise) const {
    const auto node = config_.find(key);
    return node ? positive(*node) : otherwise;
  }
  double positive(const JsonNode& node) const {
    const double value = node.value().is_number() ? node.value().get<double>() : -1;
    if (!(value > 0) || !std::isfinite(value)) throw wrong(node.key(), node.found(), "a number above 0");
    if (value > std::numeric_limits<float>::max() || !(static_cast<float>(value) > 0))
      throw wrong(node.key(), node.found(), "a number that float32 can hold");
    return value;
  }

  /// A share of units that dropout sets to zero.
  double rate(const char* key, double otherwise) const {
    const auto node = config_.find(key);
    if (!node) return otherwise;
    const double value = node->value().is_number() ? node->value().get<double>() : -1;
    if (!(value >= 0 && value < 1)) throw wrong(key, node->found(), "a number of at least 0, below 1");
    return value;
  }

  bool boolean(const char* key, bool otherwise) const { return config_.boolean_or(key, otherwise); }

  /// For a setting of which one value alone is implemented, the one that a missing key means.
  void require_boolean(const char* key, bool expected) const {
    if (config_.boolean_or(key, expected) == expected) return;
    throw wrong(key, expected ? "false" : "true", expected ? "true" : "false");
  }

  /// The heads must divide the width. The names are those under which the file has the two.
  void check_heads(const Architecture& a, const char* heads, const char* width) const {
    if (a.width % a.heads == 0) return;
    throw wrong(heads, fmt::format("{}", a.heads), fmt::format("a divisor of {}, {}", width, a.width));
  }

  Activation activation(const char* key, Activation otherwise) const {
    const auto node = config_.find(key);
    if (!node) return otherwise;
    const std::string& name = node->string();
    if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast")
      return Activation::gelu_tanh;
    if (name == "gelu" || name == "gelu_python") return Activation::gelu;
    if (name == "relu") return Activation::relu;
    throw wrong(key, in_quotes(name), "gelu_new, gelu_pytorch_tanh, gelu_fast, gelu, gelu_python or relu");
  }

  /// What `eos_token_id` says: an id or a list of them, none where it is null, `otherwise` where it is
  /// missing.
  std::vector<TokenId> ends(std::vector<TokenId> otherwise) const {
    const nlohmann::json& config = config_.value();
    const auto found = config.find("eos_token_id");
    if (found == config.end()) return otherwise;
    if (found->is_null()) return {};
    const JsonNode node = config_.at("eos_token_id");
    if (!found->is_array()) return {node.id()};
    std::vector<TokenId> ids;
    node.each_element([&](const JsonNode& id) { ids.push_back(id.id()); });
    if (ids.empty()) throw wrong("eos_token_id", "[]", "an id or a list of ids");
    return ids;
  }

  /// Reads `eos_token_id` into the architecture.
  void read_ends(Architecture& a, TokenId otherwise) const {
    a.ends = ends({otherwise});
    a.end_of_sequence = a.ends.empty() ? std::nullopt : std::optional(a.ends.front());
  }

  /// \throws Error (input) for settings of any family that are not implemented: attention to what follows,
  /// and quantized weights.
  void refuse_unimplemented() const {
    require_boolean("is_causal", true);
    for (const char* key : {"quantization_config", "compression_config"}) {
      if (config_.find(key))
        throw input_error(config_.path(), fmt::format("\"{}\": quantized weights are not implemented", key));
    }
  }

 private:
  JsonNode config_;
};

}  // namespace eso
