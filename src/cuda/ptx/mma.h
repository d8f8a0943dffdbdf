// Warp-level matrix instructions (sm_80 and later).
#pragma once

#include <cstdint>

#include "coppice/dtype.h"

namespace coppice::cuda::ptx {

/// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l%8 of matrix l/8.
__device__ inline void load_matrix_4(std::uint32_t (&out)[4], std::uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared)
               : "memory");
}

/// The same, each matrix transposed.
__device__ inline void load_matrix_4_transposed(std::uint32_t (&out)[4], std::uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared)
               : "memory");
}

/// Stores four 8x8 matrices of 16-bit elements held as by `load_matrix_4` (sm_90); lane l gives the
/// address of row l%8 of matrix l/8.
__device__ inline void store_matrix_4(std::uint32_t shared, const std::uint32_t (&in)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared),
               "r"(in[0]), "r"(in[1]), "r"(in[2]), "r"(in[3])
               : "memory");
}

/// The same, each matrix transposed.
__device__ inline void store_matrix_4_transposed(std::uint32_t shared,
                                                 const std::uint32_t (&in)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared),
               "r"(in[0]), "r"(in[1]), "r"(in[2]), "r"(in[3])
               : "memory");
}

/// Transposes an 8x8 matrix of 16-bit elements held by the warp: lane 4r+c holds elements 2c and
/// 2c+1 of row r, before and after.
__device__ inline std::uint32_t transpose_matrix(std::uint32_t in) {
  std::uint32_t out;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(in));
  return out;
}

/// D += A B with A 16x16. Lane 4g+t holds a: k = 2t, 2t+1 of rows g, g+8, then the same at k + 8;
/// b[i]: k = 8i+2t.., token g; d: rows g (0, 1) and g+8 (2, 3) at tokens 2t, 2t+1.
template <Dtype kType>
__device__ inline void dense_mma(float (&d)[4], const std::uint32_t (&a)[4],
                                 const std::uint32_t (&b)[2]) {
  if constexpr (kType == Dtype::f16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

/// D += A B with A 16x32 stored 2 of 4 (16x16 values). Lane 4g+t holds
/// a: values of rows g, g+8 at places 2t.., then the same at 2t+8..; b[i]: k = 8i+2t.., token g;
/// d: rows g (0, 1) and g+8 (2, 3) at tokens 2t, 2t+1. Metadata: lanes with t/2 == kSelector, low
/// half row g, high half row g+8, k = 16(t%2)...
template <Dtype kType, int kSelector>
__device__ inline void sparse_mma(float (&d)[4], const std::uint32_t (&a)[4],
                                  const std::uint32_t (&b)[4], std::uint32_t metadata) {
  if constexpr (kType == Dtype::f16) {
    asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, %13;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
          "r"(metadata), "n"(kSelector));
  } else {
    asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, %13;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
          "r"(metadata), "n"(kSelector));
  }
}

}  // namespace coppice::cuda::ptx
