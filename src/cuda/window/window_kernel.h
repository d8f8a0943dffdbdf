// Products of vectors of 16 rows and more with many tokens (sm_80 and later).
//
// y [tokens, rows] = w x: a thread block has a tile of 64 rows a warp x 32 or 64 tokens, and walks
// over the chunks of 128 values of a row. The window of a chunk, all columns that it may name,
// comes to shared memory and is shared by all vectors of the tile; every vector takes the rows of
// its columns by the addresses of ldmatrix. Values go from memory to registers, where they are
// fragments as they lie: a warp reads those of its rows alone, so that shared memory would only
// cost.
//
// What should count is shared memory: of a vector of L rows every m16n8k16 needs 32 / L reads of
// 128 bytes, times the passes that bank conflicts make of each (2.5 with columns at random), half a
// read for the weights and a quarter for what the window's copy writes. What it reaches, and what
// it waits for: docs/performance/window.md.
//
// Activations are the A operand, so that the 16 bytes of a row are two B operands as they are
// loaded: as A they would have to be moved before every product.
//
// Stages are filled two ahead or more, by boxes of the copy engine, or by all threads with
// cp.async: where there is no copy engine, columns are permuted, or runs of 8 columns and more want
// another order of 16 bytes. Thread blocks are persistent: the windows and weights of the next tile
// are under way while one is stored.
#pragma once

#include "cuda/kernels/epilogue.h"
#include "cuda/ptx/launch.h"
#include "cuda/window/window_weights.h"

namespace coppice::cuda {

/// The products of a warp. kVectors: lists of its 64 rows.
template <Dtype kType, int kTokens, int kVectors>
class WindowWarp {
 public:
  using Weights = WindowWeights<kVectors>;
  static constexpr int kTiles = kTokens / 16;  // of tokens, of m16n8k16
  /// In the order of the epilogue, with tokens for rows and rows for tokens.
  using Sums = float[kTiles][4 * Weights::kHalves];

  __device__ WindowWarp(const WindowArguments& p, const CUtensorMap& map, const WindowRing& ring,
                        int warp, int lane)
      : p_(p), ring_(ring), fill_(p, map, ring), weights_(p, warp, lane) {}

  /// Weights may be asked for before the kernel in front has ended.
  __device__ void start_weights() { weights_.template load<0>(); }
  __device__ void start() const {
    fill_.start(warp(), lane());
    for (int i = 0; i + 1 < p_.stage.stages; ++i) fill_.fill(warp(), lane());
  }

  /// All products of a tile.
  __device__ void multiply(int tile, Sums& sums) {
    const int chunks = p_.weight.chunk_count;
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      ptx::barrier_wait(ring_.full(slot_), parity_);
      const std::uint32_t stage = ring_.stage(slot_);
#pragma unroll 1
      for (int half = 0; half < 2; ++half) {
        const int pieces = p_.weight.layout.pieces - chunk * kPieces - half * 2;
        multiply_piece<0>(stage, pieces > 0, sums);
        if (half == 1 && chunk + 1 == chunks)
          weights_.enter_tile(tile + static_cast<int>(gridDim.x), warp(), lane());
        multiply_piece<1>(stage, pieces > 1, sums);
        // By now the others have left the stage before, too.
        if (half == 0) fill_.fill(warp(), lane());
      }
      __syncwarp();
      if (lane() == 0) ptx::barrier_arrive(ring_.free(slot_));
      if (++slot_ == p_.stage.stages) {
        slot_ = 0;
        parity_ ^= 1;
      }
    }
  }

 private:
  static constexpr int kPieces = Weights::kPieces;
  static constexpr int kReads = Weights::kSteps * kTiles * kVectors;  // of a piece
  static constexpr int kAhead = kVectors == 1 ? 2 : 1;                // of reads

  // Read again where they are needed: registers are short.
  __device__ static int warp() { return ptx::thread_index() / 32; }
  __device__ static int lane() { return ptx::thread_index() % 32; }

  /// Of 16 columns of 16 tokens for one vector: the last of these changes first.
  struct Read {
    int step, tile, vector;
    __device__ constexpr explicit Read(int number)
        : step(number / (kTiles * kVectors)),
          tile(number / kVectors % kTiles),
          vector(number % kVectors) {}
  };

  template <int kPlace>
  __device__ void multiply_piece(std::uint32_t stage, bool exists, Sums& sums) {
    const bool folds = p_.weight.layout.run >= kTogether;
    std::uint32_t rows[Weights::kSteps][kVectors];
#pragma unroll
    for (int step = 0; step < Weights::kSteps; ++step)
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        rows[step][v] = stage + (window_row<kTokens>(weights_.column(step, v), folds) ^
                                 window_token_byte(lane()));
        // Computed here: this waits for the piece, and must not for those asked for next.
        ptx::compute_here(rows[step][v]);
      }
    weights_.template load<1 - kPlace>();
    if (!exists) return;
    std::uint32_t a[kAhead + 1][4];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) read(a[i], rows, i);
#pragma unroll
    for (int i = 0; i < kReads; ++i) {
      if (i + kAhead < kReads) read(a[(i + kAhead) % (kAhead + 1)], rows, i + kAhead);
      multiply_read<kPlace>(i, a[i % (kAhead + 1)], sums);
    }
  }

  __device__ static void read(std::uint32_t (&a)[4],
                              const std::uint32_t (&rows)[Weights::kSteps][kVectors], int number) {
    const Read r(number);
    ptx::load_matrix_4_transposed(a, rows[r.step][r.vector] ^ (r.tile * 32));
  }

  template <int kPlace>
  __device__ void multiply_read(int number, const std::uint32_t (&a)[4], Sums& sums) {
    constexpr int kHalves = Weights::kHalves / kVectors;
    const Read r(number);
#pragma unroll
    for (int i = 0; i < kHalves; ++i) {
      const int half = r.vector * kHalves + i;
      std::uint32_t b[2];
      weights_.template fragment<kPlace>(half, r.step, b);
      ptx::dense_mma<kType>(*reinterpret_cast<float(*)[4]>(&sums[r.tile][4 * half]), a, b);
    }
  }

  const WindowArguments& p_;
  const WindowRing& ring_;
  WindowFill<kTokens> fill_;
  WindowWeights<kVectors> weights_;
  int slot_ = 0;  // of the ring
  std::uint32_t parity_ = 0;
};

/// alpha * sum + bias, the way in which rows lie in a fragment here.
template <Dtype kType, int kTiles, int kCount>
__device__ inline void scale_sums(const EpilogueArguments& e, int first_row, int rows, int lane,
                                  float (&sums)[kTiles][kCount]) {
  if (e.bias == nullptr && e.alpha == 1.0f) return;
#pragma unroll
  for (int half = 0; half < kCount / 4; ++half) {
    float bias[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = first_row + 8 * half + 2 * (lane % 4) + i;
      if (e.bias != nullptr && row < rows)
        bias[i] =
            e.f32_bias ? static_cast<const float*>(e.bias)[row] : load_element<kType>(e.bias, row);
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& sum = sums[tile][4 * half + i];
        sum = fmaf(e.alpha, sum, bias[i % 2]);
      }
  }
}

/// The outputs of a warp: 64 rows. What the epilogue calls rows are tokens here, and the other way.
template <Dtype kType, int kTiles, int kCount>
__device__ inline void store_window(const WindowArguments& p, int first_row, int first_token,
                                    int lane, float (&sums)[kTiles][kCount]) {
  const int rows = p.weight.layout.rows;
  scale_sums<kType>(p.epilogue, first_row, rows, lane, sums);
  EpilogueArguments turned = p.epilogue;
  turned.token_major = !turned.token_major;
  turned.alpha = 1;
  UnitOutput out[kTiles];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    out[tile] = {{}, rows, first_row, {0, 0}};
    out[tile].unit.row = first_token + 16 * tile;
    // Not by min and max: ptxas 13.0 takes a comparison with 16 from the wrong predicate then.
    const int left = p.tokens - out[tile].unit.row;
    out[tile].unit.rows = left <= 0 ? 0 : left < kUnitRows ? left : kUnitRows;
  }
  store_units<kType>(turned, out, sums, lane);
}

template <Dtype kType, int kTokens, int kVectors>
__global__ void __launch_bounds__(256, 1) window_kernel(const __grid_constant__ WindowArguments p,
                                                        const __grid_constant__ CUtensorMap map) {
  extern __shared__ __align__(128) std::byte window_shared[];
  const WindowRing ring(p, window_shared, 2 * kTokens);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (threadIdx.x == 0) ring.init(p);
  WindowWarp<kType, kTokens, kVectors> products(p, map, ring, warp, lane);
  products.start_weights();
  __syncthreads();
  ptx::let_next_kernel_begin();
  ptx::wait_for_kernels_before();
  products.start();
#pragma unroll 1
  for (int tile = blockIdx.x; tile < p.row_tiles * p.token_tiles; tile += gridDim.x) {
    typename WindowWarp<kType, kTokens, kVectors>::Sums sums = {};
    products.multiply(tile, sums);
    const TilePlace place = tile_place(tile, p.row_tiles, p.token_tiles, p.token_group);
    const int row =
        (place.row_tile * static_cast<int>(blockDim.x / 32) + warp) * (kWindowUnits * kUnitRows);
    store_window<kType>(p, row, place.token_tile * kTokens, lane, sums);
  }
}

}  // namespace coppice::cuda
