// Products of up to 16 tokens at a time with weights whose columns are all alive in order (2:4),
// and of a few tokens with those that list their columns (V:2:M), on sm_90: weights through rings
// in shared memory, so that memory hardly rests between kernels that follow each other.
//
// Every multiprocessor has one thread block, with half of its registers and memory; the next
// kernel's, which fills its rings meanwhile, has the other half. A thread block has a tile of units
// of 16 rows, as evenly as can be; its warps divide the columns in slices, and the units where
// there are fewer slices. A warp is on its own until sums are added up: its weights come by bulk
// copies (decode_ring.h), its activations, of which no other warp needs the same, step by step
// beside them (decode_side.h), as ldmatrix takes them; where columns are listed, the whole thread
// block looks them up for each of its vectors (decode_listed.h). Sums of a slice and the tree of
// slices are in the order of decode_kernel.h: the same bits. What a kernel begins and ends with is
// short code, because it has to be fetched then.
#pragma once

#include "cuda/element/output.h"
#include "cuda/kernels/decode_listed.h"
#include "cuda/kernels/decode_multiply.h"
#include "cuda/kernels/decode_side.h"
#include "cuda/ptx/launch.h"

namespace coppice::cuda::decode {

/// Sums of a run's rows and 8 * kPanels tokens.
template <int kPanels>
struct RunSums {
  static constexpr int kUnits = most_run_units(8 * kPanels);
  static constexpr bool kPairs = kUnits >= 2 * kMostPairedUnits;
  float d[kUnits][kPanels][4] = {};

  /// The sums of a warp's first slice make way for those of its second.
  __device__ void begin_second() {
#pragma unroll
    for (int u = 0; u < kMostPairedUnits; ++u)
#pragma unroll
      for (int n = 0; n < kPanels; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          d[kMostPairedUnits + u][n][i] = d[u][n][i];
          d[u][n][i] = 0;
        }
  }
  __device__ void add_first() {
#pragma unroll
    for (int u = 0; u < kMostPairedUnits; ++u)
#pragma unroll
      for (int n = 0; n < kPanels; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) d[u][n][i] = d[kMostPairedUnits + u][n][i] + d[u][n][i];
  }
};

/// The activations of a step, of 32 columns for each instruction.
template <int kPanels>
struct StepActivations {
  std::uint32_t b[2][kPanels][4];

  __device__ void load(const std::uint32_t (&rows)[kPanels], std::uint32_t skipped) {
#pragma unroll
    for (int j = 0; j < 2; ++j)
#pragma unroll
      for (int n = 0; n < kPanels; ++n)
        ptx::load_matrix_4(b[j][n], rows[n] + skipped + j * kStepCols);
  }
};

/// Where the vectors of a run's units have their activations: bit u of `starts`: unit u begins
/// another one, `bytes` further.
struct RunVectors {
  std::uint32_t starts = 0, bytes = 0;
};

/// Adds the products of a step. `rows`: where this lane points ldmatrix for every panel, of the
/// first vector; `values`, `metadata`: this lane's of unit 0.
template <int kPanels, Dtype kType, bool kListed>
__device__ inline void multiply_run(RunSums<kPanels>& sums, const std::uint32_t (&rows)[kPanels],
                                    RunVectors vectors, std::uint32_t values,
                                    std::uint32_t metadata, int units) {
  StepActivations<kPanels> x;
  x.load(rows, 0);
  std::uint32_t skipped = 0;
#pragma unroll
  for (int u = 0; u < RunSums<kPanels>::kUnits; ++u) {
    if (u >= units) continue;
    if constexpr (kListed)
      if (u > 0 && (vectors.starts >> u & 1) != 0) x.load(rows, skipped += vectors.bytes);
    const std::uint32_t choices = ptx::load_shared(metadata + u * kUnitMetadataBytes);
    std::uint32_t a[2][4];
#pragma unroll
    for (int j = 0; j < 2; ++j)
      ptx::load_matrix_4(a[j], values + u * kUnitValueBytes + slot_row(0, j));
#pragma unroll
    for (int n = 0; n < kPanels; ++n)
      ptx::sparse_mma<kType, 0>(sums.d[u][n], a[0], x.b[0][n], choices);
#pragma unroll
    for (int n = 0; n < kPanels; ++n)
      ptx::sparse_mma<kType, 1>(sums.d[u][n], a[1], x.b[1][n], choices);
  }
}

template <int kPanels>
__device__ inline void store_run(const RunSums<kPanels>& sums, std::uint32_t shared, int units,
                                 int lane) {
#pragma unroll
  for (int u = 0; u < RunSums<kPanels>::kUnits; ++u) {
    if (u >= units) continue;
#pragma unroll
    for (int n = 0; n < kPanels; ++n) {
      const float(&d)[4] = sums.d[u][n];
      ptx::store_shared(shared + (u * kPanels + n) * kFragmentBytes + lane * 16,
                        make_uint4(__float_as_uint(d[0]), __float_as_uint(d[1]),
                                   __float_as_uint(d[2]), __float_as_uint(d[3])));
    }
  }
}

/// ((0 + 1) + (2 + 3)) + ... of `count` sums, `step` bytes apart; a power of two up to 16. (Zeros
/// behind them change no bit: no sum is a negative zero.)
template <int kFirst = 0, int kCount = 16>
__device__ inline float slice_sum(std::uint32_t shared, std::uint32_t step, int count) {
  if constexpr (kCount == 1)
    return kFirst < count ? __uint_as_float(ptx::load_shared(shared + kFirst * step)) : 0.0f;
  else
    return slice_sum<kFirst, kCount / 2>(shared, step, count) +
           slice_sum<kFirst + kCount / 2, kCount / 2>(shared, step, count);
}

/// Adds up the slices of every output of the tile, and stores it.
template <int kPanels, Dtype kType>
__device__ inline void finish_tile(const DecodeArguments& a, const ProductArguments& p, int units,
                                   std::int32_t first_token, std::uint32_t table,
                                   std::uint32_t sums) {
  constexpr int kUnitSums = kPanels * kFragmentBytes;
  const std::uint32_t step = a.shape.row_warps * a.ring.run_units * kUnitSums;
  const unsigned rows = units * kUnitRows, tokens = min(8 * kPanels, p.tokens - first_token);
  const bool by_row = p.epilogue.token_major;  // neighbours write what lies together
#pragma unroll 1
  for (unsigned i = threadIdx.x; i < rows * tokens; i += blockDim.x) {
    const unsigned slow = i / (by_row ? rows : tokens), fast = i - slow * (by_row ? rows : tokens);
    const unsigned row = by_row ? fast : slow, token = by_row ? slow : fast;
    const uint2 unit = ptx::load_shared_8(table + row / kUnitRows * sizeof(RowUnit));
    if (row % kUnitRows >= unit.y) continue;
    const float sum =
        slice_sum(sums + row / kUnitRows * kUnitSums + ring_sum_offset(row % kUnitRows, token),
                  step, a.shape.slice_warps);
    store_output<kType>(p.epilogue, first_token + token, unit.x + row % kUnitRows, sum);
  }
}

/// A warp's steps, activations beside them.
template <int kPanels, Dtype kType>
__device__ inline void multiply_in_order(RunSums<kPanels>& sums, RecordRing& ring, Sides& sides,
                                         const DecodeArguments& a, const Run& run, int lane) {
  std::uint32_t rows[kPanels];  // where this lane points ldmatrix in a side, for every panel
#pragma unroll
  for (int n = 0; n < kPanels; ++n) rows[n] = sides.row(lane % 8 + 8 * n) + lane / 8 * 16;
#pragma unroll 1
  for (int step = run.begin - a.ring.sides; step < run.end; ++step) {
    if (step >= run.begin) {
      if constexpr (RunSums<kPanels>::kPairs)
        if (warp_slices(a.shape) == 2 && step == run.middle) sums.begin_second();
      const std::uint32_t slot = ring.wait(), side = sides.wait();
      std::uint32_t at[kPanels];
#pragma unroll
      for (int n = 0; n < kPanels; ++n) at[n] = side + rows[n];
      multiply_run<kPanels, kType, false>(sums, at, {}, slot + slot_row(lane, 0),
                                          slot + a.ring.run_units * kUnitValueBytes + lane * 4,
                                          run.units);
      ring.release();
    }
    sides.ask();
  }
}

/// A warp's steps, all activations there. `rows`: as for multiply_run, of step 0.
template <Dtype kType>
__device__ inline void multiply_listed(RunSums<1>& sums, RecordRing& ring, std::uint32_t row,
                                       RunVectors vectors, const DecodeArguments& a, const Run& run,
                                       int lane) {
  row += run.begin * (2 * kStepCols);
#pragma unroll 1
  for (int step = run.begin; step < run.end; ++step) {
    const std::uint32_t slot = ring.wait();
    const std::uint32_t rows[1] = {row};
    multiply_run<1, kType, true>(sums, rows, vectors, slot + slot_row(lane, 0),
                                 slot + a.ring.run_units * kUnitValueBytes + lane * 4, run.units);
    ring.release();
    row += 2 * kStepCols;
  }
}

/// Looks the columns of the tile's vectors up for all of its warps, and multiplies.
template <Dtype kType>
__device__ inline void multiply_tile_listed(RunSums<1>& sums, RecordRing& ring,
                                            const DecodeArguments& a, const ProductArguments& p,
                                            const Run& run, std::int32_t first_unit, int units,
                                            std::int32_t first_token, std::uint32_t shared,
                                            int lane) {
  const auto vector_of = [&](int unit) { return __ldg(&p.units[first_unit + unit].vector); };
  const std::int32_t first = vector_of(0), last = vector_of(units - 1);
  const ListedRows listed(a, p, first, last - first + 1, first_token, shared);
  listed.find();
  const std::int32_t skipped = min(run.first - first_unit, units - 1);
  const std::int32_t mine = vector_of(min(skipped + lane, units - 1));
  const RunVectors vectors{vector_starts(mine, run.units, lane),
                           static_cast<std::uint32_t>(vector_bytes(p.steps))};
  const std::uint32_t before = __shfl_sync(~0u, mine, 0) - first;
  ptx::wait_for_kernels_before();
  listed.bring();
  ring.ask_late();
  multiply_listed<kType>(sums, ring, listed.row(lane % 8) + lane / 8 * 16 + before * vectors.bytes,
                         vectors, a, run, lane);
}

template <int kPanels, Dtype kType, bool kListed>
__global__ void __launch_bounds__(32 * ring_warps(8 * kPanels), 2)
    ring_kernel(const __grid_constant__ DecodeArguments a) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) std::byte memory[];
  const std::uint32_t shared = ptx::shared_address(memory);
  const DecodeShape& s = a.shape;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row_warp = warp & (s.row_warps - 1), slice_warp = warp >> lowest_bit(s.row_warps);
  int number = 0;
  while (number + 1 < a.weights && static_cast<int>(blockIdx.x) >= a.first_tile[number + 1])
    ++number;
  const ProductArguments& p = a.product[number];
  const std::int32_t tile = static_cast<int>(blockIdx.x) - a.first_tile[number];
  const std::int32_t first_unit = first_unit_of(a.share[number], tile);
  const int units = first_unit_of(a.share[number], tile + 1) - first_unit;
  const std::int32_t first_token = blockIdx.y * (8 * kPanels);

  const int skipped = row_warp * a.ring.run_units, slice = slice_warp * warp_slices(s);
  const auto slice_at = [&](int i) { return ring_slice_begin(p.steps, i, a.ring.slice_shift); };
  const Run run{first_unit + skipped, max(0, min(a.ring.run_units, units - skipped)),
                slice_at(slice), slice_at(slice + 1),
                slice_at(slice + (skipped < units ? warp_slices(s) : 0))};
  const std::uint32_t sums_place = shared + kRingFixed;
  const std::uint32_t mine = sums_place + a.ring.listed_bytes + warp * a.ring.warp_bytes();
  const std::uint32_t late =
      sums_place + a.ring.late_place + warp * (a.ring.slots - a.ring.early) * a.ring.slot_bytes();
  RecordRing ring(a, p, run, mine + a.ring.sides * a.ring.side_bytes, late,
                  shared + kRingBarriers + warp * kMostSlots * 8, lane);
  ptx::let_next_kernel_begin();
  if (static_cast<int>(threadIdx.x) < units)
    ptx::store_shared(shared + threadIdx.x * sizeof(RowUnit),
                      __ldg(reinterpret_cast<const uint4*>(p.units + first_unit) + threadIdx.x));
  RunSums<kPanels> sums;
  if constexpr (kListed) {
    multiply_tile_listed<kType>(sums, ring, a, p, run, first_unit, units, first_token, sums_place,
                                lane);
  } else {
    Sides sides(a, p, run, first_token, mine, lane);
    ptx::wait_for_kernels_before();
    multiply_in_order<kPanels, kType>(sums, ring, sides, a, run, lane);
  }
  if constexpr (RunSums<kPanels>::kPairs)
    if (warp_slices(s) == 2) sums.add_first();

  __syncthreads();  // sums take the place of rings
  const int place = (slice_warp * s.row_warps + row_warp) * a.ring.run_units;
  store_run<kPanels>(sums, sums_place + place * kPanels * kFragmentBytes, run.units, lane);
  __syncthreads();
  finish_tile<kPanels, kType>(a, p, units, first_token, shared, sums_place);
#endif
}

}  // namespace coppice::cuda::decode
