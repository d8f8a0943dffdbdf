// Reading the lists of columns alive (packed_layout.h): loads that can be made early, and what
// becomes of them when they are used.
#pragma once

#include <cstdint>

#include "cuda/kernels/arguments.h"

namespace coppice::cuda {

/// The list of a vector.
__device__ inline const std::byte* column_list(const ProductArguments& p, std::int32_t vector) {
  return p.columns.data +
         static_cast<std::int64_t>(vector) * p.steps * kStepQuads * p.columns.quad_bytes;
}

/// The bytes of a quad of less than 8.
__device__ inline std::uint32_t load_offsets(const std::byte* quad, int quad_bytes) {
  if (quad_bytes == 4) return __ldg(reinterpret_cast<const std::uint32_t*>(quad));
  if (quad_bytes == 2) return __ldg(reinterpret_cast<const std::uint16_t*>(quad));
  const auto* bytes = reinterpret_cast<const unsigned char*>(quad);
  std::uint32_t bits = __ldg(bytes);
  if (quad_bytes == 3) bits |= __ldg(bytes + 1) << 8 | __ldg(bytes + 2) << 16;
  return bits;
}

/// The bytes of quad number `quad` of a list.
__device__ inline uint2 load_quad(const ProductArguments& p, const std::byte* list, int quad) {
  list += quad * p.columns.quad_bytes;
  if (p.columns.quad_bytes == kColumnQuadBytes) return __ldg(reinterpret_cast<const uint2*>(list));
  return {load_offsets(list, p.columns.quad_bytes), 0};
}

/// Its four columns, 16 bits each.
__device__ inline uint2 quad_columns(const ProductArguments& p, uint2 bits, int quad) {
  if (p.columns.quad_bytes == kColumnQuadBytes) return bits;
  std::uint32_t column[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    column[i] = quad_column(bits.x, i, quad, p.columns.quad_bytes, p.columns.group, p.cols);
  return {column[0] | column[1] << 16, column[2] | column[3] << 16};
}

/// What `place_column` needs of a list for its column number `place`.
__device__ inline std::uint32_t load_place(const ProductArguments& p, const std::byte* list,
                                           int place) {
  list += place / 4 * p.columns.quad_bytes;
  if (p.columns.quad_bytes == kColumnQuadBytes)
    return __ldg(reinterpret_cast<const std::uint16_t*>(list) + place % 4);
  return load_offsets(list, p.columns.quad_bytes);
}

__device__ inline std::uint32_t place_column(const ProductArguments& p, std::uint32_t bits,
                                             int place) {
  if (p.columns.quad_bytes == kColumnQuadBytes) return bits;
  return quad_column(bits, place % 4, place / 4, p.columns.quad_bytes, p.columns.group, p.cols);
}

}  // namespace coppice::cuda
