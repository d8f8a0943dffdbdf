// The consumers of a wgmma kernel that expands its weight: records to fragments of a 2:4 weight in
// registers, and their products.
#pragma once

#include "cuda/kernels/expand_pipeline.h"
#include "cuda/kernels/metadata_exchange.h"
#include "cuda/kernels/wgmma_consume.h"
#include "cuda/ptx/bytes.h"

namespace coppice::cuda {

/// What a lane holds of a step's record: four windows of rows g and g + 8.
struct RecordPart {
  uint4 values[2];
  std::uint32_t even, odd;  // rotations for windows 0, 2 and 1, 3 of both rows, in bytes
  uint4 codes;              // of the windows

  static __device__ std::uint32_t word(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
  }
  __device__ std::uint32_t value(int row, int window) const { return word(values[row], window); }
};

/// Fragments of the products of a step.
template <int kProducts>
struct Fragments {
  std::uint32_t a[kProducts][4] = {};
  std::uint32_t metadata[(kProducts + 1) / 2] = {};
};

template <WgmmaConfig kConfig>
class Expander {
 public:
  static constexpr bool kFives = kConfig.source == Source::fives;
  static constexpr int kProducts = Pipeline<kConfig>::kStepProducts;

  __device__ Expander(const Pipeline<kConfig>& pipe, int row_group, int thread)
      : entries_(pipe.entries), exchange_(thread % 4) {
    const int lane = thread % 32, warp = thread / 32 % 4;
    values_ = row_group * kRecordBytes + value_byte(16 * warp + lane / 4, 8 * (lane % 4));
    metadata_ = row_group * kRecordBytes + kValueBytes + thread % 128 * 4;
    codes_ = ((row_group * kBlockUnits + warp) * kStepQuads + lane % 4 * expand::kLaneWindows) * 4;
  }
  __device__ void read(const Pipeline<kConfig>& pipe) {
    const std::uint32_t tile = pipe.weight_tile();
    part_.codes = ptx::load_shared_16(pipe.window_codes() + codes_);
    const std::uint32_t pairs = ptx::load_shared(tile + metadata_);
    part_.values[0] = ptx::load_shared_16(tile + values_);
    part_.values[1] = ptx::load_shared_16(tile + values_ + kCoreRowBytes);
    const std::uint32_t told_apart = pairs ^ pairs >> 1;  // expand::pair_index of all of them
    part_.even = (told_apart & 0x07070707) * expand::kCodeBits;
    part_.odd = (told_apart >> 4 & 0x07070707) * expand::kCodeBits;
  }
  __device__ void expand(Fragments<kProducts>& out) const {
    if constexpr (kFives) {
      fives(out);
    } else {
      eights<0>(out);
      eights<2>(out);
    }
  }

 private:
  /// Entries of a window for both rows, and their selectors.
  struct Window {
    std::uint32_t entry[2], selectors[2];
  };
  template <int kWindow>
  __device__ Window look_up(std::uint32_t table) const {
    const std::uint32_t codes = RecordPart::word(part_.codes, kWindow);
    const std::uint32_t turns = kWindow % 2 == 0 ? part_.even : part_.odd;
    Window window;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const std::uint32_t turn = turns >> (16 * row + kWindow / 2 * 8);  // its lowest 5 bits
      const std::uint32_t code = __funnelshift_r(codes, codes, turn) & (4 * (expand::kCodes - 1));
      window.entry[row] = ptx::load_table(code | table);
      window.selectors[row] = ptx::select_bytes(expand::kHalfSelectors, 0, window.entry[row]);
    }
    return window;
  }
  template <int kWindow>
  __device__ std::uint32_t first_register(const Window& window, int row) const {
    return ptx::select_bytes(part_.value(row, kWindow), 0, window.selectors[row]);
  }
  template <int kWindow>
  __device__ std::uint32_t second_register(const Window& window, int row) const {
    return ptx::select_bytes(part_.value(row, kWindow), 0, window.selectors[row] >> 16);
  }

  /// Windows of two quads: a product each.
  template <int kWindow>
  __device__ void eights(Fragments<kProducts>& out) const {
    const Window one = look_up<kWindow>(entries_), two = look_up<kWindow + 1>(entries_);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      out.a[kWindow][row] = first_register<kWindow>(one, row);
      out.a[kWindow][2 + row] = second_register<kWindow>(one, row);
      out.a[kWindow + 1][row] = first_register<kWindow + 1>(two, row);
      out.a[kWindow + 1][2 + row] = second_register<kWindow + 1>(two, row);
    }
    const std::uint32_t low = ptx::select_bytes(one.entry[0], two.entry[0], 0x62);
    const std::uint32_t high = ptx::select_bytes(one.entry[1], two.entry[1], 0x62);
    out.metadata[kWindow / 2] = exchange_(ptx::select_bytes(low, high, 0x5410));
  }

  /// Pairs of windows in three quads, two pairs in three products.
  __device__ void fives(Fragments<kProducts>& out) const {
    constexpr std::uint32_t kSecondTable = expand::kCodes * 4;
    const Window w0 = look_up<0>(entries_), w1 = look_up<1>(entries_ + kSecondTable),
                 w2 = look_up<2>(entries_), w3 = look_up<3>(entries_ + kSecondTable);
    std::uint32_t nibbles[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      out.a[0][row] = first_register<0>(w0, row);
      out.a[0][2 + row] = second_register<0>(w0, row) | second_register<1>(w1, row);
      out.a[1][row] = first_register<1>(w1, row);
      out.a[1][2 + row] = first_register<2>(w2, row);
      out.a[2][row] = second_register<2>(w2, row) | second_register<3>(w3, row);
      out.a[2][2 + row] = first_register<3>(w3, row);
      // Byte 0: own of w0, middle; byte 1: own of w1, own of w2.
      nibbles[row] = ptx::select_bytes(w0.entry[row], w1.entry[row], 0x62) |
                     (ptx::select_bytes(w2.entry[row], 0, 0x4434) & 0xF000);
    }
    out.metadata[0] = exchange_(ptx::select_bytes(nibbles[0], nibbles[1], 0x5410));
    out.metadata[1] = exchange_(ptx::select_bytes(w3.entry[0], w3.entry[1], 0x7733));
  }

  std::uint32_t values_, metadata_, codes_;  // in a stage of weights
  std::uint32_t entries_;
  MetadataExchange exchange_;
  RecordPart part_;
};

template <WgmmaConfig kConfig>
requires(kConfig.expands()) struct Operands<kConfig> {
  __device__ Operands(const ProductArguments&, const Pipeline<kConfig>&, const ConsumerPlace&) {}
};

/// Adds one tile's products to `d`. While a step's products are under way the next one's fragments
/// are made.
template <WgmmaConfig kConfig, int kBlocks, int kCount>
requires(kConfig.expands() && !kConfig.expands_in_order()) class TileSum<kConfig, kBlocks, kCount> {
  static_assert(kBlocks == 1, "a warpgroup expands one block");
  using Pipe = Pipeline<kConfig>;
  static constexpr int kParts = Pipe::kParts.count;
  using StepFragments = Fragments<Pipe::kStepProducts>;

 public:
  __device__ TileSum(Pipe& pipe, float (&d)[kBlocks][kCount], const Operands<kConfig>&,
                     const ConsumerPlace& place)
      : pipe_(pipe),
        d_(d[0]),
        place_(place),
        expander_(pipe, place.row_group, place.thread),
        b_(ptx::descriptor_low(
            pipe.activations + place.token_group * kConfig.shape.tokens * Pipe::kSlots * 2,
            Pipe::kSlots * 128)) {}

  __device__ void run(int steps) {
#pragma unroll
    for (float& sum : d_) sum = 0;
    // Registers of products under way must not change: two sets, in turn.
    StepFragments even, odd;
    const int first = place_.col_group;
    if (kTurn > 1 && first >= steps) return;
    if (first > 0) pipe_.w.skip(first), pipe_.x.skip(first * kParts);
#pragma unroll 1
    for (int step = first; step < steps; step += 2 * kTurn) {
      add_step(even, odd, step > first);
      if (step + kTurn < steps) add_step(odd, even, true);
    }
    ptx::wgmma_wait<0>();
    keep(even);
    keep(odd);
    ptx::keep_order(d_);
    release();
  }

 private:
  static constexpr int kTurn = kConfig.shape.col_groups;  // of steps
  // Whether the products of a part are issued by themselves, and waited for a step later; else a
  // step's are issued together when those of the step before are done.
  static constexpr bool kLate = kConfig.shape.tokens > 128 || kConfig.source == Source::fives;
  static constexpr int kGroups = kLate ? kParts : 1;
  static constexpr int kTogether = kParts / kGroups;

  __device__ bool releases() const { return place_.thread % 32 == 0; }
  static __device__ void keep(StepFragments& f) {
#pragma unroll
    for (auto& a : f.a) ptx::keep_values(a);
    ptx::keep_values(f.metadata);
  }
  /// The parts whose products are done.
  __device__ void release() {
    if (!releases()) return;
#pragma unroll
    for (int part = 0; part < kParts; ++part) ptx::barrier_arrive(under_way_[part]);
  }
  __device__ void add_step(StepFragments& now, StepFragments& before, bool has_previous) {
    pipe_.w.wait_full();
    __syncwarp();
    expander_.read(pipe_);
    expander_.expand(now);
    keep(now);
    if constexpr (!kLate) {
      ptx::wgmma_wait<0>();
      if (has_previous) release();
    }
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      std::uint32_t stages[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int part = group * kTogether + i;
        pipe_.x.wait_full();
        stages[i] = pipe_.x.stage;
        if (!kLate) under_way_[part] = pipe_.x.empty_barrier();
        if (!kLate) pipe_.x.advance();
      }
      __syncwarp();
      if (place_.active) multiply(now, group * kTogether, stages);
      // Not before its products: an arrive does not wait for loads that are under way, and at the
      // start of a tile the next copy comes at once.
      if constexpr (kLate) {
        ptx::wgmma_wait<kGroups>();  // the same part of the step before is done
        if (has_previous && releases()) ptx::barrier_arrive(under_way_[group]);
        under_way_[group] = pipe_.x.empty_barrier();
        pipe_.x.advance();
      }
      if (group == 0 && releases()) ptx::barrier_arrive(pipe_.w.empty_barrier());
    }
    pipe_.w.skip(kTurn);
    if constexpr (kTurn > 1) pipe_.x.skip((kTurn - 1) * kParts);
    keep(before);
  }
  __device__ void multiply(StepFragments& f, int first_part,
                           const std::uint32_t (&stages)[kTogether]) {
    constexpr std::uint32_t kHigh = ptx::descriptor_high(1024, ptx::Swizzle::bytes_128);
    constexpr std::uint32_t kNextSlots = (32 * 128) >> 4;
    ptx::wgmma_fence();
#pragma unroll
    for (int i = 0; i < Pipe::kParts.products * kTogether; ++i) {
      const int product = first_part * Pipe::kParts.products + i;
      const std::uint32_t b = b_ + stages[i / Pipe::kParts.products] * (Pipe::kPartBytes >> 4) +
                              i % Pipe::kParts.products * kNextSlots;
      const std::uint64_t slots = ptx::matrix_descriptor(b, kHigh);
      if (product % 2 == 0)
        ptx::sparse_wgmma<kConfig.type, 0, 1>(d_, f.a[product], slots, f.metadata[product / 2]);
      else
        ptx::sparse_wgmma<kConfig.type, 1, 1>(d_, f.a[product], slots, f.metadata[product / 2]);
    }
    ptx::wgmma_commit();
  }

  Pipe& pipe_;
  float (&d_)[kCount];
  ConsumerPlace place_;
  Expander<kConfig> expander_;
  std::uint32_t b_;
  std::uint32_t under_way_[kParts] = {};  ///< barriers of the parts whose products are under way
};

}  // namespace coppice::cuda
