// Sums of the kernels with activations in registers: of the warps that share a unit, of passes and
// of the ranks of a cluster, in the fragment order of mma. All in an order that depends on the
// weight and the device alone: slices are added up in pairs to 512 columns, these in ascending
// order to 2048, these to a rank's, those of ranks in ascending order. So tiles of 8 and 16 tokens
// have the same sums.
#pragma once

#include "cuda/element/fragment_sums.h"
#include "cuda/element/held_arguments.h"
#include "cuda/element/lookup_walk.h"
#include "cuda/ptx/barrier.h"
#include "cuda/ptx/cluster.h"

namespace coppice::cuda {

template <HeldConfig kConfig>
class HeldSums {
 public:
  static constexpr int kTiles = kConfig.tiles;
  using Sums = float[kTiles][4];

  /// By all threads; behind it a barrier is needed, of the cluster if there is one.
  __device__ HeldSums(const HeldArguments& p, const LookupWalk& walk, std::uint32_t shared,
                      int rank, int tile, int warp, int lane)
      : s_(p.split),
        at_(p.places),
        shared_(shared),
        rank_(rank),
        lane_(lane),
        chunk_warp_(walk.chunk_warp),
        first_(s_.first_part(tile)),
        part_(walk.first_part),
        begin_(walk.first_part),
        end_(walk.end_part) {
    const int group = s_.row_warp(warp);
    barriers_ = shared + at_.barriers + 16 * kHeldSums * group;
    buffers_ = shared + at_.sums + group * kHeldSums * s_.chunk_warps * kConfig.sum_bytes();
    const auto thread = threadIdx.x;
    constexpr unsigned kInbox = kHeldBarriers - 1;
    if (thread < kHeldBarriers)
      ptx::barrier_init(shared + at_.barriers + 8 * thread,
                        thread < kInbox && thread % 2 == 0 ? s_.chunk_warps : 1);
    if (s_.ranks > 1 && thread == kInbox) {
      const int units = max(0, walk.end_part - first_);
      own_inbox(max(0, (units - rank + s_.ranks - 1) >> rank_shift()));
      ptx::fence_barrier_init();  // by one thread: it waits for all memory
    }
  }

  /// What this warp has of its next unit.
  __device__ void put(const Sums& sums) {
    const int place = items_ % kHeldSums, turn = items_ / kHeldSums;
    if (turn > 0) ptx::barrier_wait(empty(place), (turn - 1) & 1);
    const std::uint32_t to = buffer(place, chunk_warp_);
#pragma unroll
    for (int i = 0; i < kTiles; ++i) store(to, i, sums[i]);
    __syncwarp();
    if (lane_ == 0) ptx::barrier_arrive(full(place));
    if (++items_ >= kHeldSums) add_up();
  }

  /// The rest, when everything has been put.
  __device__ void finish() {
#pragma unroll 1
    while (added_ < items_) add_up();
  }

  /// Outputs, by all warps.
  template <Dtype kType>
  __device__ void store_outputs(const HeldArguments& p, int first_token, int end_unit) const {
    __syncthreads();
    if (s_.ranks > 1) ptx::barrier_wait(inbox_barrier(), 0);
    const int step = s_.warps() * s_.ranks;
#pragma unroll 1
    for (int u = rank_ + static_cast<int>(threadIdx.x / 32) * s_.ranks; first_ + u < end_unit;
         u += step) {
      Sums sums = {};
#pragma unroll 1
      for (int r = 0; r < s_.ranks; ++r) add(r == rank_ ? kept(u) : inbox(u, r, rank_), sums);
      float d[16] = {};
#pragma unroll
      for (int i = 0; i < 4 * kTiles; ++i) d[i] = sums[i / 4][i % 4];
      const UnitOutput out =
          fragment_output<kType>(p, first_ + u, first_token, kConfig.tokens(), lane_);
      store_part<kType>(p.epilogue, out, d, first_token, lane_);
    }
  }

 private:
  static constexpr int kPair = kTiles;  // slices
  static constexpr int kSumWarps = kConfig.sum_slices();

  __device__ int rank_shift() const { return s_.ranks >> 1; }  // of 1, 2 or 4
  __device__ std::uint32_t full(int place) const { return barriers_ + 16 * place; }
  __device__ std::uint32_t empty(int place) const { return barriers_ + 16 * place + 8; }
  __device__ std::uint32_t inbox_barrier() const {
    return shared_ + at_.barriers + 8 * (kHeldBarriers - 1);
  }
  __device__ std::uint32_t buffer(int place, int warp) const {
    return buffers_ + (place * s_.chunk_warps + warp) * kConfig.sum_bytes();
  }
  /// Units are dealt out to the ranks, which add up those of all of them.
  __device__ std::uint32_t kept(int u) const {
    return shared_ + at_.kept + (at_.passes > 1 ? u : u >> rank_shift()) * kConfig.sum_bytes();
  }
  __device__ std::uint32_t inbox(int u, int from, int owner) const {
    const int place = (u >> rank_shift()) * (s_.ranks - 1) + (from < owner ? from : from - 1);
    return shared_ + at_.inbox + place * kConfig.sum_bytes();
  }
  __device__ void own_inbox(int units) const {
    ptx::barrier_arrive_expect(
        inbox_barrier(), static_cast<std::uint32_t>(units * (s_.ranks - 1) * kConfig.sum_bytes()));
  }

  __device__ void store(std::uint32_t to, int tile, const float (&d)[4]) const {
    ptx::store_shared(to + tile * kSumBytes + lane_ * 16,
                      make_uint4(__float_as_uint(d[0]), __float_as_uint(d[1]),
                                 __float_as_uint(d[2]), __float_as_uint(d[3])));
  }
  __device__ void add(std::uint32_t from, Sums& to) const {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const uint4 raw = ptx::load_shared_16(from + i * kSumBytes + lane_ * 16);
      to[i][0] += __uint_as_float(raw.x);
      to[i][1] += __uint_as_float(raw.y);
      to[i][2] += __uint_as_float(raw.z);
      to[i][3] += __uint_as_float(raw.w);
    }
  }
  static __device__ void add(const Sums& from, Sums& to) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) to[i][j] += from[i][j];
  }

  /// The next unit's, if it is this warp's turn.
  __device__ void add_up() {
    if ((number_ & (s_.chunk_warps - 1)) == chunk_warp_) add_up_own();
    ++added_, ++number_;
    part_ += s_.row_warps;
    if (part_ < end_) return;
    part_ = begin_;
    number_ = 0;
    ++pass_;
  }
  __device__ void add_up_own() const {
    const int place = added_ % kHeldSums, u = part_ - first_;
    ptx::barrier_wait(full(place), added_ / kHeldSums & 1);
    Sums total = {};
    if (pass_ > 0) add(kept(u), total);
#pragma unroll 1
    for (int first = 0; first < s_.chunk_warps; first += kSumWarps) {
      Sums sum = {};
#pragma unroll
      for (int w = 0; w < kSumWarps; w += kPair) {
        if (first + w >= s_.chunk_warps) break;
        Sums pair = {};
        add(buffer(place, first + w), pair);
        if (kPair == 2 && first + w + 1 < s_.chunk_warps) add(buffer(place, first + w + 1), pair);
        add(pair, sum);
      }
      add(sum, total);
    }
    __syncwarp();
    if (lane_ == 0) ptx::barrier_arrive(empty(place));
    const int owner = u & (s_.ranks - 1);
    if (pass_ + 1 < at_.passes || owner == rank_) {
#pragma unroll
      for (int i = 0; i < kTiles; ++i) store(kept(u), i, total[i]);
    } else {
      const std::uint32_t to = ptx::cluster_address(inbox(u, rank_, owner), owner);
      const std::uint32_t barrier = ptx::cluster_address(inbox_barrier(), owner);
#pragma unroll
      for (int i = 0; i < kTiles; ++i)
        ptx::store_cluster_16(to + i * kSumBytes + lane_ * 16,
                              make_float4(total[i][0], total[i][1], total[i][2], total[i][3]),
                              barrier);
    }
  }

  const ElementSplit& s_;
  const HeldPlaces& at_;
  std::uint32_t shared_, barriers_, buffers_;
  int rank_, lane_, chunk_warp_;
  int first_, part_, begin_, end_;                     // units: of the tile, of this warp
  int items_ = 0, added_ = 0, number_ = 0, pass_ = 0;  // put; added up, of the pass
};

}  // namespace coppice::cuda
