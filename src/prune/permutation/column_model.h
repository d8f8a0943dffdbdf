// What columns are worth in groups. Not part of the public API.
#pragma once

#include <hwy/aligned_allocator.h>

#include <cstdint>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "coppice/sparse_matrix.h"
#include "prune/permutation/kernels.h"
#include "prune/permutation/search.h"

namespace coppice::prune {

/// A group with one place empty keeps, in each lane, what it keeps of the rest, plus what the new
/// column has above a threshold: the score that would have to go. So the gain of a column is a sum
/// over lanes of max(x - t, 0), whatever N and M are. A lane is what chooses on its own: a row of
/// an element-wise pattern, a vector (whose scores are summed) of a vector- or block-wise one,
/// where the threshold counts what the rest of the block has already.
///
/// V:N:M has a row in each lane, and a second threshold for each vector: what the last column of
/// the set adds, since the new column would take its place.
class ColumnModel : public ExchangeModel {
 public:
  ColumnModel(const DenseView& scores, const Grid& grid, int threads);

  void exchange_gains(const Permutation& order, std::span<const Bin> groups,
                      std::span<const std::int64_t> slots, std::span<double> gains) override;

  /// Sum of a column's scores.
  double importance(std::uint32_t col) const;

 private:
  struct Thresholds {
    float* lanes = nullptr;   // [pitch_]
    float* chunks = nullptr;  // [chunks]: what has to be exceeded by the sum over the chunk
  };

  const float* column(std::uint32_t col) const {
    return scores_.get() + static_cast<std::ptrdiff_t>(col) * pitch_;
  }
  std::ptrdiff_t chunk_lanes(std::size_t chunk) const {
    return chunks_[chunk + 1] - chunks_[chunk];
  }
  void lay_out();
  void load(const DenseView& scores, int threads);
  void find_thresholds(const Permutation& order, const ColumnGroup& group, std::int64_t empty,
                       const Thresholds& out) const;
  void block_thresholds(const Permutation& order, const ColumnGroup& group, std::int64_t empty,
                        std::size_t chunk, const Thresholds& out) const;
  void set_thresholds(const Permutation& order, const ColumnGroup& group, std::int64_t empty,
                      std::size_t chunk, const Thresholds& out) const;
  void add_gains(std::span<const float* const> columns, const std::vector<Thresholds>& groups,
                 std::span<double> gains) const;

  const Grid& grid_;
  const PermutationKernels& kernels_;
  int threads_;
  std::vector<std::int64_t> lane_of_vector_;  // first lane of a vector
  std::vector<std::ptrdiff_t> chunks_;        // first lane of each chunk, and the end
  std::ptrdiff_t pitch_ = 0;
  hwy::AlignedFreeUniquePtr<float[]> scores_;  // [cols, pitch_]
};

}  // namespace coppice::prune
