// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <eso/eso.hpp>

int main() { fmt::print("{}\n", ESO_VERSION); }
