// Checks of arguments that the functions of sparse_matrix.h share.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "coppice/sparse_matrix.h"

namespace coppice {

/// Throws InvalidArgument unless `dense` is a weight: a weight dtype, sizes that are possible, a
/// stride of at least its columns, and data where there are elements.
void check_dense(const DenseView& dense, std::string_view what);

/// Throws InvalidArgument unless dtype and array sizes fit the grid. Says nothing of contents.
void check_sizes(const SparseView& sparse);

}  // namespace coppice
