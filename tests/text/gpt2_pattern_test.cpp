// SPDX-License-Identifier: MIT
#include "eso/text/gpt2_pattern.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Words = std::vector<std::string>;

Words words(std::string_view text) {
  Words result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = eso::gpt2_word_end(text, begin);
    REQUIRE(end > begin);
    result.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return result;
}

}  // namespace

TEST_CASE("words of GPT-2's pattern by hand", "[gpt2_pattern]") {
  CHECK(words("Hello world") == Words{"Hello", " world"});
  CHECK(words("abc123 45!? x") == Words{"abc", "123", " 45", "!?", " x"});
  CHECK(words("a_b") == Words{"a", "_", "b"});
  CHECK(words("x ...y") == Words{"x", " ...", "y"});
  CHECK(words("né à中文") == Words{"né", " à中文"});
  CHECK(words("e\u0301a") == Words{"e", "\u0301", "a"});  // a mark is no letter
  CHECK(words("½²x") == Words{"½²", "x"});
}

TEST_CASE("contractions are cut off in lower case only", "[gpt2_pattern]") {
  CHECK(words("it's they're I'LL") == Words{"it", "'s", " they", "'re", " I", "'", "LL"});
  CHECK(words("'sure 'twas") == Words{"'s", "ure", " '", "twas"});  // a space goes to the apostrophe
  CHECK(words("we'll've'd'm't") == Words{"we", "'ll", "'ve", "'d", "'m", "'t"});
  CHECK(words("!'s") == Words{"!'", "s"});  // inside punctuation the apostrophe is taken along
  CHECK(words("'l 'r '") == Words{"'", "l", " '", "r", " '"});
}

TEST_CASE("white space leaves its last character to what follows", "[gpt2_pattern]") {
  CHECK(words("a  b") == Words{"a", " ", " b"});
  CHECK(words("a   b") == Words{"a", "  ", " b"});
  CHECK(words("a\n\nb") == Words{"a", "\n", "\n", "b"});
  CHECK(words("a \nb") == Words{"a", " ", "\n", "b"});
  CHECK(words("a\n b") == Words{"a", "\n", " b"});
  CHECK(words("a  ") == Words{"a", "  "});  // at the end all of it
  CHECK(words(" \t\n") == Words{" \t\n"});
  CHECK(words("\tx") == Words{"\t", "x"});
  CHECK(words(" ") == Words{" "});
  CHECK(words("a\u00a0b") == Words{"a", "\u00a0", "b"});  // only U+0020 joins a word
  CHECK(words("a\u00a0\u3000 b") == Words{"a", "\u00a0\u3000", " b"});
  CHECK(words("a \u200b") == Words{"a", " \u200b"});  // a zero-width space is punctuation here
}
