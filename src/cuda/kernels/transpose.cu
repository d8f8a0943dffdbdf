// Transposes 64 tokens x 64 features at a time: 128-byte rows in, 128-byte rows out. The tile
// passes through swizzled shared memory as 16-byte chunks; ldmatrix.trans turns 8x8 blocks, and an
// exchange between four lanes makes 16-byte stores of them.
#include "cuda/check.h"
#include "cuda/kernels/epilogue.h"
#include "cuda/kernels/transpose.h"
#include "cuda/ptx/barrier.h"

namespace coppice::cuda {
namespace {

constexpr int kTile = 64;
constexpr int kThreads = 256;

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

__global__ void __launch_bounds__(kThreads) transpose_kernel(const Transpose p) {
  __shared__ __align__(128) std::byte tile[kTile * kTile * 2];  // [token][chunk ^ token % 8]
  const std::int64_t first_token = std::int64_t{blockIdx.x} * kTile;
  const std::int64_t first_feature = std::int64_t{blockIdx.y} * kTile;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int token = threadIdx.x / 8 + 32 * i, chunk = threadIdx.x % 8;
    *reinterpret_cast<uint4*>(tile + token * 128 + (chunk ^ token % 8) * 16) =
        load_chunk(p, first_token + token, first_feature + 8 * chunk);
  }
  __syncthreads();
  // A warp turns 8 features (one chunk) of all 64 tokens.
  const int chunk = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::int64_t feature = first_feature + 8 * chunk + lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = 32 * half + lane;
    std::uint32_t block[4];
    ptx::load_matrix_4_transposed(
        block, ptx::shared_address(tile + token * 128 + (chunk ^ token % 8) * 16));
    transpose_in_quad(block, lane % 4);
    if (feature < p.features)
      *reinterpret_cast<uint4*>(p.to + feature * p.to_stride + first_token + 32 * half +
                                8 * (lane % 4)) =
          make_uint4(block[0], block[1], block[2], block[3]);
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
