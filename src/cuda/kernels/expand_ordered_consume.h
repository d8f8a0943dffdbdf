// The consumers of a wgmma kernel that expands a weight of windows of 16 columns in order: see
// expand_ordered_layout.h. Warpgroups take turns at parts.
#pragma once

#include "cuda/kernels/expand_consume.h"

namespace coppice::cuda {

/// Makes the fragments of a part, two products of 32 columns; of every `kApart`-th.
template <WgmmaConfig kConfig>
class OrderedExpander {
  static constexpr int kApart = kConfig.shape.col_groups;

 public:
  using Part = Fragments<2>;

  __device__ OrderedExpander(int row_group, int first_part, int thread) {
    constexpr int kPartWays = expand::kPartWindows * expand::kWindowWayBytes;
    const int lane = thread % 32, warp = thread / 32 % 4, t = lane % 4;
    const std::uint32_t record = row_group * kRecordBytes;
    const std::uint32_t ways = kConfig.weight_bytes() +
                               (row_group * kBlockUnits + warp) * expand::kUnitWayBytes +
                               first_part * kPartWays;
    values_ = record + value_byte(16 * warp + lane / 4, 0) + first_part * kCoreBytes;
    metadata_ = record + kValueBytes + (thread % 128 - t + first_part) * 4;
    selectors_ = ways + 2 * t;
    own_ways_ = ways + offsetof(expand::WindowWays, metadata) + t * expand::kWindowWayBytes;
    turn_ = 4 * t;
  }
  /// Part `kApart` * `kPart` behind the first one, of the step whose record lies at `tile`.
  template <int kPart>
  __device__ void expand(std::uint32_t tile, Part& out) const {
    constexpr int kBehind = kPart * kApart;
    constexpr int kWays = kBehind * expand::kPartWindows * expand::kWindowWayBytes;
    const std::uint32_t pairs = ptx::load_shared(tile + metadata_ + kBehind * 4);
    const std::uint32_t from = tile + values_ + kBehind * kCoreBytes;
    const uint4 values[2] = {ptx::load_shared_16(from), ptx::load_shared_16(from + kCoreRowBytes)};
    const std::uint32_t told_apart = (pairs ^ pairs >> 1) & 0x77777777;  // expand::pair_index
    windows<0, kWays>(tile + selectors_, told_apart, values, out);
    // Metadata of a lane's own window, of two quads in each of its lower lanes' products.
    const std::uint32_t own = told_apart << 1 >> turn_, ways = tile + own_ways_;
    std::uint32_t halves[2];
#pragma unroll
    for (int row = 0; row < 2; ++row)
      halves[row] = ptx::load_shared_2(((own >> 16 * row & 0xE) | ways) + kWays);
    out.metadata[0] = ptx::select_bytes(halves[0], halves[1], 0x5410);
  }

 private:
  template <int kWindow, int kWays>
  __device__ void windows(std::uint32_t ways, std::uint32_t told_apart, const uint4 (&values)[2],
                          Part& out) const {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      constexpr int kShift = 4 * kWindow - 3;
      const std::uint32_t pair =
          kShift + 16 * row < 0 ? told_apart << 3 : told_apart >> (kShift + 16 * row);
      const std::uint32_t selector =
          ptx::load_shared_2(((pair & 0x38) | ways) + kWays + kWindow * expand::kWindowWayBytes);
      out.a[kWindow / 2][kWindow % 2 * 2 + row] =
          ptx::select_bytes(RecordPart::word(values[row], kWindow), 0, selector);
    }
    if constexpr (kWindow + 1 < expand::kPartWindows)
      windows<kWindow + 1, kWays>(ways, told_apart, values, out);
  }

  std::uint32_t values_, metadata_, selectors_, own_ways_;  // in a stage of weights
  std::uint32_t turn_;                                      // bits to a lane's own window
};

/// Adds one tile's products to `d`. While the products of a part of a step are under way the next
/// one's fragments are made.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
requires(kConfig.expands_in_order()) class TileSum<kConfig, kBlocks, kCount> {
  static_assert(kBlocks == 1, "a warpgroup expands one block");
  using Pipe = Pipeline<kConfig>;
  using Part = OrderedExpander<kConfig>::Part;
  static constexpr int kParts = Pipe::kParts.count;
  static constexpr int kTurn = kConfig.shape.col_groups;  // of parts
  static constexpr int kShare = kParts / kTurn;           // of a step
  static_assert(kShare % 2 == 0);

 public:
  __device__ TileSum(Pipe& pipe, float (&d)[kBlocks][kCount], const Operands<kConfig>&,
                     const ConsumerPlace& place)
      : pipe_(pipe),
        d_(d[0]),
        place_(place),
        expander_(place.row_group, place.col_group, place.thread),
        b_(ptx::descriptor_low(
            pipe.activations + place.token_group * kConfig.shape.tokens * kStepCols * 2,
            kStepCols * 128)) {}

  __device__ void run(int steps) {
#pragma unroll
    for (float& sum : d_) sum = 0;
    // Registers of products under way must not change: two sets, in turn.
    Part even, odd;
    // There is a step; if ptxas 13.0 does not know that it serializes the products (C7515).
    if (steps <= 0) return;
    if constexpr (kTurn > 1) pipe_.x.skip(place_.col_group);
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      pipe_.w.wait_full();
      __syncwarp();
      add_parts<0>(even, odd, step > 0);
      // After the products that need all loads from it: an arrive does not wait for loads.
      if (releases()) ptx::barrier_arrive(pipe_.w.empty_barrier());
      pipe_.w.advance();
    }
    ptx::wgmma_wait<0>();
    keep(even);
    keep(odd);
    ptx::keep_order(d_);
    release();
  }

 private:
  static constexpr int kTransB = kConfig.reads_tokens() ? 0 : 1;

  __device__ bool releases() const { return place_.thread % 32 == 0; }
  static __device__ void keep(Part& part) {
#pragma unroll
    for (auto& a : part.a) ptx::keep_values(a);
    ptx::keep_values(part.metadata);
  }
  /// The part whose products are done.
  __device__ void release() {
    if (releases()) ptx::barrier_arrive(under_way_);
  }
  /// The parts of a step from number `kPart` on.
  template <int kPart>
  __device__ void add_parts(Part& now, Part& before, bool has_previous) {
    expander_.template expand<kPart>(pipe_.weight_tile(), now);
    keep(now);
    ptx::wgmma_wait<0>();
    if (kPart > 0 || has_previous) release();
    pipe_.x.wait_full();
    __syncwarp();
    if (place_.active) multiply(now);
    under_way_ = pipe_.x.empty_barrier();
    pipe_.x.skip(kTurn);
    keep(before);
    if constexpr (kPart + 1 < kShare) add_parts<kPart + 1>(before, now, true);
  }
  __device__ void multiply(const Part& part) {
    constexpr std::uint32_t kHigh = ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
    constexpr std::uint32_t kNextColumns = (kConfig.reads_tokens() ? 64 : 32 * 128) >> 4;
    const std::uint32_t b = b_ + pipe_.x.stage * (Pipe::kPartBytes >> 4);
    ptx::wgmma_fence();
    ptx::sparse_wgmma<kConfig.type, 0, kTransB>(d_, part.a[0], ptx::matrix_descriptor(b, kHigh),
                                                part.metadata[0]);
    ptx::sparse_wgmma<kConfig.type, 1, kTransB>(
        d_, part.a[1], ptx::matrix_descriptor(b + kNextColumns, kHigh), part.metadata[0]);
    ptx::wgmma_commit();
  }

  Pipe& pipe_;
  float (&d_)[kCount];
  ConsumerPlace place_;
  OrderedExpander<kConfig> expander_;
  std::uint32_t b_;
  std::uint32_t under_way_ = 0;  ///< barrier of the part whose products are under way
};

}  // namespace coppice::cuda
