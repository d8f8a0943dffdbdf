// Some rows of one group while its mask is chosen. Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/grid.h"

namespace coppice::prune {

/// The weights of a group in consecutive vectors of rows.
struct GroupSlab {
  const ColumnGroup* group = nullptr;
  std::span<const RowVector> vectors;
  float* weights = nullptr;      ///< [rows, group->cols]
  std::int64_t stride = 0;       ///< of weights
  std::uint8_t* keep = nullptr;  ///< [rows, group->cols], packed: 1 is kept

  std::int64_t first_row() const { return vectors.front().row; }
  std::int64_t rows() const { return vectors.back().row + vectors.back().rows - first_row(); }
  float* row(std::int64_t r) const { return weights + r * stride; }
  std::uint8_t* keep_row(std::int64_t r) const { return keep + r * group->cols; }
};

}  // namespace coppice::prune
