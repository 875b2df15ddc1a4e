// SPDX-License-Identifier: MIT
#include "case.hpp"

Case avx2(const eso::PackedMatrix* packed_elsewhere) { return run(packed_elsewhere); }
