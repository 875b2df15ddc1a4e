// SPDX-License-Identifier: MIT
#include <fmt/core.h>

#include <eso/eso.hpp>
#include <sstream>

/// Uses Eigen, fmt, nlohmann-json, threads and zlib by way of the library, so that each must be found and
/// linked.
int main() {
  std::istringstream text("{\"prompt\": \"a\", \"response\": \"b\"}");
  eso::JsonLines lines(text);
  eso::ExampleReader reader(eso::Format::prompt_response);
  if (!lines.next() || reader(lines)->response != "b") return 1;
  eso::Threads threads(2);
  eso::FileDigest digest;
  digest.add(std::as_bytes(std::span("abc", 3)));
  if (digest.crc32 != 0x352441C2) return 2;
  fmt::print("{}\n", ESO_VERSION);
}
