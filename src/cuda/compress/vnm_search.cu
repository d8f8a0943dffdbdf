// V:N:M with groups of more than 8 columns. Up to 32 columns every set of 4 is scored: with the two
// largest t1, t2 of three columns known, a fourth one v makes t1 + max(t2, v). A thread takes three
// columns b < c < d, walks over the rows, and sums for every a < b: two instructions a row and set.
// Above that, the columns with the largest sums are taken and exchanged one by one as long as that
// gains; lanes are rows. Both work on integers, in which sums are exact in any order, and leave
// what these cannot tell apart to the sums in double precision that the CPU takes.
//
// A thread block works on one (vector, group) at a time.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/compress/vnm_sets.h"

namespace coppice::cuda {
namespace {

struct Shared {
  std::int32_t largest;
  std::uint32_t stop;  // sets that come later cannot be better
  int used;            // places of the set that some row keeps
  int near;            // whether another set may be as good
  std::uint32_t set;
  Reached reached[kWarps];
  Best best[kWarps];
  double bound;
  double sums[kMaxCols];
};

/// One (vector, group) in the hands of a thread block.
template <Dtype kType>
struct Search {
  const CompressArguments& a;
  Shared& shared;
  std::int32_t* integers;  // of (row, col); zeros behind the last row
  const Triples& triples;
  Block block;
  int cols, rows, lane, warp;
  int padded_rows, row_stride, col_stride;
  bool exact_search;
  Quantisation quantisation;

  /// Where all sets are searched, the integers are stored as floats.
  __device__ const float* floats() const { return reinterpret_cast<const float*>(integers); }
  __device__ std::int32_t integer(int row, int col) const {
    const int at = row * row_stride + col * col_stride;
    return exact_search ? __float2int_rn(floats()[at]) : integers[at];
  }

  __device__ void load() {
    const int count = rows * cols;
    if (threadIdx.x == 0) {
      shared.largest = 0;
      shared.used = shared.near = 0;
      shared.stop = ~0u;
    }
    __syncthreads();
    std::int32_t largest = 0;
    for (int i = threadIdx.x; i < count; i += kThreads) {
      const int row = i / cols, col = i - row * cols;
      const std::int32_t key =
          key_of<kType>(*weight_at<kType>(a, block.rows.row + row, block.group.col + col));
      note_nan<kType>(a, key, block.rows.row + row, block.group.col + col);
      largest = max(largest, key);
    }
    largest = __reduce_max_sync(kWholeWarp, largest);
    if (lane == 0) atomicMax(&shared.largest, largest);
    __syncthreads();
    quantise();
    __syncthreads();
  }

  /// round(score * 2^exponent) in two steps, as the CPU does: the power of two can be beyond the
  /// range of a float.
  __device__ void quantise() {
    const std::int32_t largest = shared.largest;
    const int top = largest >= Weight<kType>::kInfinity ? 150
                    : largest == 0                      ? quantisation.bits - 1
                                   : exponent_of(Weight<kType>::score(largest));
    const int exponent = quantisation.bits - 1 - top;
    const float first = ldexpf(1.0f, exponent / 2);
    const float second = ldexpf(1.0f, exponent - exponent / 2);
    const float limit = ldexpf(1.0f, quantisation.bits);
    for (int i = threadIdx.x; i < padded_rows * cols; i += kThreads) {
      const int row = i / cols, col = i - row * cols;
      float score = 0;
      if (row < rows)
        score = Weight<kType>::score(
            key_of<kType>(*weight_at<kType>(a, block.rows.row + row, block.group.col + col)));
      const float value = rintf(fminf(__fmul_rn(__fmul_rn(score, first), second), limit));
      const int at = row * row_stride + col * col_stride;
      integers[at] = exact_search ? __float_as_int(value) : __float2int_rn(value);
    }
  }

  __device__ double score_of(std::uint32_t id) const {
    return set_score<kType>(a, block, kVectorCols, [id](int i) { return set_column(id, i); });
  }
  __device__ double score_of_all() const {
    return set_score<kType>(a, block, cols, [](int i) { return i; });
  }

  /// Lane d's result: the integer score of the columns a < b < c < d.
  __device__ std::int32_t scores_behind(int a0, int b, int c) const {
    std::int32_t mine = 0;
    for (int r = lane; r < padded_rows; r += 32) {
      const std::int32_t x = integer(r, a0), y = integer(r, b), z = integer(r, c);
      const std::int32_t high = max(x, y), low = min(x, y);
      const std::int32_t t1 = max(high, z), t2 = max(low, min(high, z));
      for (int d = c + 1; d < cols; ++d) {
        const auto sum = static_cast<std::int32_t>(
            __reduce_add_sync(kWholeWarp, static_cast<unsigned>(t1 + max(t2, integer(r, d)))));
        mine += lane == d ? sum : 0;
      }
    }
    return mine;
  }

  /// Calls visit(a, b, c, scores_behind) for every third triple, this warp's share, in order.
  template <typename Visit>
  __device__ void for_triples(const Visit& visit) const {
    int turn = 0;
    for (int x = 0; x + 3 < cols; ++x) {
      for (int y = x + 1; y + 2 < cols; ++y) {
        for (int z = y + 1; z + 1 < cols; ++z) {
          if (turn == warp) visit(x, y, z, scores_behind(x, y, z));
          turn = turn + 1 == kWarps ? 0 : turn + 1;
        }
      }
    }
  }

  /// Scores the sets of b < c < d with each of the 4 * kQuads columns from `first` on that are
  /// below b, for `d` and the column behind it. Sums of kExactRows rows are exact in floats, whose
  /// additions are twice as fast as those of integers; two d share the loads of the columns below.
  template <int kQuads>
  __device__ void score_sets(int b, int c, int d, int first, Reached& reached) const {
    constexpr int kBelow = 4 * kQuads;
    std::int32_t sums[2][kBelow] = {}, base[2] = {};
    for (int begin = 0; begin < rows; begin += kExactRows) {
      float part[2][kBelow] = {}, base_part[2] = {};
      const float* row = floats() + begin * row_stride;
#pragma unroll 2
      for (int r = min(kExactRows, rows - begin); r > 0; --r, row += row_stride) {
        const float high = fmaxf(row[b], row[c]), low = fminf(row[b], row[c]);
        const float z[2] = {row[d], row[d + 1]};
        float t2[2];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          t2[k] = fmaxf(low, fminf(high, z[k]));
          base_part[k] += fmaxf(high, z[k]);
        }
#pragma unroll
        for (int q = 0; q < kQuads; ++q) {
          const float4 v = reinterpret_cast<const float4*>(row + first)[q];
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            part[k][4 * q] += fmaxf(t2[k], v.x);
            part[k][4 * q + 1] += fmaxf(t2[k], v.y);
            part[k][4 * q + 2] += fmaxf(t2[k], v.z);
            part[k][4 * q + 3] += fmaxf(t2[k], v.w);
          }
        }
      }
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        base[k] += __float2int_rn(base_part[k]);
#pragma unroll
        for (int i = 0; i < kBelow; ++i) sums[k][i] += __float2int_rn(part[k][i]);
      }
    }
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < kBelow; ++i)
        if (first + i < b && d + k < cols)
          reached.offer(base[k] + sums[k][i], set_id(first + i, b, c, d + k));
  }
  __device__ void score_sets_of(std::uint32_t triple, Reached& reached) const {
    const int b = triple >> 16, c = triple >> 8 & 255, d = triple & 255;
    if (d >= cols) return;  // of a short group
    for (int first = 0; first < b; first += 8) {
      if (b - first <= 4)
        score_sets<1>(b, c, d, first, reached);
      else
        score_sets<2>(b, c, d, first, reached);
    }
  }

  /// Best of all sets of up to 32 columns.
  __device__ std::uint32_t exact() {
    Reached reached;
    for (int i = threadIdx.x; i < triples.count; i += kThreads)
      score_sets_of(triples.list[i], reached);
    const Reached mine = reached;
    for (int step = 16; step > 0; step /= 2) {
      const std::int32_t score = __shfl_xor_sync(kWholeWarp, reached.score, step);
      const std::uint32_t at = __shfl_xor_sync(kWholeWarp, reached.at, step);
      reached.offer(score, at);
    }
    if (lane == 0) shared.reached[warp] = reached;
    __syncthreads();
    reached = shared.reached[0];
    for (int w = 1; w < kWarps; ++w) reached.offer(shared.reached[w].score, shared.reached[w].at);
    const bool infinite = shared.largest >= Weight<kType>::kInfinity;
    const std::int64_t least =
        infinite ? 0 : std::int64_t{reached.score} - 2 * quantisation.slack - 1;
    const int count =
        (mine.score >= least && mine.score >= 0) + (mine.second >= least && mine.second >= 0);
    if (count > 0) atomicAdd(&shared.near, count);
    __syncthreads();
    return shared.near == 1 ? reached.at : exact_by_sums(least);
  }

  /// The best by the CPU's sums of all sets whose integers reach `least`.
  __device__ std::uint32_t exact_by_sums(std::int64_t least) {
    const double bound = score_of_all();
    Best best;
    for_triples([&](int x, int y, int z, std::int32_t score) {
      // Another warp may lower `stop` meanwhile: a later look only leaves out more.
      const std::uint32_t stop = *const_cast<volatile std::uint32_t*>(&shared.stop);
      const bool look = lane > z && lane < cols && score >= least && set_id(x, y, z, lane) < stop;
      for (unsigned left = __ballot_sync(kWholeWarp, look); left != 0; left &= left - 1) {
        const std::uint32_t id = set_id(x, y, z, __ffs(left) - 1);
        const double sum = score_of(id);
        best.offer(sum, id);
        if (sum == bound && lane == 0) atomicMin(&shared.stop, id);
      }
    });
    if (lane == 0) shared.best[warp] = best;
    __syncthreads();
    best = shared.best[0];
    for (int w = 1; w < kWarps; ++w) best.offer(shared.best[w].score, shared.best[w].id);
    return best.id;
  }

  /// The columns with the largest sums.
  __device__ std::uint32_t greedy() {
    // Half a warp for a column: partial sum i in lane i, as on the CPU.
    const int half = threadIdx.x / kPartialSums, part = threadIdx.x % kPartialSums;
    for (int first = 0; first < cols; first += kThreads / kPartialSums) {
      const int col = first + half;
      double partial = 0, total = 0;
      for (int r = part; col < cols && r < rows; r += kPartialSums)
        partial += capped_score<kType>(
            key_of<kType>(*weight_at<kType>(a, block.rows.row + r, block.group.col + col)));
      for (int i = 0; i < kPartialSums; ++i)
        total += __shfl_sync(kWholeWarp, partial, i, kPartialSums);
      if (col < cols && part == 0) shared.sums[col] = total;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int chosen[kVectorCols];
      for (int i = 0; i < kVectorCols; ++i) {
        chosen[i] = -1;
        for (int c = 0; c < cols; ++c)
          if (shared.sums[c] >= 0 && (chosen[i] < 0 || shared.sums[c] > shared.sums[chosen[i]]))
            chosen[i] = c;
        shared.sums[chosen[i]] = -1;
      }
      shared.set = ordered(chosen[0], chosen[1], chosen[2], chosen[3]);
    }
    __syncthreads();
    return shared.set;
  }

  __device__ static std::uint32_t ordered(int p, int q, int r, int s) {
    const int low0 = min(p, q), high0 = max(p, q), low1 = min(r, s), high1 = max(r, s);
    const int inner0 = max(low0, low1), inner1 = min(high0, high1);
    return set_id(min(low0, low1), min(inner0, inner1), max(inner0, inner1), max(high0, high1));
  }

  __device__ std::int32_t integer_score(std::uint32_t id) const {
    std::uint32_t sum = 0;
    for (int r = lane; r < padded_rows; r += 32) {
      TopTwo top;
      for (int i = 0; i < kVectorCols; ++i) top.add(integer(r, set_column(id, i)), i);
      sum += static_cast<std::uint32_t>(top.first_key + top.second_key);
    }
    return static_cast<std::int32_t>(__reduce_add_sync(kWholeWarp, sum));
  }

  /// The best exchange of one column of the set for one outside; of equal ones the lowest column
  /// out, then the lowest in. `at`: place out * 256 + column in.
  __device__ Reached best_swap(std::uint32_t id) {
    Reached reached;
    for (int in = warp; in < cols; in += kWarps) {
      bool inside = false;
      for (int i = 0; i < kVectorCols; ++i) inside = inside || set_column(id, i) == in;
      if (inside) continue;
      std::uint32_t sums[kVectorCols] = {};
      for (int r = lane; r < padded_rows; r += 32) {
        const std::int32_t v = integer(r, in);
        for (int out = 0; out < kVectorCols; ++out) {
          TopTwo top;
          for (int i = 0; i < kVectorCols; ++i)
            if (i != out) top.add(integer(r, set_column(id, i)), i);
          sums[out] += static_cast<std::uint32_t>(top.first_key + max(top.second_key, v));
        }
      }
      for (int out = 0; out < kVectorCols; ++out)
        reached.offer(static_cast<std::int32_t>(__reduce_add_sync(kWholeWarp, sums[out])),
                      static_cast<std::uint32_t>(out * 256 + in));
    }
    if (lane == 0) shared.reached[warp] = reached;
    __syncthreads();
    Reached all;
    for (int w = 0; w < kWarps; ++w)
      if (shared.reached[w].score >= 0) all.offer(shared.reached[w].score, shared.reached[w].at);
    __syncthreads();
    return all;
  }

  /// Greedy, then swaps until none gains.
  __device__ std::uint32_t swapped() {
    const std::uint32_t first = greedy();
    const double first_score = score_of(first);
    if (first_score == score_of_all()) return first;
    std::uint32_t id = first;
    std::int32_t score = integer_score(id);
    for (Reached swap = best_swap(id); swap.score > score; swap = best_swap(id)) {
      score = swap.score;
      int columns[kVectorCols];
      for (int i = 0; i < kVectorCols; ++i) columns[i] = set_column(id, i);
      for (int i = 0; i < kVectorCols; ++i)
        if (i == static_cast<int>(swap.at / 256)) columns[i] = swap.at % 256;
      id = ordered(columns[0], columns[1], columns[2], columns[3]);
    }
    return score_of(id) > first_score ? id : first;
  }

  __device__ std::uint32_t choose() {
    constexpr std::uint32_t kFirst = 0x00010203;
    if (cols <= kVectorCols || shared.largest == 0) return kFirst;
    return cols <= kExactGroup ? exact() : swapped();
  }

  /// Stores the weights of every row, and the places of `list` that they have. @returns the places
  /// used, to thread 0 at least, behind a barrier
  __device__ void store_rows(std::uint32_t id) {
    using Bits = typename Weight<kType>::Bits;
    const int count = min(cols, kVectorCols), kept = block.group.kept;
    int used = 0;
    for (int r = threadIdx.x; r < rows; r += kThreads) {
      const auto* row = weight_at<kType>(a, block.rows.row + r, block.group.col);
      TopTwo top;
      for (int i = 0; i < count; ++i) top.add(key_of<kType>(row[set_column(id, i)]), i);
      const int low = kept == 1 ? top.first : min(top.first, top.second);
      const int high = kept == 1 ? top.first : max(top.first, top.second);
      Bits* to = static_cast<Bits*>(a.values) + (block.rows.row + r) * a.kept + block.group.value;
      to[0] = row[set_column(id, low)];
      if (kept == 2) to[1] = row[set_column(id, high)];
      used |= 1 << low | 1 << high;
      a.picks[block.index * a.rows + block.rows.row + r] =
          static_cast<std::uint8_t>(kept == 1 ? low : low | high << 2);
    }
    atomicOr(&shared.used, used);
    __syncthreads();
  }

  /// Columns that no row keeps make room for the lowest free ones (docs/format.md): moves the
  /// places in the rows' choices accordingly and stores the vector's choice.
  __device__ void store_columns(std::uint32_t id) {
    const int count = min(cols, kVectorCols), used = shared.used;
    std::uint32_t bits[kMaxCols / 32] = {};
    int live = 0;
    for (int i = 0; i < count; ++i) {
      if (!(used >> i & 1)) continue;
      set_bit(bits, set_column(id, i));
      ++live;
    }
    for (int c = 0; live < count; ++c) {
      if (get_bit(bits, c)) continue;
      set_bit(bits, c);
      ++live;
    }
    int moved[kVectorCols] = {};  // place in the set to place among the live columns
    for (int i = 0; i < count; ++i) moved[i] = bits_below(bits, set_column(id, i));
    if (used != (1 << count) - 1) {
      for (int r = threadIdx.x; r < rows; r += kThreads) {
        std::uint8_t& pick = a.picks[block.index * a.rows + block.rows.row + r];
        int code = 0;
        for (int i = 0; i < kVectorCols; ++i) {
          if ((pick & 3) == i) code |= moved[i];
          if (block.group.kept == 2 && pick >> 2 == i) code |= moved[i] << 2;
        }
        pick = static_cast<std::uint8_t>(code);
      }
    }
    if (threadIdx.x == 0) {
      std::uint32_t* words =
          a.choices + (std::int64_t{block.vector} * a.group_count + block.index) * a.choice_words;
      for (int w = 0; w < kMaxCols / 32; ++w)
        if (w < a.choice_words) words[w] = bits[w];
    }
  }
};

template <Dtype kType>
__global__ void __launch_bounds__(kThreads, kSearchBlocks)
    vnm_search_kernel(const CompressArguments a) {
  extern __shared__ __align__(16) std::int32_t dynamic[];
  __shared__ Shared shared;
  const bool exact = a.group_cols <= kExactGroup;
  const Triples triples{reinterpret_cast<std::uint32_t*>(dynamic), search_triples(a.group_cols)};
  std::int32_t* integers = a.scratch_ints == 0 ? dynamic + (triples.count + 3) / 4 * 4
                                               : a.scratch + blockIdx.x * a.scratch_ints;
  if (exact) triples.fill(a.group_cols);
  const std::int64_t all = std::int64_t{a.vector_count} * a.group_count;
  for (std::int64_t i = blockIdx.x; i < all; i += gridDim.x) {
    const auto vector = static_cast<std::int32_t>(i / a.group_count);
    const auto group = static_cast<std::int32_t>(i - std::int64_t{vector} * a.group_count);
    const Block block = block_at(a, vector, group);
    const int padded_rows = (block.rows.rows + 31) / 32 * 32;
    Search<kType> search{a,
                         shared,
                         integers,
                         triples,
                         block,
                         block.group.cols,
                         block.rows.rows,
                         static_cast<int>(threadIdx.x % 32),
                         static_cast<int>(threadIdx.x / 32),
                         padded_rows,
                         exact ? search_pitch(a.group_cols) : 1,
                         exact ? 1 : padded_rows,
                         exact,
                         cuda::quantisation(block.rows.rows * block.group.kept,
                                            exact ? kExactDigits : kFloatDigits)};
    search.load();
    const std::uint32_t set = search.choose();
    search.store_rows(set);
    search.store_columns(set);
    __syncthreads();
  }
}

template <Dtype kType>
void launch(const CompressArguments& a, cudaStream_t stream) {
  const std::int64_t all = std::int64_t{a.vector_count} * a.group_count;
  const std::int64_t ints = a.scratch_ints == 0 ? search_ints(a.group_cols, a.vec_rows) : 0;
  const std::int64_t bytes = 4 * ((search_triples(a.group_cols) + 3) / 4 * 4 + ints);
  const auto kernel = vnm_search_kernel<kType>;
  allow_shared_memory(kernel, static_cast<int>(bytes));
  const auto grid = static_cast<unsigned>(std::min<std::int64_t>(all, a.search_blocks));
  kernel<<<grid, kThreads, static_cast<std::size_t>(bytes), stream>>>(a);
  check(cudaGetLastError(), "launching a V:N:M search");
}

}  // namespace

void launch_vnm_search(const CompressArguments& a, Dtype dtype, cudaStream_t stream) {
  if (dtype == Dtype::f16) return launch<Dtype::f16>(a, stream);
  if (dtype == Dtype::bf16) return launch<Dtype::bf16>(a, stream);
  launch<Dtype::f32>(a, stream);
}

}  // namespace coppice::cuda
