// Sets of four columns, and what the search for the best of them (vnm_search.cu) keeps of them.
#pragma once

#include "cuda/compress/vnm.h"

namespace coppice::cuda {

inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kMaxCols = 256;
inline constexpr int kFloatDigits = 24;
/// So many integers of kExactDigits have an exact sum in a float.
inline constexpr int kExactRows = 32;
inline constexpr int kExactDigits = kFloatDigits - 5;
static_assert(kExactRows << kExactDigits == 1 << kFloatDigits);

/// Four columns, ascending, in an order of their own: the set that comes first is the smallest id.
__device__ inline std::uint32_t set_id(int a, int b, int c, int d) {
  return static_cast<std::uint32_t>(a << 24 | b << 16 | c << 8 | d);
}
__device__ inline int set_column(std::uint32_t id, int i) { return id >> (24 - 8 * i) & 255; }

struct Best {
  double score = -1;
  std::uint32_t id = ~0u;
  __device__ void offer(double other_score, std::uint32_t other_id) {
    if (other_score > score || (other_score == score && other_id < id))
      score = other_score, id = other_id;
  }
};

/// An integer score and where it was reached; the earliest of equal ones.
struct Reached {
  std::int32_t score = -1, second = -1;
  std::uint32_t at = ~0u;
  __device__ void offer(std::int32_t other, std::uint32_t other_at) {
    if (other > score || (other == score && other_at < at)) {
      second = max(second, score);
      score = other, at = other_at;
    } else {
      second = max(second, other);
    }
  }
};

/// All b < c < d with an a below b and every second d, in groups of the same b, which take the same
/// time.
struct Triples {
  std::uint32_t* list = nullptr;  // b << 16 | c << 8 | d, in shared memory
  int count = 0;

  /// Fills the list for groups of `cols` columns; by the whole thread block, without a barrier.
  __device__ void fill(int cols) const {
    for (int i = threadIdx.x; i < cols * cols; i += kThreads) {
      const int b = i / cols, c = i - b * cols;
      if (b < 1 || c <= b) continue;
      int at = 0;
      for (int lower = 1; lower <= b; ++lower)
        for (int other = lower + 1; other < (lower < b ? cols : c); ++other)
          at += search_steps(cols, other);
      for (int d = c + 1; d < cols; d += 2)
        list[at++] = static_cast<std::uint32_t>(b << 16 | c << 8 | d);
    }
  }
};

// A word chosen by a loop, not by an index: an index would put the array into memory.
__device__ inline void set_bit(std::uint32_t (&bits)[kMaxCols / 32], int at) {
#pragma unroll
  for (int w = 0; w < kMaxCols / 32; ++w) bits[w] |= w == at / 32 ? 1u << at % 32 : 0;
}
__device__ inline int bits_below(const std::uint32_t (&bits)[kMaxCols / 32], int at) {
  int below = 0;
#pragma unroll
  for (int w = 0; w < kMaxCols / 32; ++w) {
    const int left = min(max(at - 32 * w, 0), 32);
    below += __popc(bits[w] & static_cast<std::uint32_t>((std::uint64_t{1} << left) - 1));
  }
  return below;
}
__device__ inline int get_bit(const std::uint32_t (&bits)[kMaxCols / 32], int at) {
  int bit = 0;
#pragma unroll
  for (int w = 0; w < kMaxCols / 32; ++w) bit |= w == at / 32 ? bits[w] >> at % 32 & 1 : 0;
  return bit;
}

}  // namespace coppice::cuda
