// Products of any pattern that has a packing (element_layout.h): blocks of any width, masks of any
// length, groups of any size. Everything is read where it lies, a value at a time: correct first.
// What is common has kernels of its own (lookup_kernel.h), with the same division of work.
#pragma once

#include "cuda/element/lookup_kernel.h"

namespace coppice::cuda {

/// `count` (at most 32) bits of the choices of (vector, lane t) from bit `first` on.
__device__ inline std::uint32_t choice_bits_at(const ElementWeight& w, int vector, int t, int first,
                                               int count) {
  const auto* words = reinterpret_cast<const std::uint32_t*>(w.choices);
  const int word = first / 32, shift = first % 32;
  std::uint32_t bits = __ldg(words + choice_word(w.layout, vector, t, word)) >> shift;
  if (shift + count > 32)
    bits |= __ldg(words + choice_word(w.layout, vector, t, word + 1)) << (32 - shift);
  return count == 32 ? bits : bits & ((1u << count) - 1);
}

/// One lane's part of one row.
template <Dtype kType, int kTokens>
struct GeneralRow {
  const ElementArguments& p;
  int row, vector, t, first_token;

  __device__ ElementGroup group(int j) const {
    const ElementWeight& w = p.weight;
    return w.groups == nullptr ? regular_group(w.layout, j) : w.groups[j];
  }

  /// The columns of block number `block` of group j, whose values are the entries from `entry` on.
  __device__ void add_block(const ElementGroup& group, int j, int block, int entry,
                            float (&sum)[kTokens]) const {
    const ElementLayout& l = p.weight.layout;
    if (block >= group.blocks) return;  // padding
    for (int c = 0; c < group.block_cols; ++c) {
      const int in_group = block * l.block_cols + c;
      const int column = p.weight.sources != nullptr
                             ? p.weight.sources[j * l.group_cols() + in_group]
                             : group.col + in_group;
      const float value =
          load_value<kType>(p.weight.values, value_byte(l, row, {t, entry + c}) / l.element_bytes);
      for (int i = 0; i < kTokens && first_token + i < p.tokens; ++i)
        sum[i] =
            fmaf(value, load_value<kType>(p.x, (first_token + i) * p.x_token + column * p.x_column),
                 sum[i]);
    }
  }

  __device__ void add_group(int lane_group, float (&sum)[kTokens]) const {
    const ElementLayout& l = p.weight.layout;
    const int j = lane_group * kElementLanes + t, first = lane_group * l.choice_bits;
    if (j >= l.groups) return;
    const ElementGroup g = group(j);
    int entry = lane_group * l.group_entries();
    if (l.form == ChoiceForm::indices) {
      for (int i = 0; i < g.kept; ++i, entry += l.block_cols)
        add_block(g, j,
                  static_cast<int>(
                      choice_bits_at(p.weight, vector, t, first + i * l.index_bits, l.index_bits)),
                  entry, sum);
      return;
    }
    for (int low = (l.group - 1) / 32 * 32; low >= 0; low -= 32) {
      std::uint32_t bits = choice_bits_at(p.weight, vector, t, first + low, min(32, l.group - low));
      for (; bits != 0; entry += l.block_cols) {
        const int highest = 31 - __clz(static_cast<int>(bits));
        bits ^= 1u << highest;
        add_block(g, j, low + highest, entry, sum);
      }
    }
  }
};

template <Dtype kType, int kTokens>
__global__ void __launch_bounds__(kLookupThreads) general_kernel(const ElementArguments p) {
  extern __shared__ uint4 general_shared[];
  const ElementSplit& s = p.split;
  const ElementLayout& l = p.weight.layout;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = blockIdx.x, tile = blockIdx.y, first_token = blockIdx.z * kTokens;
  const int first_row = s.first_row(tile), rows = s.rows();
  auto* sums = reinterpret_cast<float*>(general_shared);
  ptx::let_next_kernel_begin();
  LookupWalk walk(s, p.weight.layout.units(), p.weight.chunk_count, rank, tile, warp);
  clear_sums(sums, s.chunk_warps * rows * kTokens);
  ptx::wait_for_kernels_before();
  __syncthreads();

  float sum[kTokens] = {};
  for (bool more = walk.chunk < walk.end_chunk; more; more = walk.next_pass()) {
    for (; walk.here(); walk.next()) {
      const int row = walk.part * 8 + lane / kElementLanes;
      const GeneralRow<kType, kTokens> part{p, row, row_vector(p.weight, row), lane % kElementLanes,
                                            first_token};
      // Groups that begin in this chunk.
      const int first = walk.now * kChunkEntries, of = l.group_entries();
      const int end = min((first + kChunkEntries + of - 1) / of, l.entries / of);
      for (int g = (first + of - 1) / of; g < end; ++g) part.add_group(g, sum);
      if (walk.last_of_part())
        keep_sums<kTokens>(
            sum, sums + (walk.chunk_warp * rows + walk.part * 8 - first_row) * kTokens, lane);
    }
  }
  store_sums<kType, kTokens>(p, sums, s.chunk_warps, first_row, s.first_row(tile + 1), rows,
                             first_token, rank);
}

}  // namespace coppice::cuda
