// SPDX-License-Identifier: MIT
#include "report/html.hpp"

#include <fmt/format.h>

#include <cstdint>

namespace eso_program {
namespace {

constexpr std::uint32_t replacement = 0xFFFD;

/// One decoded character: its code point and how many bytes it took.
struct Decoded {
  std::uint32_t code_point = replacement;
  std::size_t bytes = 1;
};

/// Decodes the character at the start of the non-empty `text`; a malformed one takes one byte.
Decoded decode(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < bytes) return {};
  std::uint32_t code_point = first & (0x7FU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code_point = (code_point << 6) | (byte(i) & 0x3FU);
  }
  const bool too_long = (bytes == 3 && code_point < 0x800) || (bytes == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xD800 && code_point < 0xE000;
  if (too_long || surrogate || code_point > 0x10FFFF) return {};
  return {code_point, bytes};
}

/// Appends the character, or what stands for it, to `out`.
void append_printable(std::string& out, std::string_view bytes, std::uint32_t code_point) {
  const bool line_layout = code_point == '\t' || code_point == '\n';
  const bool reorders =
      (code_point >= 0x202A && code_point <= 0x202E) || (code_point >= 0x2066 && code_point <= 0x2069);
  if (code_point < 0x20 && !line_layout) {
    out += "\xE2\x90";  // U+2400 onwards: control pictures
    out += static_cast<char>(0x80 + code_point);
  } else if (code_point == 0x7F) {
    out += "\xE2\x90\xA1";
  } else if (reorders) {
    out += fmt::format("[U+{:04X}]", code_point);
  } else if (code_point == replacement || (code_point >= 0x80 && code_point < 0xA0)) {
    out += "\xEF\xBF\xBD";
  } else {
    out += bytes;
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded next = decode(text);
    append_printable(out, text.substr(0, next.bytes), next.code_point);
    text.remove_prefix(next.bytes);
  }
  return out;
}

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::size_t length_of(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

std::string cut(std::string_view text, std::size_t characters) {
  std::size_t bytes = 0;
  for (std::size_t taken = 0; taken < characters && bytes < text.size(); ++taken) {
    bytes += decode(text.substr(bytes)).bytes;
  }
  std::string out(text.substr(0, bytes));
  if (bytes < text.size()) out += "…";
  return out;
}

std::string quoted(std::string_view text, std::size_t characters) {
  constexpr std::size_t most = 20000;  // a page of whole books serves nobody
  const auto first = text.find_first_not_of(" \n");
  text = first == std::string_view::npos ? std::string_view{} : text.substr(first);
  const bool fits =
      length_of(text) <= characters + characters / 4;  // nobody unfolds a text for its last words
  const std::string short_form = fits ? std::string(text) : cut(text, characters);
  if (text.empty()) return "<div class=\"text none\">(empty)</div>";
  if (fits) return fmt::format("<div class=\"text\" dir=\"auto\">{}</div>", escape(text));
  return fmt::format(
      "<details class=\"text\"><summary dir=\"auto\">{}</summary><div dir=\"auto\">{}</div></details>",
      escape(short_form), escape(cut(text, most)));
}

std::string page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
      escape(title), style_sheet(), body);
}

}  // namespace eso_program
