// Copies of a dense weight that pruning works on.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice::cli {

/// A dense weight of its own.
struct DenseCopy {
  std::unique_ptr<std::byte[]> bytes;
  MutableDenseView view;
};

/// The same values, rows packed.
DenseCopy copy_of(const DenseView& dense, int threads);

/// Scores in which NaN and infinity are larger than every number, so that they are kept where the
/// pattern has room: hiding them would make a damaged checkpoint look whole.
std::vector<float> finite_scores(const DenseView& dense);

}  // namespace coppice::cli
