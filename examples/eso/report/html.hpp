// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace eso_program {

/// `text` as valid UTF-8 that a page can show: malformed bytes become U+FFFD, control characters the pictures
/// that stand for them (tab and line break stay), and characters that reorder what follows their code point
/// in brackets.
std::string printable(std::string_view text);

/// `printable`, with the characters that HTML gives a meaning as entities: safe between tags and in quoted
/// attributes.
std::string escape(std::string_view text);

/// The first `characters` code points of `text`, with an ellipsis where some are left off.
std::string cut(std::string_view text, std::size_t characters);

/// The number of code points of valid UTF-8.
std::size_t length_of(std::string_view text);

/// Text of a user or a model, escaped, in an element that keeps its writing direction to itself; leading
/// space is left off. Well beyond `characters` code points, the rest can be unfolded.
std::string quoted(std::string_view text, std::size_t characters);

/// A whole self-contained page: nothing is loaded from anywhere and no script can run.
std::string page(std::string_view title, std::string_view body);

/// The style sheet of the pages.
std::string style_sheet();

}  // namespace eso_program
