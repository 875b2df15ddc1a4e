// SPDX-License-Identifier: MIT
#include "case.hpp"

eso::PackedMatrix* packed_by_plain() { return packed_weights(); }
Case plain(const eso::PackedMatrix* packed_elsewhere) { return run(packed_elsewhere); }
