// SPDX-License-Identifier: MIT
#include <cstdio>
#include <eso/eso.hpp>

using Factory = decltype(&eso::input_error);
Factory input_error_of_second();

/// An inline function has one address in a program, whichever translation unit asks.
int main() {
  if (input_error_of_second() == &eso::input_error) return 0;
  std::fputs("eso::input_error exists twice\n", stderr);
  return 1;
}
