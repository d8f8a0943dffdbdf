// Warpgroup matrix instructions of sm_90a by TF32: D += A B, A in registers, B in shared memory, D
// in registers; of 32-bit numbers 19 bits count, the others are ignored. Fences, waits and
// descriptors: ptx/wgmma.h.
#pragma once

#include <cstdint>

namespace coppice::cuda::ptx {

#define COPPICE_D4(c, b) c(d[b]), c(d[(b) + 1]), c(d[(b) + 2]), c(d[(b) + 3])
#define COPPICE_D8(c, b) COPPICE_D4(c, b), COPPICE_D4(c, (b) + 4)
#define COPPICE_D16(c, b) COPPICE_D8(c, b), COPPICE_D8(c, (b) + 8)
#define COPPICE_D32(c, b) COPPICE_D16(c, b), COPPICE_D16(c, (b) + 16)
#define COPPICE_D64(c, b) COPPICE_D32(c, b), COPPICE_D32(c, (b) + 32)
#define COPPICE_R4 "%0,%1,%2,%3"
#define COPPICE_R8 COPPICE_R4 ",%4,%5,%6,%7"
#define COPPICE_R16 COPPICE_R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define COPPICE_R32 COPPICE_R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define COPPICE_R64                                                  \
  COPPICE_R32                                                        \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

#define COPPICE_TF32_WGMMA(N, D, R, A0, A1, A2, A3, B, ADD)                                    \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD                                   \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k8.f32.tf32.tf32 {" R "}, {%" #A0 \
               ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B ", add, 1, 1;\n}\n"                     \
               : D                                                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdds))
#define COPPICE_TF32_WGMMA_ALL(C)                                                   \
  if constexpr (kCount == 4)                                                        \
    COPPICE_TF32_WGMMA(8, COPPICE_D4(C, 0), COPPICE_R4, 4, 5, 6, 7, 8, 9);          \
  else if constexpr (kCount == 8)                                                   \
    COPPICE_TF32_WGMMA(16, COPPICE_D8(C, 0), COPPICE_R8, 8, 9, 10, 11, 12, 13);     \
  else if constexpr (kCount == 16)                                                  \
    COPPICE_TF32_WGMMA(32, COPPICE_D16(C, 0), COPPICE_R16, 16, 17, 18, 19, 20, 21); \
  else if constexpr (kCount == 32)                                                  \
    COPPICE_TF32_WGMMA(64, COPPICE_D32(C, 0), COPPICE_R32, 32, 33, 34, 35, 36, 37); \
  else                                                                              \
    COPPICE_TF32_WGMMA(128, COPPICE_D64(C, 0), COPPICE_R64, 64, 65, 66, 67, 68, 69)

/// One m64nNk8 product, N = 2 * kCount; kAdds 0: overwrites d. B is K-major. Lane 4g + t of warp w
/// holds a: k = t of rows 16w + g and + 8, then k = t + 4 of both; d[4j + 2h + e]: row 16w + g +
/// 8h, column 8j + 2t + e. a must not change before the instruction is done.
template <int kAdds, int kCount>
__device__ inline void tf32_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4],
                                  std::uint64_t b) {
  static_assert(kCount == 4 || kCount == 8 || kCount == 16 || kCount == 32 || kCount == 64);
  if constexpr (kAdds == 0) {
    COPPICE_TF32_WGMMA_ALL("=f");  // what they were does not live up to here
  } else {
    COPPICE_TF32_WGMMA_ALL("+f");
  }
}

#undef COPPICE_TF32_WGMMA_ALL
#undef COPPICE_TF32_WGMMA
#undef COPPICE_R64
#undef COPPICE_R32
#undef COPPICE_R16
#undef COPPICE_R8
#undef COPPICE_R4
#undef COPPICE_D64
#undef COPPICE_D32
#undef COPPICE_D16
#undef COPPICE_D8
#undef COPPICE_D4

}  // namespace coppice::cuda::ptx
