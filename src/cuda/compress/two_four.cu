// Plain 2:4 in one pass: a thread prunes eight columns of a row, stores four values and one byte of
// metadata. Needs groups that are full, except for the last one of a row.
#include <algorithm>

#include "cuda/check.h"
#include "cuda/compress/weight.h"

namespace coppice::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kCols = 8;  // of a thread

struct Slab {
  std::int64_t first_row = 0;
  std::uint32_t pieces = 0;  // of a row
  std::uint32_t work = 0;    // pieces in all
  bool wide_values = false;  // four values can be stored at once
  std::uint8_t* metadata = nullptr;
  std::int64_t metadata_bytes = 0;  // of a row
};

struct Pair {
  int first, second;
};

/// The two largest of four keys, of equal ones the lower places.
__device__ inline Pair largest_two(const std::int32_t (&key)[4]) {
  const bool p = key[1] > key[0], q = key[3] > key[2];
  const int w = p, x = 2 + q;  // winners of the halves
  const std::int32_t key_w = max(key[0], key[1]), key_x = max(key[2], key[3]);
  const std::int32_t lost_w = min(key[0], key[1]), lost_x = min(key[2], key[3]);
  if (key_x > key_w) return lost_x > key_w ? Pair{2, 3} : Pair{w, x};
  return key_x > lost_w ? Pair{w, x} : Pair{0, 1};
}

__device__ inline std::uint32_t element(const std::uint32_t* bits, int place) {
  const std::uint32_t low = place & 1 ? bits[1] : bits[0], high = place & 1 ? bits[3] : bits[2];
  return place & 2 ? high : low;
}

template <typename Bits>
__device__ inline void store_values(Bits* to, const std::uint32_t (&values)[4], int count,
                                    bool wide) {
  if (wide && count == 4) {
    if constexpr (sizeof(Bits) == 4)
      *reinterpret_cast<uint4*>(to) = make_uint4(values[0], values[1], values[2], values[3]);
    else
      *reinterpret_cast<uint2*>(to) =
          make_uint2(values[0] | values[1] << 16, values[2] | values[3] << 16);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < count) to[i] = static_cast<Bits>(values[i]);
}

template <Dtype kType>
__global__ void __launch_bounds__(kThreads)
    two_four_kernel(const CompressArguments a, const Slab slab) {
  using Bits = typename Weight<kType>::Bits;
  const std::uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  if (index >= slab.work) return;
  const std::int64_t row = slab.first_row + index / slab.pieces;
  const std::uint32_t piece = index % slab.pieces;
  const std::int64_t col = std::int64_t{piece} * kCols;
  const int cols = static_cast<int>(min(a.cols - col, std::int64_t{kCols}));

  std::uint32_t bits[kCols];
  load_weights<kType>(weight_at<kType>(a, row, col), cols, a.wide, bits);
  std::uint32_t values[4], byte = 0;
  int stored = 0;
#pragma unroll
  for (int g = 0; g < 2; ++g) {
    std::int32_t key[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int c = 4 * g + i;
      key[i] = c < cols ? key_of<kType>(bits[c]) : -1;  // columns that do not exist lose
      note_nan<kType>(a, key[i], row, col + c);
    }
    const Pair pair = largest_two(key);
    values[2 * g] = element(bits + 4 * g, pair.first);
    values[2 * g + 1] = element(bits + 4 * g, pair.second);
    const int kept = min(max(cols - 4 * g, 0), 2);
    stored += kept;
    const int code = kept == 2 ? pair.first | pair.second << 2 : 0;  // one column alone is place 0
    byte |= code << (4 * g);
  }
  store_values(static_cast<Bits*>(a.values) + row * a.kept + col / 2, values, stored,
               slab.wide_values);
  slab.metadata[row * slab.metadata_bytes + piece] = static_cast<std::uint8_t>(byte);
}

template <Dtype kType>
void launch(const CompressArguments& a, Slab slab, cudaStream_t stream) {
  slab.pieces = static_cast<std::uint32_t>((a.cols + kCols - 1) / kCols);
  const std::int64_t most = ((std::int64_t{1} << 32) - kThreads) / slab.pieces;
  for (std::int64_t row = 0; row < a.rows; row += most) {
    slab.first_row = row;
    slab.work = static_cast<std::uint32_t>(std::min(most, a.rows - row) * slab.pieces);
    const auto grid = static_cast<unsigned>((std::int64_t{slab.work} + kThreads - 1) / kThreads);
    two_four_kernel<kType><<<grid, kThreads, 0, stream>>>(a, slab);
    check(cudaGetLastError(), "launching 2:4 compression");
  }
}

}  // namespace

void launch_two_four(const CompressArguments& a, Dtype dtype, std::uint8_t* metadata,
                     std::int64_t metadata_bytes, cudaStream_t stream) {
  const int store_bytes = 4 * dtype_bytes(dtype);
  Slab slab;
  slab.wide_values =
      a.kept % 4 == 0 && reinterpret_cast<std::uintptr_t>(a.values) % store_bytes == 0;
  slab.metadata = metadata;
  slab.metadata_bytes = metadata_bytes;
  if (dtype == Dtype::f16) return launch<Dtype::f16>(a, slab, stream);
  if (dtype == Dtype::bf16) return launch<Dtype::bf16>(a, slab, stream);
  launch<Dtype::f32>(a, slab, stream);
}

}  // namespace coppice::cuda
