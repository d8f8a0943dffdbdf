// V:N:M with groups of at most 8 columns: the best of all (at most 70) sets of 4 columns, for the
// price of sorting the rows.
//
// A row's weights in falling order, v1 >= v2 >= ..., score in a set S
//   sum over k of (v_k - v_k+1) * min(2, |S and T_k|),   T_k: the columns of the k largest.
// So a row adds integers to a histogram over subsets T: three of them, since T_1 and T_2 count by
// columns, and for k > 5 every S has two columns in T. With Z[U] the sum of the histogram over the
// subsets of U (256 of them: a fast transform over the warp) and C the complement of S, the score
// of S is
//   2 Z[all] + 2 Z[C] - sum over s in S of Z[C + s].
// Integers are exact in any order; sets that they cannot tell apart are compared by the sums in
// double precision that the CPU takes.
//
// A warp works on two neighbouring groups of a vector; lanes are rows. H200, 64:2:8: see
// docs/performance/compress.md.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/compress/vnm.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kCols = kSmallGroup;
constexpr int kSubsets = 1 << kCols;
constexpr int kSets = 70;         // of 4 columns of 8
constexpr int kGroups = 2;        // of a warp
constexpr int kIntegerBits = 22;  // scores stay below 2^23, where float addition rounds to integers
constexpr int kSortedSubsets = 5;  // T_1 .. T_5
constexpr int kRounds = (kSets + 31) / 32;

struct SetTable {
  std::uint8_t mask[kRounds * 32] = {};  // bit c: column c; in order of the columns, then zeros
};
constexpr SetTable make_set_table() {
  SetTable table;
  int count = 0;
  for (int a = 0; a < kCols; ++a)
    for (int b = a + 1; b < kCols; ++b)
      for (int c = b + 1; c < kCols; ++c)
        for (int d = c + 1; d < kCols; ++d)
          table.mask[count++] = static_cast<std::uint8_t>(1 << a | 1 << b | 1 << c | 1 << d);
  return table;
}
__device__ const SetTable kSetTable = make_set_table();

__device__ inline int nth_bit(unsigned mask, int n) {
  for (; n > 0; --n) mask &= mask - 1;
  return __ffs(mask) - 1;
}

/// Eight integers, falling.
__device__ inline void sort_falling(std::int32_t (&v)[kCols]) {
  constexpr int kExchanges[][2] = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2}, {1, 3}, {4, 6},
                                   {5, 7}, {1, 2}, {5, 6}, {0, 4}, {1, 5}, {2, 6}, {3, 7},
                                   {2, 4}, {3, 5}, {1, 2}, {3, 4}, {5, 6}};
#pragma unroll
  for (const auto& exchange : kExchanges) {
    const std::int32_t x = v[exchange[0]], y = v[exchange[1]];
    v[exchange[0]] = max(x, y);
    v[exchange[1]] = min(x, y);
  }
}

/// Adds a row to the histogram; `linear` takes what it adds to single columns.
template <Dtype kType>
__device__ inline void add_row(const std::uint32_t (&bits)[kCols], float scale,
                               std::int32_t (&linear)[kCols], std::uint32_t* histogram) {
  constexpr float kRound = 8388608.0f;  // 2^23: the sum's low bits are the rounded integer
  std::int32_t integers[kCols], sorted[kCols];
#pragma unroll
  for (int c = 0; c < kCols; ++c) {
    const float score = Weight<kType>::score(key_of<kType>(bits[c]));
    integers[c] = __float_as_int(fmaf(score, scale, kRound)) - __float_as_int(kRound);
    // The integer above, the column below: of equal ones the lower column comes first.
    sorted[c] = integers[c] << 3 | (kCols - 1 - c);
  }
  sort_falling(sorted);
  // T_1 and T_2 have no more than two columns: each of them counts by itself.
  const std::int32_t third = sorted[2] >> 3;
#pragma unroll
  for (int c = 0; c < kCols; ++c) linear[c] += max(integers[c] - third, 0);
  unsigned subset = 0;
#pragma unroll
  for (int k = 0; k < kSortedSubsets; ++k) {
    subset |= 1u << (kCols - 1 - (sorted[k] & 7));
    if (k < 2) continue;
    atomicAdd(&histogram[subset],
              static_cast<std::uint32_t>((sorted[k] >> 3) - (sorted[k + 1] >> 3)));
  }
}

/// Adds up `linear` over the warp, as subsets of one column.
__device__ inline void add_single_columns(const std::int32_t (&linear)[kCols],
                                          std::uint32_t* histogram) {
  std::uint32_t mine = 0;
#pragma unroll
  for (int c = 0; c < kCols; ++c) {
    const std::uint32_t sum = __reduce_add_sync(kWholeWarp, static_cast<std::uint32_t>(linear[c]));
    mine = threadIdx.x % 32 == c ? sum : mine;
  }
  if (threadIdx.x % 32 < kCols) histogram[1 << threadIdx.x % 32] = mine;
}

/// Replaces every entry by the sum over its subsets. Lane l holds entries 8l ..
/// 8l + 7.
__device__ inline void sum_over_subsets(std::uint32_t* histogram) {
  const int lane = threadIdx.x % 32;
  uint4* vectors = reinterpret_cast<uint4*>(histogram) + 2 * lane;
  const uint4 low = vectors[0], high = vectors[1];
  std::uint32_t z[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int bit = 1; bit < 8; bit *= 2) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (i & bit) z[i] += z[i ^ bit];
  }
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t other = __shfl_xor_sync(kWholeWarp, z[i], bit);
      z[i] += lane & bit ? other : 0;
    }
  }
  vectors[0] = make_uint4(z[0], z[1], z[2], z[3]);
  vectors[1] = make_uint4(z[4], z[5], z[6], z[7]);
}

__device__ inline void clear(std::uint32_t* histogram) {
  uint4* vectors = reinterpret_cast<uint4*>(histogram) + threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kSubsets / 128; ++i) vectors[32 * i] = make_uint4(0, 0, 0, 0);
}

/// The sets that a lane scores, and where their sums lie in a histogram. The same for all blocks.
struct LaneSets {
  unsigned mask[kRounds];
  int rest[kRounds], with_one[kRounds][kVectorCols];

  __device__ LaneSets() {
#pragma unroll
    for (int j = 0; j < kRounds; ++j) {
      mask[j] = kSetTable.mask[32 * j + threadIdx.x % 32];
      rest[j] = (kSubsets - 1) & ~static_cast<int>(mask[j]);
      unsigned left = mask[j];
#pragma unroll
      for (int i = 0; i < kVectorCols; ++i, left &= left - 1)
        with_one[j][i] = rest[j] | static_cast<int>(left & -left);
    }
  }
  __device__ bool possible(int round, int cols) const {
    return mask[round] != 0 && mask[round] >> cols == 0;
  }
  /// The score of a set less a constant.
  __device__ std::uint32_t score(const std::uint32_t* sums, int round) const {
    std::uint32_t score = 2 * sums[kSubsets - 1] + 2 * sums[rest[round]];
#pragma unroll
    for (int i = 0; i < kVectorCols; ++i) score -= sums[with_one[round][i]];
    return score;
  }
};

/// The best of the sets marked in `near` (bit l of word j: set 32j + l), by the CPU's sums.
template <Dtype kType>
__device__ unsigned best_by_sums(const CompressArguments& a, const Block& block,
                                 const unsigned (&near)[kRounds]) {
  const double bound = set_score<kType>(a, block, block.group.cols, [](int i) { return i; });
  double best_score = -1;
  unsigned best = 0;
#pragma unroll
  for (int j = 0; j < kRounds; ++j) {
    for (unsigned left = near[j]; left != 0; left &= left - 1) {
      const unsigned set = kSetTable.mask[32 * j + __ffs(left) - 1];
      const double score =
          set_score<kType>(a, block, kVectorCols, [set](int i) { return nth_bit(set, i); });
      if (score > best_score) best_score = score, best = set;
      if (score == bound) return best;  // no set has more, and those of as much come later
    }
  }
  return best;
}

/// The rows of a block, lane l's: l, l + 32, ... The first ones stay in registers, since every pass
/// over a block touches a cache line for each row. 16-bit weights are held in pairs.
template <Dtype kType>
struct Rows {
  static constexpr int kHeld = 2;
  static constexpr int kWords = kCols * static_cast<int>(sizeof(typename Weight<kType>::Bits)) / 4;
  const CompressArguments& a;
  const Block& block;
  std::uint32_t held[kHeld][kWords];

  __device__ Rows(const CompressArguments& arguments, const Block& b) : a(arguments), block(b) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int r = threadIdx.x % 32 + 32 * i;
      std::uint32_t bits[kCols] = {};
      if (r < block.rows.rows) load(r, bits);
#pragma unroll
      for (int w = 0; w < kWords; ++w)
        held[i][w] = kWords == kCols ? bits[w] : bits[2 * w] | bits[(2 * w + 1) % kCols] << 16;
    }
  }
  __device__ void load(int row, std::uint32_t (&bits)[kCols]) const {
    const bool wide = a.wide && block.group.col * sizeof(typename Weight<kType>::Bits) % 16 == 0;
    load_weights<kType>(weight_at<kType>(a, block.rows.row + row, block.group.col),
                        block.group.cols, wide, bits);
  }
  /// Calls visit(row, bits) for every row of this lane.
  template <typename Visit>
  __device__ void for_each(const Visit& visit) const {
    std::uint32_t bits[kCols];
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (lane + 32 * i >= block.rows.rows) break;
#pragma unroll
      for (int c = 0; c < kCols; ++c)
        bits[c] = kWords == kCols ? held[i][c % kWords]
                                  : held[i][c / 2 % kWords] >> (16 * (c % 2)) & 0xffff;
      visit(lane + 32 * i, bits);
    }
#pragma unroll 1
    for (int r = lane + 32 * kHeld; r < block.rows.rows; r += 32) {
      load(r, bits);
      visit(r, bits);
    }
  }
};

template <Dtype kType>
__device__ void note_nans(const CompressArguments& a, const Rows<kType>& rows) {
  rows.for_each([&](int r, const std::uint32_t(&bits)[kCols]) {
    for (int c = 0; c < kCols; ++c)
      note_nan<kType>(a, key_of<kType>(bits[c]), rows.block.rows.row + r, rows.block.group.col + c);
  });
}

/// The columns that a vector keeps, one bit each.
template <Dtype kType>
__device__ unsigned choose_columns(const CompressArguments& a, const Rows<kType>& rows,
                                   const LaneSets& sets, std::uint32_t* histogram) {
  const Block& block = rows.block;
  const int cols = block.group.cols;
  std::int32_t largest = 0;
  rows.for_each([&](int, const std::uint32_t(&bits)[kCols]) {
#pragma unroll
    for (int c = 0; c < kCols; ++c) largest = max(largest, key_of<kType>(bits[c]));
  });
  largest = __reduce_max_sync(kWholeWarp, largest);
  if (largest > Weight<kType>::kInfinity) note_nans(a, rows);
  if (cols <= kVectorCols) return (1u << cols) - 1;
  if (largest == 0) return (1u << kVectorCols) - 1;

  unsigned near[kRounds];  // sets that may be the best
#pragma unroll
  for (int j = 0; j < kRounds; ++j) near[j] = __ballot_sync(kWholeWarp, sets.possible(j, cols));
  if (largest < Weight<kType>::kInfinity) {
    const Quantisation q = quantisation(block.rows.rows * kRowCols, kIntegerBits);
    // 2^-126 .. 2^127 are the factors that a float can be; a smaller one only rounds more.
    const int exponent =
        max(min(q.bits - 1 - exponent_of(Weight<kType>::score(largest)), 127), -126);
    const float scale = __int_as_float((exponent + 127) << 23);
    std::int32_t linear[kCols] = {};
    rows.for_each([&](int, const std::uint32_t(&bits)[kCols]) {
      add_row<kType>(bits, scale, linear, histogram);
    });
    add_single_columns(linear, histogram);
    __syncwarp();
    sum_over_subsets(histogram);
    __syncwarp();
    std::uint32_t scores[kRounds], best = 0;
#pragma unroll
    for (int j = 0; j < kRounds; ++j) {
      scores[j] = sets.possible(j, cols) ? sets.score(histogram, j) : 0;
      best = max(best, scores[j]);
    }
    best = __reduce_max_sync(kWholeWarp, best);
    __syncwarp();
    clear(histogram);
    __syncwarp();
    const auto reach = static_cast<std::uint32_t>(2 * q.slack + 1);
    const std::uint32_t least = best > reach ? best - reach : 0;
    int count = 0;
#pragma unroll
    for (int j = 0; j < kRounds; ++j) {
      near[j] &= __ballot_sync(kWholeWarp, scores[j] >= least);
      count += __popc(near[j]);
    }
    if (count == 1) {
#pragma unroll
      for (int j = 0; j < kRounds; ++j)
        if (near[j] != 0) return kSetTable.mask[32 * j + __ffs(near[j]) - 1];
    }
  }
  return best_by_sums<kType>(a, block, near);
}

/// The weights that a row keeps of the columns in `set`.
template <Dtype kType>
struct RowChoice {
  std::uint32_t first_bits = 0, second_bits = 0;  // in order of columns
  int low = 0, high = 0;                          // columns, ascending; equal if there is but one

  __device__ RowChoice(const std::uint32_t (&bits)[kCols], unsigned set, int kept) {
    if constexpr (sizeof(typename Weight<kType>::Bits) == 2)
      choose_packed(bits, set);
    else
      choose_keys(bits, set);
    if (kept == 1) low = high = 0, first_bits = bits[0];
  }
  __device__ unsigned columns() const { return 1u << low | 1u << high; }
  /// As metadata: two bits for each place among the live columns.
  __device__ std::uint8_t code(unsigned live, int kept) const {
    const unsigned first = __popc(live & ((1u << low) - 1));
    const unsigned second = __popc(live & ((1u << high) - 1));
    return static_cast<std::uint8_t>(kept == 1 ? first : first | second << 2);
  }

 private:
  // Key, column (the lower the larger) and sign of a 16-bit weight in one integer. Columns outside
  // the set are 0, which no column of the set is less than.
  __device__ void choose_packed(const std::uint32_t (&bits)[kCols], unsigned set) {
    unsigned first = 0, second = 0;  // the two largest
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      const unsigned packed = (bits[c] & 0x7fff) << 4 | (kCols - 1 - c) << 1 | bits[c] >> 15;
      const unsigned v = set >> c & 1 ? packed : 0;
      second = max(second, min(first, v));
      first = max(first, v);
    }
    const int first_col = kCols - 1 - (first >> 1 & 7), second_col = kCols - 1 - (second >> 1 & 7);
    const unsigned in_order = first_col < second_col ? first : second;
    const unsigned other = first_col < second_col ? second : first;
    first_bits = in_order >> 4 | (in_order & 1) << 15;
    second_bits = other >> 4 | (other & 1) << 15;
    low = min(first_col, second_col);
    high = max(first_col, second_col);
  }
  __device__ void choose_keys(const std::uint32_t (&bits)[kCols], unsigned set) {
    TopTwo top;
#pragma unroll
    for (int c = 0; c < kCols; ++c)
      if (set >> c & 1) top.add(key_of<kType>(bits[c]), c);
    low = min(top.first, top.second);
    high = max(top.first, top.second);
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      first_bits = c == low ? bits[c] : first_bits;
      second_bits = c == high ? bits[c] : second_bits;
    }
  }
};

template <Dtype kType>
__device__ inline void store_pair(const CompressArguments& a, const Block& block, int row,
                                  const RowChoice<kType>& choice) {
  using Bits = typename Weight<kType>::Bits;
  Bits* to = static_cast<Bits*>(a.values) + (block.rows.row + row) * a.kept + block.group.value;
  using Two = std::conditional_t<sizeof(Bits) == 4, uint2, std::uint32_t>;
  if (block.group.kept == 2 && reinterpret_cast<std::uintptr_t>(to) % sizeof(Two) == 0) {
    if constexpr (sizeof(Bits) == 4)
      *reinterpret_cast<uint2*>(to) = make_uint2(choice.first_bits, choice.second_bits);
    else
      *reinterpret_cast<std::uint32_t*>(to) = choice.first_bits | choice.second_bits << 16;
    return;
  }
  to[0] = static_cast<Bits>(choice.first_bits);
  if (block.group.kept == 2) to[1] = static_cast<Bits>(choice.second_bits);
}

/// Columns alive are those that some row keeps; where that leaves places, the lowest free columns
/// fill them (docs/format.md).
__device__ inline unsigned fill_up(unsigned used, int kept_cols) {
  while (__popc(used) < kept_cols) used |= ~used & (used + 1);
  return used;
}

/// Stores the weights of a block and its row choices.
template <Dtype kType>
__device__ void store_block(const CompressArguments& a, const Rows<kType>& rows, unsigned set) {
  const Block& block = rows.block;
  const int kept = block.group.kept;
  std::uint8_t* picks = a.picks + block.index * a.rows + block.rows.row;
  unsigned used = 0;
  rows.for_each([&](int r, const std::uint32_t(&bits)[kCols]) {
    const RowChoice<kType> choice(bits, set, kept);
    used |= choice.columns();
    picks[r] = choice.code(set, kept);
    store_pair(a, block, r, choice);
  });
  used = __reduce_or_sync(kWholeWarp, used);
  const unsigned live = fill_up(used, block.group.kept_cols);
  if (live != set) {
    rows.for_each([&](int r, const std::uint32_t(&bits)[kCols]) {
      picks[r] = RowChoice<kType>(bits, set, kept).code(live, kept);
    });
  }
  if (threadIdx.x % 32 == 0)
    a.choices[std::int64_t{block.vector} * a.group_count + block.index] = live;
}

template <Dtype kType>
__global__ void __launch_bounds__(kThreads, 3) small_vnm_kernel(const CompressArguments a) {
  __shared__ __align__(16) std::uint32_t histograms[kWarps][kSubsets];
  std::uint32_t* histogram = histograms[threadIdx.x / 32];
  clear(histogram);
  __syncwarp();
  const LaneSets sets;
  const std::int32_t first = (blockIdx.x * kWarps + threadIdx.x / 32) * kGroups;
  for (std::int32_t vector = blockIdx.y; vector < a.vector_count; vector += gridDim.y) {
    for (std::int32_t g = first; g < min(first + kGroups, a.group_count); ++g) {
      const Block block = block_at(a, vector, g);
      const Rows<kType> rows(a, block);
      store_block<kType>(a, rows, choose_columns<kType>(a, rows, sets, histogram));
    }
  }
}

template <Dtype kType>
void launch(const CompressArguments& a, cudaStream_t stream) {
  constexpr int kColumns = kWarps * kGroups;    // groups of a thread block
  constexpr std::int32_t kEnoughBlocks = 8192;  // that every multiprocessor has many turns
  const auto x = static_cast<unsigned>((a.group_count + kColumns - 1) / kColumns);
  const auto y = static_cast<unsigned>(
      std::clamp<std::int64_t>(kEnoughBlocks / x, 1, std::min(a.vector_count, 65535)));
  small_vnm_kernel<kType><<<dim3(x, y), kThreads, 0, stream>>>(a);
  check(cudaGetLastError(), "launching V:N:M compression");
}

}  // namespace

void launch_small_vnm(const CompressArguments& a, Dtype dtype, cudaStream_t stream) {
  if (dtype == Dtype::f16) return launch<Dtype::f16>(a, stream);
  if (dtype == Dtype::bf16) return launch<Dtype::bf16>(a, stream);
  launch<Dtype::f32>(a, stream);
}

}  // namespace coppice::cuda
