// Which weights of some rows are kept, while that changes. Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "coppice/mask.h"
#include "coppice/prune.h"

namespace coppice::prune {

/// The kept weights of consecutive vectors of rows. Matrices are [rows, cols], packed.
class Support {
 public:
  Support(const Grid& grid, std::span<const RowVector> vectors, ColumnSearch search);

  /// Of all that the pattern allows the support of largest sum of squares.
  void choose(std::vector<float>& weights);
  void load(const Mask& mask);
  void store(Mask& mask) const;

  /// Sets what is not kept to +0.
  void clear_rest(std::vector<float>& matrix) const;
  std::int64_t count() const;
  const std::vector<std::uint8_t>& bits() const { return bits_; }
  /// Places that differ from another support of the same rows.
  std::int64_t distance(const std::vector<std::uint8_t>& other) const;

 private:
  const Grid& grid_;
  std::span<const RowVector> vectors_;
  ColumnSearch search_;
  std::int64_t first_row_, rows_;
  std::vector<std::uint8_t> bits_;  // [rows, cols]: 1 is kept
  std::vector<std::uint8_t> keep_;  // scratch, of a group
  std::vector<float> scratch_;
  std::vector<double> ones_;
};

}  // namespace coppice::prune
