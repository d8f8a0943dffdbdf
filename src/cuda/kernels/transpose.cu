// Transposes 128 tokens x 128 features at a time: 256-byte rows in, 256-byte rows out, and 8 loads
// of 16 bytes under way in every thread. The tile passes through swizzled shared memory as 16-byte
// chunks; ldmatrix.trans turns 8x8 blocks, and an exchange between four lanes makes 16-byte stores
// of them. H200: docs/performance/compress.md.
#include "cuda/check.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/transpose.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {
namespace {

constexpr int kTile = 128;
constexpr int kThreads = 256;
constexpr int kChunks = kTile / 8;  // of 16 bytes, in a row of a tile
constexpr int kPadding = 64;        // tokens that rows of the output are padded to

struct Transpose {
  const std::uint16_t* from;
  std::uint16_t* to;
  std::int64_t from_stride, to_stride;
  std::int64_t tokens, features;
  bool wide;
};

__device__ uint4 load_chunk(const Transpose& p, std::int64_t token, std::int64_t feature) {
  if (token >= p.tokens || feature >= p.features) return make_uint4(0, 0, 0, 0);
  const std::uint16_t* from = p.from + token * p.from_stride + feature;
  if (p.wide && feature + 8 <= p.features) return __ldg(reinterpret_cast<const uint4*>(from));
  std::uint32_t words[4] = {0, 0, 0, 0};
  for (int i = 0; i < 8 && feature + i < p.features; ++i)
    words[i / 2] |= static_cast<std::uint32_t>(from[i]) << (16 * (i % 2));
  return make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ std::uint32_t chunk_byte(int token, int chunk) {
  return token * (kTile * 2) + (chunk ^ token % 8) * 16;
}

__global__ void __launch_bounds__(kThreads) transpose_kernel(const Transpose p) {
  __shared__ __align__(128) std::byte tile[kTile * kTile * 2];  // [token][chunk ^ token % 8]
  const std::int64_t first_token = std::int64_t{blockIdx.x} * kTile;
  const std::int64_t first_feature = std::int64_t{blockIdx.y} * kTile;
  constexpr int kLoads = kTile * kChunks / kThreads;
  uint4 loaded[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i)
    loaded[i] = load_chunk(p, first_token + threadIdx.x / kChunks + i * (kThreads / kChunks),
                           first_feature + 8 * (threadIdx.x % kChunks));
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const int token = threadIdx.x / kChunks + i * (kThreads / kChunks);
    *reinterpret_cast<uint4*>(tile + chunk_byte(token, threadIdx.x % kChunks)) = loaded[i];
  }
  __syncthreads();
  // A warp turns 8 features (one chunk) of 32 tokens at a time.
  const int lane = threadIdx.x % 32;
  for (int chunk = threadIdx.x / 32; chunk < kChunks; chunk += kThreads / 32) {
    const std::int64_t feature = first_feature + 8 * chunk + lane / 4;
#pragma unroll
    for (int part = 0; part < kTile / 32; ++part) {
      std::uint32_t block[4];
      ptx::load_matrix_4_transposed(
          block, ptx::shared_address(tile + chunk_byte(32 * part + lane, chunk)));
      transpose_in_quad(block, lane % 4);
      const std::int64_t token = first_token + 32 * part;
      if (feature < p.features && token < (p.tokens + kPadding - 1) / kPadding * kPadding)
        *reinterpret_cast<uint4*>(p.to + feature * p.to_stride + token + 8 * (lane % 4)) =
            make_uint4(block[0], block[1], block[2], block[3]);
    }
  }
}

__global__ void realign_kernel(const Transpose p) {
  const std::int64_t token = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (token >= p.tokens) return;
  for (std::int64_t feature = blockIdx.y; feature < p.features; feature += gridDim.y)
    p.to[feature * p.to_stride + token] = p.from[feature * p.from_stride + token];
}

unsigned ceil_div(std::int64_t a, std::int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace

void launch_transpose(const void* from, std::int64_t from_stride, bool wide, std::int64_t tokens,
                      std::int64_t features, void* to, std::int64_t to_stride,
                      cudaStream_t stream) {
  const Transpose p{static_cast<const std::uint16_t*>(from),
                    static_cast<std::uint16_t*>(to),
                    from_stride,
                    to_stride,
                    tokens,
                    features,
                    wide};
  const dim3 grid(ceil_div(tokens, kTile), ceil_div(features, kTile));
  transpose_kernel<<<grid, kThreads, 0, stream>>>(p);
  check(cudaGetLastError(), "launching the transpose of activations");
}

void launch_realign(const void* from, std::int64_t from_stride, std::int64_t tokens,
                    std::int64_t features, void* to, std::int64_t to_stride, cudaStream_t stream) {
  const Transpose p{static_cast<const std::uint16_t*>(from),
                    static_cast<std::uint16_t*>(to),
                    from_stride,
                    to_stride,
                    tokens,
                    features,
                    false};
  const dim3 grid(ceil_div(tokens, kThreads), std::min<unsigned>(ceil_div(features, 1), 65535));
  realign_kernel<<<grid, kThreads, 0, stream>>>(p);
  check(cudaGetLastError(), "launching the copy of activations");
}

}  // namespace coppice::cuda
