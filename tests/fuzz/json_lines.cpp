// SPDX-License-Identifier: MIT
// Examples as JSON lines. The first byte of the input selects the format and the way: 0 to 10 as a stream
// that comes in pieces, 11 to 21 as a gzip file compressed here in two members, 22 to 32 the bytes themselves
// as a gzip file. Of the eleven nine are the formats, then hh as DPO cuts it and xsum with its other
// template.

#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <istream>
#include <nlohmann/json.hpp>
#include <streambuf>

#include "eso/data/formats.hpp"
#include "eso/data/json_lines.hpp"
#include "fuzz.hpp"

namespace {

/// Hands out 1, 2, ..., 7, 1, ... bytes at a time.
class Pieces : public std::streambuf {
 public:
  explicit Pieces(std::string_view text) : text_(text) {}

 protected:
  int_type underflow() override {
    if (at_ == text_.size()) return traits_type::eof();
    const std::size_t size = std::min(text_.size() - at_, 1 + count_++ % 7);
    text_.copy(piece_, size, at_);
    at_ += size;
    setg(piece_, piece_, piece_ + size);
    return traits_type::to_int_type(piece_[0]);
  }

 private:
  std::string text_;
  std::size_t at_ = 0, count_ = 0;
  char piece_[8];
};

std::string compressed(std::string_view text) {
  z_stream stream{};
  fuzz::check(deflateInit2(&stream, 1, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK,
              "zlib works");
  std::string result(deflateBound(&stream, text.size()) + 64, '\0');
  std::string copy(text);
  stream.next_in = reinterpret_cast<Bytef*>(copy.data());
  stream.avail_in = static_cast<uInt>(copy.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  fuzz::check(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib works");
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

/// The line with what the JSON parser refuses of values that a reader may leave alone made plain: surrogates
/// and numbers of many digits. Whether it is JSON stays the same.
std::string tamed(std::string_view line) {
  std::string result;
  bool quoted = false;
  for (std::size_t i = 0; i < line.size();) {
    const char c = line[i];
    const auto is_digit = [&] { return i < line.size() && line[i] >= '0' && line[i] <= '9'; };
    if (quoted && c == '\\') {
      const std::string_view escape = line.substr(i, 6);
      const bool surrogate = escape.size() == 6 && escape[1] == 'u' && (escape[2] | 0x20) == 'd' &&
                             std::string_view("89abcdefABCDEF").find(escape[3]) != std::string_view::npos &&
                             std::isxdigit(static_cast<unsigned char>(escape[4])) != 0 &&
                             std::isxdigit(static_cast<unsigned char>(escape[5])) != 0;
      result += surrogate ? std::string_view("\\u0041") : escape.substr(0, 2);
      i += surrogate ? 6 : std::min<std::size_t>(2, escape.size());
    } else if (!quoted && is_digit()) {
      const std::string_view before =
          std::string_view(result).substr(result.size() - std::min<std::size_t>(2, result.size()));
      const bool exponent = before.find_first_of("eE") != std::string_view::npos;
      for (std::size_t kept = 0; is_digit(); ++i, ++kept) {
        if (kept < (exponent ? 1 : 3)) result += line[i];
      }
    } else {
      quoted ^= c == '"';
      result += c;
      ++i;
    }
  }
  return result;
}

/// A line by the rules, without a look at the reader: blank, an object, or to be refused.
enum class Verdict { blank, object, refused };

Verdict verdict_on(std::string_view line, nlohmann::json& object) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return Verdict::blank;
  // The parser takes a NUL for the end, and passes over a byte order mark, which only a file may begin with.
  if (line.find('\0') != std::string_view::npos || line.starts_with("\xEF\xBB\xBF")) return Verdict::refused;
  object = nlohmann::json::parse(tamed(line), nullptr, false);
  return object.is_object() ? Verdict::object : Verdict::refused;
}

/// Every field of the object is found with its value, unless it is one that is left alone.
void check_fields(const eso::JsonLines& lines, std::string_view line, const nlohmann::json& object) {
  if (tamed(line) != line || eso::first_nested_beyond(lines.depth_limit, line)) return;
  for (const auto& [name, value] : object.items()) {
    fuzz::check(lines.has(name), "every field is found");
    fuzz::check(lines.value(name) == value, "a value is what the JSON parser says");
    if (value.is_string()) fuzz::check(lines.string(name) == value, "a string is what the JSON parser says");
  }
}

eso::ExampleReader reader_of(int reading) {
  eso::FormatOptions options{.answers = {{"1", "One."}}};
  if (reading == 9) options.transcripts = eso::TranscriptSplit::dpo_compat;
  if (reading == 10) options.xsum = eso::XsumTemplate::tldr;
  const eso::Format format = reading == 9    ? eso::Format::hh
                             : reading == 10 ? eso::Format::xsum
                                             : static_cast<eso::Format>(reading);
  return eso::ExampleReader(format, std::move(options));
}

void check_example(const eso::TextExample& example) {
  const std::string_view prompt = example.prompt;
  fuzz::check(example.input_at <= prompt.size() && example.input_size <= prompt.size() - example.input_at,
              "what may be shortened lies in the prompt");
  for (const std::string_view text :
       {prompt, prompt.substr(example.input_at, example.input_size), std::string_view(example.response),
        std::string_view(example.rejected)}) {
    fuzz::check(!eso::first_invalid_utf8(text), "every part of an example is UTF-8");
  }
  fuzz::check(example.pair || example.rejected.empty(), "only a pair has a rejected response");
}

/// Reads all lines and compares each with the verdict on it. Without a text only the laws of errors are
/// checked.
void read(eso::JsonLines lines, const std::string_view* text, int reading) {
  std::string_view rest = text != nullptr ? *text : std::string_view();
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  nlohmann::json expected;
  std::string_view line;
  eso::ExampleReader reader = reader_of(reading);
  while (true) {
    const auto more = fuzz::attempt([&] { return lines.next(); });
    Verdict verdict = Verdict::blank;
    while (text != nullptr && !rest.empty() && verdict == Verdict::blank) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      verdict = verdict_on(line, expected);
    }
    if (text != nullptr) {
      fuzz::check(more.has_value() == (verdict != Verdict::refused),
                  "exactly the lines that are no object are refused");
      fuzz::check(more.value_or(false) == (verdict == Verdict::object), "every object is read");
      if (more.value_or(false)) check_fields(lines, line, expected);
    }
    if (!more.value_or(false)) return;
    if (const auto example = fuzz::attempt([&] { return reader(lines); }); example && *example)
      check_example(**example);
    fuzz::attempt([&] { return lines.ids("prompt"); });
    fuzz::attempt([&] { return lines.value("x"); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::QuickEnough quick;
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  const int reading = data[0] % 11, way = data[0] / 11 % 3;
  if (way == 0) {
    Pieces pieces(text);
    std::istream stream(&pieces);
    read(eso::JsonLines(stream), &text, reading);
    return 0;
  }
  const std::filesystem::path path = fuzz::folder() / "lines.jsonl.gz";
  const std::size_t half = text.size() / 2;
  write_file(path,
             way == 1 ? compressed(text.substr(0, half)) + compressed(text.substr(half)) : std::string(text));
  read(eso::JsonLines(path), way == 1 ? &text : nullptr, reading);
  return 0;
}
