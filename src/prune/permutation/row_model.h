// What rows are worth in vectors. Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "coppice/sparse_matrix.h"
#include "prune/permutation/kernels.h"
#include "prune/permutation/search.h"

namespace coppice::prune {

/// The value of a row in a vector is what the vector keeps with it: exactly, where blocks are
/// chosen by their sums. For V:N:M it is what the row keeps inside the columns of largest sum that
/// the other rows of the vector have.
class RowModel : public ExchangeModel {
 public:
  RowModel(const DenseView& scores, const Grid& grid, int threads);

  void exchange_gains(const Permutation& order, std::span<const Bin> vectors,
                      std::span<const std::int64_t> slots, std::span<double> gains) override;

 private:
  const float* row(std::uint32_t r) const { return scores_.data() + r * blocks_; }
  void load_rest(const Permutation& order, std::span<const Bin> vectors,
                 std::span<const std::int64_t> slots);
  void mark_live(std::size_t vectors);
  void value_row(const float* scores, std::size_t vectors, std::span<double> gains) const;

  const Grid& grid_;
  const PermutationKernels& kernels_;
  int threads_;
  std::size_t blocks_ = 0;     // of all groups
  std::vector<float> scores_;  // [rows, blocks_]: sums over the columns of a block
  std::size_t lanes_ = 0;      // vectors, rounded up
  std::vector<float> rest_;    // [blocks_, lanes_]: sums over the other rows; V:N:M: 1 if live
};

}  // namespace coppice::prune
