// What Python holds of a compressed weight. The C++ values are immutable and shared.
#pragma once

#include <memory>
#include <utility>

#include "coppice/linear.h"
#include "coppice/sparse_matrix.h"

namespace coppice::python {

struct Packed {
  std::shared_ptr<const cpu::PackedWeight> weight;
};

struct Sparse {
  std::shared_ptr<const SparseMatrix> matrix;
  Packed packed;  ///< made by the first product; under the GIL

  explicit Sparse(SparseMatrix value)
      : matrix(std::make_shared<const SparseMatrix>(std::move(value))) {}
};

/// Packs once. Called with the GIL held, which it releases.
const Packed& packed_of(Sparse& sparse, int threads);

}  // namespace coppice::python
