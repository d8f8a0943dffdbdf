// What the two ways of choosing V:N:M columns share: the score of a set of columns, exactly as the
// CPU computes it, and the choice of two columns by row.
#pragma once

#include "cuda/compress/weight.h"

namespace coppice::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr int kVectorCols = 4;    // columns kept of a group
inline constexpr int kRowCols = 2;       // of these in a row
inline constexpr int kPartialSums = 16;  // partial sums of the CPU: row r goes to number r % 16

/// The two largest keys seen, and what came with them; of equal ones the first seen.
struct TopTwo {
  std::int32_t first_key = -1, second_key = -1;
  int first = 0, second = 0;  // places
  __device__ void add(std::int32_t key, int place) {
    if (key > first_key) {
      second_key = first_key, second = first;
      first_key = key, first = place;
    } else if (key > second_key) {
      second_key = key, second = place;
    }
  }
};

/// A block (a vector and a group) and its rows and columns.
struct Block {
  RowVector rows;
  ColumnGroup group;
  std::int32_t vector = 0, index = 0;  // index of the group
};

__device__ inline Block block_at(const CompressArguments& a, std::int32_t vector,
                                 std::int32_t group) {
  return {a.vectors[vector], a.groups[group], vector, group};
}

/// Partial sums 0..15 (in lanes 0..15) to their total, in that order.
__device__ inline double ordered_total(double partial) {
  double total = 0;
  for (int i = 0; i < kPartialSums; ++i) total += __shfl_sync(kWholeWarp, partial, i);
  return total;
}

/// Sum over rows of the two largest scores among `count` columns, `column(i)` being the i-th one's
/// place in the group. By a whole warp, the same in every lane: partial sums over the largest and
/// then over the second of every row, in the CPU's order.
template <Dtype kType, typename Column>
__device__ inline double set_score(const CompressArguments& a, const Block& block, int count,
                                   const Column& column) {
  const int lane = threadIdx.x % 32;
  double partial = 0;
  for (int second = 0; second < kRowCols; ++second) {
    if (lane >= kPartialSums) break;
    for (int r = lane; r < block.rows.rows; r += kPartialSums) {
      TopTwo top;
      const auto* row = weight_at<kType>(a, block.rows.row + r, block.group.col);
      for (int i = 0; i < count; ++i) top.add(key_of<kType>(row[column(i)]), i);
      const std::int32_t key = second ? top.second_key : top.first_key;
      if (key > 0) partial += capped_score<kType>(key);
    }
  }
  __syncwarp();
  return ordered_total(partial);
}

/// How scores become integers of `bits` bits: round(score * 2^exponent). Sums of `terms` of them
/// fit 31 bits and are off by at most `slack`.
struct Quantisation {
  int bits = 0;
  int slack = 0;
};
__device__ inline Quantisation quantisation(int terms, int most_bits) {
  return {min(most_bits, __clz(terms) - 1), terms / 2 + 1};
}

/// floor(log2(score)) of a finite score above 0.
__device__ inline int exponent_of(float score) {
  const int biased = __float_as_int(score) >> 23;
  return biased > 0 ? biased - 127 : 31 - __clz(__float_as_int(score)) - 149;
}

}  // namespace coppice::cuda
