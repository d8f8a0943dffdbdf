// Dense warpgroup matrix instructions of sm_90a for few columns: D += A B, A in registers, B in
// shared memory, D in registers. Fences, waits and descriptors: ptx/wgmma.h.
#pragma once

#include <cstdint>

#include "coppice/dtype.h"

namespace coppice::cuda::ptx {

#define COPPICE_D4(b) "+f"(d[b]), "+f"(d[(b) + 1]), "+f"(d[(b) + 2]), "+f"(d[(b) + 3])
#define COPPICE_D8(b) COPPICE_D4(b), COPPICE_D4((b) + 4)
#define COPPICE_D16(b) COPPICE_D8(b), COPPICE_D8((b) + 8)
#define COPPICE_D32(b) COPPICE_D16(b), COPPICE_D16((b) + 16)
#define COPPICE_R4 "%0,%1,%2,%3"
#define COPPICE_R8 COPPICE_R4 ",%4,%5,%6,%7"
#define COPPICE_R16 COPPICE_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define COPPICE_R32 COPPICE_R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"

#define COPPICE_DENSE_WGMMA(N, TYPE, D, R, A0, A1, A2, A3, B, TRANS)                              \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" R "}, {%" #A0 \
               ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B ", 1, 1, 1, %" #TRANS ";"                  \
               : D                                                                                \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kTransB))
#define COPPICE_DENSE_WGMMA_ALL(TYPE)                                                   \
  if constexpr (kCount == 4)                                                            \
    COPPICE_DENSE_WGMMA(8, TYPE, COPPICE_D4(0), COPPICE_R4, 4, 5, 6, 7, 8, 9);          \
  else if constexpr (kCount == 8)                                                       \
    COPPICE_DENSE_WGMMA(16, TYPE, COPPICE_D8(0), COPPICE_R8, 8, 9, 10, 11, 12, 13);     \
  else if constexpr (kCount == 16)                                                      \
    COPPICE_DENSE_WGMMA(32, TYPE, COPPICE_D16(0), COPPICE_R16, 16, 17, 18, 19, 20, 21); \
  else                                                                                  \
    COPPICE_DENSE_WGMMA(64, TYPE, COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35, 36, 37)

/// One m64nNk16 product, N = 2 * kCount tokens, kTransB 1: B MN-major (tokens contiguous), 0:
/// K-major. Lane 4g + t of warp w holds a: k = 2t, 2t + 1 of rows 16w + g and + 8, then the same at
/// k + 8; d[4j + 2h + e]: row 16w + g + 8h, token 8j + 2t + e. a must not change before the
/// instruction is done.
template <Dtype kType, int kTransB, int kCount>
__device__ inline void dense_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4],
                                   std::uint64_t b) {
  static_assert(kCount == 4 || kCount == 8 || kCount == 16 || kCount == 32);
  if constexpr (kType == Dtype::f16) {
    COPPICE_DENSE_WGMMA_ALL("f16");
  } else {
    COPPICE_DENSE_WGMMA_ALL("bf16");
  }
}

#undef COPPICE_DENSE_WGMMA_ALL
#undef COPPICE_DENSE_WGMMA
#undef COPPICE_R32
#undef COPPICE_R16
#undef COPPICE_R8
#undef COPPICE_R4
#undef COPPICE_D32
#undef COPPICE_D16
#undef COPPICE_D8
#undef COPPICE_D4

}  // namespace coppice::cuda::ptx
