// Tiles whose steps the warpgroups of a thread block take turns at, and of whose columns a cluster
// may have slices as well: for products of few tiles. While one warpgroup makes fragments, another
// one multiplies. A thread block has one tile.
#pragma once

#include "cuda/kernels/expand_consume.h"
#include "cuda/ptx/cluster.h"
#include "cuda/ptx/cluster_halves.h"

namespace coppice::cuda {

/// Adds up sums, pieces of 32 tokens at a time: first of a thread block's warpgroups, which each
/// get some pieces, then of the slices, which each store some of those.
template <WgmmaConfig kConfig>
class SplitSums {
 public:
  static constexpr int kGroups = kConfig.shape.col_groups;
  static constexpr int kCount = kConfig.shape.tokens / 2;  // sums of a thread
  static constexpr int kPieceSums = kStoredTokens / 2;
  static constexpr int kPieces = kCount / kPieceSums;

  __device__ SplitSums(const ProductArguments& p, const Pipeline<kConfig>& pipe, int group,
                       int thread)
      : slices_(kConfig.shape.slices > 1 ? p.slices : 1),
        rank_(kConfig.shape.slices > 1 ? static_cast<int>(blockIdx.x) % slices_ : 0),
        group_(group),
        parked_(pipe.activations + thread % 128 * 16),
        received_(pipe.staging + group * kPieceBytes + thread % 128 * 16),
        arrived_(pipe.sums) {
    static_assert(kConfig.shape.staging * kStoredBytes == kPieceBytes);
    static_assert(kPieces <= 2 * kGroups && kConfig.shape.slices <= 2, "a place for each piece");
  }
  /// Says what will come of the other slice.
  __device__ void expect(int thread) const {
    if (slices_ == 1 || thread != 0) return;
    int pieces = 0;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) pieces += owner(piece) == rank_ ? 1 : 0;
    ptx::barrier_arrive_expect(arrived_, static_cast<std::uint32_t>(pieces * kPieceBytes));
  }
  /// By all consumers.
  __device__ void add_groups(float (&d)[kCount]) const {
    constexpr int kThreads = 128 * kGroups, kBarrier = 1;
    ptx::group_barrier(kBarrier, kThreads);  // all stages are multiplied: sums take their place
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
      if (piece % kGroups != group_)
#pragma unroll
        for (int i = 0; i < kPieceSums / 4; ++i) {
          const float* v = d + piece * kPieceSums + 4 * i;
          ptx::store_shared(parked(piece, group_) + i * kStride,
                            make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]),
                                       __float_as_uint(v[2]), __float_as_uint(v[3])));
        }
    ptx::group_barrier(kBarrier, kThreads);
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
      if (piece % kGroups == group_)
#pragma unroll
        for (int other = 1; other < kGroups; ++other)
          add(d + piece * kPieceSums, parked(piece, (group_ + other) % kGroups));
  }
  /// Exchanges sums with the other slice.
  __device__ void add_slices(float (&d)[kCount]) const {
    if (slices_ == 1) return;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      if (piece % kGroups != group_ || owner(piece) == rank_) continue;
      const std::uint32_t to = ptx::cluster_address(received_, rank_ ^ 1);
      const std::uint32_t arrived = ptx::cluster_address(arrived_, rank_ ^ 1);
#pragma unroll
      for (int i = 0; i < kPieceSums / 4; ++i) {
        const float* v = d + piece * kPieceSums + 4 * i;
        ptx::store_cluster_16(to + i * kStride, make_float4(v[0], v[1], v[2], v[3]), arrived);
      }
    }
    bool receives = false;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) receives |= stores(piece);
    if (!receives) return;
    ptx::barrier_wait(arrived_, 0);
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
      if (stores(piece)) add(d + piece * kPieceSums, received_);
  }
  __device__ bool stores(int piece) const {
    return piece % kGroups == group_ && owner(piece) == rank_;
  }

 private:
  static constexpr int kStride = 128 * 16;
  static constexpr int kPieceBytes = kPieceSums / 4 * kStride;
  static_assert(kPieces * kGroups * kPieceBytes <=
                Pipeline<kConfig>::kStages * Pipeline<kConfig>::kPartBytes);

  /// The slice that stores a piece: another one for a warpgroup's second piece.
  __device__ int owner(int piece) const { return (piece / kGroups + piece % kGroups) % slices_; }
  __device__ std::uint32_t parked(int piece, int group) const {
    return parked_ + (piece * kGroups + group) * kPieceBytes;
  }
  static __device__ void add(float* sums, std::uint32_t from) {
#pragma unroll
    for (int i = 0; i < kPieceSums / 4; ++i) {
      const uint4 raw = ptx::load_shared_16(from + i * kStride);
      sums[4 * i] += __uint_as_float(raw.x);
      sums[4 * i + 1] += __uint_as_float(raw.y);
      sums[4 * i + 2] += __uint_as_float(raw.z);
      sums[4 * i + 3] += __uint_as_float(raw.w);
    }
  }

  int slices_, rank_, group_;
  std::uint32_t parked_, received_, arrived_;
};

/// Whose steps are shared out: of one tile.
template <WgmmaConfig kConfig>
requires(kConfig.expands() && kConfig.shape.col_groups > 1) __device__
    inline void consume(const ProductArguments& p, const WgmmaMaps&, Pipeline<kConfig> pipe,
                        int group, int thread) {
  using Sums = SplitSums<kConfig>;
  static_assert(kConfig.shape.blocks() == 1 && kConfig.tile_tokens() <= 128);
  const Sums sums(p, pipe, group, thread);
  sums.expect(thread);
  const OneTile<kConfig> tile(p);
  const int token = tile.now.token;
  const int lane = thread % 32, warp = thread / 32 % 4;
  const RowUnit* units = p.units + tile.now.rows.block * kBlockUnits + warp;
  const int4 raw = __ldg(reinterpret_cast<const int4*>(units));
  float d[1][Sums::kCount];
  const ConsumerPlace here{0, 0, thread, true, group};
  pipe.wait_tables();
  const Operands<kConfig> operands(p, pipe, here);
  TileSum<kConfig, 1, Sums::kCount>(pipe, d, operands, here).run(StepSlice::of<kConfig>(p).count);
  sums.add_groups(d[0]);
  if (p.slices > 1) ptx::cluster_wait();  // the other thread block has begun
  sums.add_slices(d[0]);
  ptx::wait_for_kernels_before();
#pragma unroll
  for (int piece = 0; piece < Sums::kPieces; ++piece) {
    const int first = token + kStoredTokens * piece;
    if (!sums.stores(piece) || first >= p.tokens) continue;
    float own[1][Sums::kPieceSums];
#pragma unroll
    for (int i = 0; i < Sums::kPieceSums; ++i) own[0][i] = d[0][piece * Sums::kPieceSums + i];
    const UnitOutput out[1] = {
        unit_output<kConfig.type>(p, RowUnit{raw.x, raw.y, raw.z, raw.w}, first, lane)};
    store_units<kConfig.type>(p.epilogue, out, own, lane);
  }
}

}  // namespace coppice::cuda
