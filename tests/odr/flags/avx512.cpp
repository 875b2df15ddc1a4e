// SPDX-License-Identifier: MIT
#include "case.hpp"

eso::PackedMatrix* packed_by_avx512() { return packed_weights(); }
Case avx512(const eso::PackedMatrix* packed_elsewhere) { return run(packed_elsewhere); }
