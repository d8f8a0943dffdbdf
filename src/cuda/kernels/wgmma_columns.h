// Reading the lists of columns alive (packed_layout.h), two quads a thread, in one load or two, and
// what becomes of them much later: loads of a wgmma producer wait behind all copies under way.
#pragma once

#include "cuda/kernels/columns.h"

namespace coppice::cuda {

/// What quads number `quad`, which is even, and `quad + 1` of a list need of memory. Nothing is
/// computed of it here: that would wait for the load.
__device__ inline uint4 load_quads(const ProductArguments& p, const std::byte* list, int quad) {
  const int bytes = p.columns.quad_bytes;
  if (bytes == kColumnQuadBytes) return __ldg(reinterpret_cast<const uint4*>(list) + quad / 2);
  if (bytes == 1) return {__ldg(reinterpret_cast<const std::uint16_t*>(list) + quad / 2), 0, 0, 0};
  const auto* words = reinterpret_cast<const std::uint32_t*>(list) + quad * bytes / 4;
  return {__ldg(words), bytes == 2 ? 0 : __ldg(words + 1), 0, 0};
}

/// The four columns of quad number `quad` of bytes `bits`, 16 bits each; bytes of it behind the
/// quad do not count, but for those of one byte.
__device__ inline uint2 quad_from_bits(const ProductArguments& p, std::uint32_t bits, int quad) {
  const int bytes = p.columns.quad_bytes;
  std::uint32_t column[4];
  if (bytes == 1) {  // bit by bit; a short group ends in its last column
#pragma unroll
    for (std::uint32_t& c : column) {
      c = quad_column(bits, 0, quad, 1, p.columns.group, p.cols);
      const std::uint32_t rest = bits & (bits - 1);
      bits = rest != 0 ? rest : bits;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      column[i] = quad_column(bits, i, quad, bytes, p.columns.group, p.cols);
  }
  return {column[0] | column[1] << 16, column[2] | column[3] << 16};
}

/// The columns of two quads that were loaded.
__device__ inline uint4 columns_of_quads(const ProductArguments& p, uint4 loaded, int quad) {
  const int bytes = p.columns.quad_bytes;
  if (bytes == kColumnQuadBytes) return loaded;
  std::uint64_t bits = static_cast<std::uint64_t>(loaded.y) << 32 | loaded.x;
  if (bytes == 3) bits >>= quad * 24 % 32;
  const uint2 first =
      quad_from_bits(p, static_cast<std::uint32_t>(bits & (~0u >> (32 - 8 * bytes))), quad);
  const uint2 second = quad_from_bits(p, static_cast<std::uint32_t>(bits >> 8 * bytes), quad + 1);
  return {first.x, first.y, second.x, second.y};
}

}  // namespace coppice::cuda
