// SPDX-License-Identifier: MIT
// The files of a tokenizer and a text to encode. The first byte of the input says what its parts (see
// parts_of) are:
//   j  tokenizer.json; text; special_tokens_map.json; tokenizer_config.json; added_tokens.json; config.json
//   v  vocab.json; merges.txt; text; special_tokens_map.json; tokenizer_config.json; added_tokens.json
//   b  flags; merges, a line "left right" each in plain bytes; added tokens, a line each; text: a tokenizer
//      with all bytes is made of them here, whose decoding must give the text again

#include <algorithm>
#include <map>
#include <set>

#include "eso/text/byte_level_bpe.hpp"
#include "fuzz.hpp"

namespace {

using eso::Tokens;

/// The laws of every tokenizer that loads: nothing but UTF-8 is encoded, ids are those of tokens, what is
/// decoded is UTF-8.
std::optional<Tokens> check_text(const eso::ByteLevelBpe& tokenizer, std::string_view text) {
  const auto ids = fuzz::attempt([&] { return tokenizer.encode(text); });
  fuzz::check(ids.has_value() == !eso::first_invalid_utf8(text),
              "exactly the texts that are UTF-8 are encoded");
  Tokens any{0, -1, std::numeric_limits<eso::TokenId>::max(), std::numeric_limits<eso::TokenId>::min()};
  for (const char byte : text) any.push_back(byte);
  fuzz::check(!eso::first_invalid_utf8(tokenizer.decode(any)), "any ids decode to UTF-8");
  if (!ids) return std::nullopt;
  for (const eso::TokenId id : *ids) {
    fuzz::check(id >= 0 && id < tokenizer.vocabulary_size(), "an id is in the vocabulary");
  }
  const std::string decoded = tokenizer.decode(*ids);
  fuzz::check(!eso::first_invalid_utf8(decoded), "a text decodes to UTF-8");
  fuzz::check(tokenizer.decode(*ids, true).size() <= decoded.size() + 3 * ids->size(),
              "special tokens are left out");
  return ids;
}

void load_and_check(std::string_view text) {
  const auto tokenizer = fuzz::attempt([] { return eso::ByteLevelBpe::load(fuzz::folder()); });
  if (!tokenizer) return;
  check_text(*tokenizer, text);
  check_text(*tokenizer, eso::to_valid_utf8(text));
  for (const std::filesystem::path& file : tokenizer->files()) {
    fuzz::check(std::filesystem::is_regular_file(file), "the files of a tokenizer are there");
  }
}

void write_or_remove(const char* name, std::string_view content) {
  std::filesystem::remove(fuzz::folder() / name);
  if (!content.empty()) write_file(fuzz::folder() / name, content);
}

void from_vocabulary(std::string_view input) {
  const auto parts = fuzz::parts_of(input, 6);
  const char* const names[] = {
      "vocab.json",       "merges.txt", nullptr, "special_tokens_map.json", "tokenizer_config.json",
      "added_tokens.json"};
  for (const char* name : {"tokenizer.json", "config.json"}) write_or_remove(name, "");
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (names[i] != nullptr) write_or_remove(names[i], parts[i]);
  }
  load_and_check(parts[2]);
}

void from_json(std::string_view input) {
  const auto parts = fuzz::parts_of(input, 6);
  const char* const names[] = {
      nullptr,      nullptr, "special_tokens_map.json", "tokenizer_config.json", "added_tokens.json",
      "config.json"};
  write_file(fuzz::folder() / "tokenizer.json", parts[0]);
  for (std::size_t i = 2; i < parts.size(); ++i) write_or_remove(names[i], parts[i]);
  load_and_check(parts[1]);
}

/// A tokenizer of the harness's own making, and what is known of it.
struct Made {
  std::map<std::string, eso::TokenId> ids;                  // by bytes
  std::vector<std::pair<std::string, std::string>> merges;  // of bytes
  nlohmann::json added = nlohmann::json::array();
  bool exact = true;  // decoding gives back the text
  bool nfc = false, prefix = false, pattern = true, ignore_merges = false;
  std::size_t new_tokens = 0;

  explicit Made(const std::vector<std::string_view>& parts) {
    const int flags = parts[0].empty() ? 0 : parts[0][0];
    nfc = (flags & 1) != 0, prefix = (flags & 2) != 0, pattern = (flags & 4) == 0,
    ignore_merges = (flags & 8) != 0;
    for (int byte = 0; byte < 256; ++byte) ids.emplace(std::string(1, static_cast<char>(byte)), byte);
    for (const std::string_view line : lines_of(parts[1])) add_merge(line);
    std::set<std::string> contents;
    for (const std::string_view line : lines_of(parts[2])) {
      if (line.size() < 2 || !contents.insert(eso::to_valid_utf8(line.substr(1))).second) continue;
      add_token(line[0], eso::to_valid_utf8(line.substr(1)));
    }
  }

  static std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      lines.push_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
  }

  void add_merge(std::string_view line) {
    const std::size_t space = line.find(' ', 1);  // the left token may be a space
    if (space == std::string_view::npos || ids.size() > 1000) return;
    const std::string left(line.substr(0, space)), right(line.substr(space + 1));
    if (!ids.contains(left) || !ids.contains(right)) return;
    merges.emplace_back(left, right);
    ids.emplace(left + right, static_cast<eso::TokenId>(ids.size()));
  }

  void add_token(char flags, const std::string& content) {
    const bool plain = (flags & 7) == 0 && eso::token_bytes(content) == content && !prefix && !nfc;
    exact = exact && plain;
    const std::string bytes = eso::token_bytes(content);
    const bool known = eso::spell(bytes) == content && ids.contains(bytes);
    const std::size_t id = known ? static_cast<std::size_t>(ids.at(bytes)) : ids.size() + new_tokens++;
    added.push_back({{"id", id},
                     {"content", content},
                     {"lstrip", (flags & 1) != 0},
                     {"rstrip", (flags & 2) != 0},
                     {"single_word", (flags & 4) != 0},
                     {"normalized", (flags & 8) != 0},
                     {"special", (flags & 16) != 0}});
  }

  std::string tokenizer_json() const {
    const auto quoted = [](std::string_view bytes) { return nlohmann::json(eso::spell(bytes)).dump(); };
    static const std::string all_bytes = [&] {
      std::string entries;
      for (int i = 0; i < 256; ++i) {
        const char byte = static_cast<char>(i);
        entries += fmt::format("{}{}:{}", i > 0 ? "," : "", quoted({&byte, 1}), i);
      }
      return entries;
    }();
    std::string vocabulary = all_bytes, pairs;
    for (const auto& [bytes, id] : ids) {
      if (bytes.size() > 1) vocabulary += fmt::format(",{}:{}", quoted(bytes), id);
    }
    for (const auto& [left, right] : merges) {
      pairs += fmt::format("{}[{},{}]", pairs.empty() ? "" : ",", quoted(left), quoted(right));
    }
    return fmt::format(
        R"({{"normalizer":{},"pre_tokenizer":{{"type":"ByteLevel","add_prefix_space":{},"use_regex":{}}},)"
        R"("decoder":{{"type":"ByteLevel"}},"added_tokens":{},)"
        R"("model":{{"type":"BPE","vocab":{{{}}},"merges":[{}],"ignore_merges":{}}}}})",
        nfc ? R"({"type":"NFC"})" : "null", prefix, pattern, added.dump(), vocabulary, pairs, ignore_merges);
  }

  /// The text as the tokenizer sees it.
  std::string seen(std::string_view text) const {
    const std::string normal = nfc ? eso::Nfc::normalize(text) : std::string(text);
    return prefix && !normal.empty() && normal[0] != ' ' ? " " + normal : normal;
  }

  /// The ids of a text without added tokens, by the definition: join the first pair of the earliest merge,
  /// and again.
  Tokens encode_slowly(const std::string& text) const {
    Tokens result;
    std::map<Pair, std::size_t> ranks;  // of two equal merges the last counts
    for (std::size_t i = 0; i < merges.size(); ++i) ranks[pair_of(merges[i])] = i;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = pattern ? eso::gpt2_word_end(text, begin) : text.size();
      const std::string bytes = text.substr(begin, end - begin);
      begin = end;
      Tokens word;
      for (const char byte : bytes) word.push_back(static_cast<std::uint8_t>(byte));
      if (ignore_merges && ids.contains(bytes)) word = {ids.at(bytes)};
      while (join_once(word, ranks)) {}
      result.insert(result.end(), word.begin(), word.end());
    }
    return result;
  }

 private:
  using Pair = std::pair<eso::TokenId, eso::TokenId>;

  Pair pair_of(const std::pair<std::string, std::string>& merge) const {
    return {ids.at(merge.first), ids.at(merge.second)};
  }

  bool join_once(Tokens& word, const std::map<Pair, std::size_t>& ranks) const {
    std::size_t best = word.size(), lowest = merges.size();
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const auto found = ranks.find({word[i], word[i + 1]});
      if (found != ranks.end() && found->second < lowest) best = i, lowest = found->second;
    }
    if (best == word.size()) return false;
    word[best] = ids.at(merges[lowest].first + merges[lowest].second);
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    return true;
  }
};

void from_bytes(std::string_view input) {
  const auto parts = fuzz::parts_of(input, 4);
  const Made made(parts);
  for (const char* name :
       {"special_tokens_map.json", "tokenizer_config.json", "added_tokens.json", "config.json"}) {
    write_or_remove(name, "");
  }
  write_file(fuzz::folder() / "tokenizer.json", made.tokenizer_json());
  const eso::ByteLevelBpe tokenizer = eso::ByteLevelBpe::load(fuzz::folder());
  check_text(tokenizer, parts[3]);
  const std::string text = eso::to_valid_utf8(parts[3]);
  const auto ids = check_text(tokenizer, text);
  if (made.exact) fuzz::check(tokenizer.decode(*ids) == made.seen(text), "decoding gives back the text");
  if (made.added.empty() && text.size() < 300) {
    fuzz::check(*ids == made.encode_slowly(made.seen(text)), "the ids are those of the definition");
  }
  const std::string normal = eso::Nfc::normalize(text);
  fuzz::check(eso::Nfc::normalize(normal) == normal, "normalising twice changes nothing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::QuickEnough quick;
  if (size == 0) return 0;
  const std::string_view input = fuzz::text_of(data + 1, size - 1);
  if (data[0] == 'b') return from_bytes(input), 0;
  if (data[0] == 'v') return from_vocabulary(input), 0;
  from_json(input);
  return 0;
}
