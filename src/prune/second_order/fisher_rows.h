// The loss around the weights of some rows, from gradients. Not part of the public API.
#pragma once

#include <cstdint>
#include <vector>

#include "coppice/grid.h"
#include "coppice/statistics.h"

namespace coppice::prune {

/// Of a gradient, over so many weights.
double mean_square(const FisherStatistics& fisher, std::int64_t weights);

/// F of a layer: for each block of neighbouring weights of a row, sum of g gᵀ / samples plus
/// damping on the diagonal.
struct FisherModel {
  const FisherStatistics& statistics;
  std::int64_t blocks_per_row = 0;
  double damping = 0;  ///< absolute

  const double* sums(std::int64_t row, std::int64_t block) const;
  /// δᵀ F δ of a row without the damping. change: [cols]
  double loss(std::int64_t row, const std::vector<double>& change) const;
};

/// Rows of a vector over some blocks of columns, while weights are pruned one after the other. Kept
/// are w and A, the inverse of F restricted to the weights that are not pruned: pruning weight i
/// costs w_i² / (2 A_ii), and is made up for by w -= A_:i w_i / A_ii and A -= A_:i A_i: / A_ii.
class FisherRows {
 public:
  FisherRows(const FisherModel& model, std::int64_t cols) : model_(model), cols_(cols) {}

  /// Takes columns [begin, end) of the rows; `begin` is the first of a block.
  /// weights: the whole matrix
  void load(const RowVector& rows, std::int64_t begin, std::int64_t end, const float* weights);
  void store(float* weights) const;

  std::int64_t rows() const { return rows_.rows; }
  double weight(std::int64_t r, std::int64_t col) const;
  /// A of row r; 0 for weights of different blocks.
  double inverse(std::int64_t r, std::int64_t a, std::int64_t b) const;
  void prune(std::int64_t r, std::int64_t col);

  /// Blocks whose damping had to be raised, since the object was made.
  std::int64_t raised() const { return raised_; }

 private:
  std::int64_t size() const { return model_.statistics.block; }
  double* block(std::int64_t r, std::int64_t index);
  const double* block(std::int64_t r, std::int64_t index) const;
  void invert(std::int64_t row, std::int64_t index, double* out);

  FisherModel model_;
  std::int64_t cols_;
  RowVector rows_;
  std::int64_t begin_ = 0, end_ = 0, blocks_ = 0, raised_ = 0;
  std::vector<double> inverses_;  // [rows, blocks, size, size]
  std::vector<double> weights_;   // [rows, end - begin]
};

}  // namespace coppice::prune
