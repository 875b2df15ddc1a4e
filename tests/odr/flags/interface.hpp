// SPDX-License-Identifier: MIT
#pragma once

namespace eso {
class PackedMatrix;
}

/// Largest errors, and the loss of a small training.
struct Case {
  double product, packed, packed_elsewhere, softmax, adamw, loss;
};

eso::PackedMatrix* packed_by_plain();
eso::PackedMatrix* packed_by_avx512();
Case plain(const eso::PackedMatrix* packed_elsewhere);
Case avx2(const eso::PackedMatrix* packed_elsewhere);
Case avx512(const eso::PackedMatrix* packed_elsewhere);
