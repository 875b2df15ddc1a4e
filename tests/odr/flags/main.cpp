// SPDX-License-Identifier: MIT
// Files compiled for different processors compute the same numbers in one program. This one includes no
// header of the library, so that it can look at the processor before any code that it might lack.
#include <cmath>
#include <cstdio>

#include "interface.hpp"

namespace {

bool right(const char* file, const Case& c, double loss) {
  std::printf("%-8s product %.1e  packed %.1e  packed elsewhere %.1e  softmax %.1e  AdamW %.1e  loss %.9g\n",
              file, c.product, c.packed, c.packed_elsewhere, c.softmax, c.adamw, c.loss);
  return c.product < 1e-4 && c.packed < 1e-4 && c.packed_elsewhere < 1e-4 && c.softmax < 1e-6 &&
         c.adamw < 1e-6 && std::abs(c.loss - loss) < 1e-4;
}

}  // namespace

int main() {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) {
    std::puts("skipped: the processor has no AVX-512");
    return 0;
  }
  const Case p = plain(packed_by_avx512()), m = avx2(packed_by_plain()), w = avx512(packed_by_plain());
  const bool all = right("plain", p, p.loss) & right("AVX2", m, p.loss) & right("AVX-512", w, p.loss);
  return all ? 0 : 1;
}
