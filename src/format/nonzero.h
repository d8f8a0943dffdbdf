// Which weights of a dense matrix are not zero.
#pragma once

#include "coppice/mask.h"
#include "coppice/sparse_matrix.h"

namespace coppice {

/// The weights that are neither +0 nor -0; NaN counts as a weight. `dense` must have passed
/// check_dense.
Mask nonzero_mask(const DenseView& dense, int threads = 1);

}  // namespace coppice
