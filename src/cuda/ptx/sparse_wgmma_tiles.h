// Sparse warpgroup products with A in registers (ptx/wgmma.h) for tiles of tokens of which there
// are none with A in shared memory: 40, 48, 80 and 96.
#pragma once

#include <cstdint>

#include "cuda/ptx/wgmma.h"

namespace coppice::cuda::ptx {

// The operand lists: inline assembly has no arrays.
#define COPPICE_D4(b) "+f"(d[b]), "+f"(d[(b) + 1]), "+f"(d[(b) + 2]), "+f"(d[(b) + 3])
#define COPPICE_D8(b) COPPICE_D4(b), COPPICE_D4((b) + 4)
#define COPPICE_D20(b) COPPICE_D8(b), COPPICE_D8((b) + 8), COPPICE_D4((b) + 16)
#define COPPICE_D24(b) COPPICE_D20(b), COPPICE_D4((b) + 20)
#define COPPICE_D40(b) COPPICE_D20(b), COPPICE_D20((b) + 20)
#define COPPICE_D48(b) COPPICE_D24(b), COPPICE_D24((b) + 24)
#define COPPICE_R20                                       \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15" \
  ",%16,%17,%18,%19"
#define COPPICE_R24 \
  COPPICE_R20       \
  ",%20,%21,%22,%23"
#define COPPICE_R40 \
  COPPICE_R24       \
  ",%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39"
#define COPPICE_R48 \
  COPPICE_R40       \
  ",%40,%41,%42,%43,%44,%45,%46,%47"
#define COPPICE_SPARSE_WGMMA_A(N, TYPE, D, R, A0, A1, A2, A3, DB, META, SEL)                \
  asm volatile(                                                                             \
      "wgmma.mma_async.sp.sync.aligned.m64n" #N "k32.f32." TYPE "." TYPE " {" R "}, {%" #A0 \
      ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #DB ", %" #META ", %" #SEL ", 1, 1, 1, 0;"       \
      : D                                                                                   \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(metadata), "n"(kSelector))

/// sparse_wgmma of activations that lie K-major, for every tile of tokens that there is.
template <Dtype kType, int kSelector, int kCount>
__device__ inline void sparse_wgmma_tile(float (&d)[kCount], const std::uint32_t (&a)[4],
                                         std::uint64_t b, std::uint32_t metadata) {
  if constexpr (kType == Dtype::f16 && kCount == 20) {
    COPPICE_SPARSE_WGMMA_A(40, "f16", COPPICE_D20(0), COPPICE_R20, 20, 21, 22, 23, 24, 25, 26);
  } else if constexpr (kType == Dtype::bf16 && kCount == 20) {
    COPPICE_SPARSE_WGMMA_A(40, "bf16", COPPICE_D20(0), COPPICE_R20, 20, 21, 22, 23, 24, 25, 26);
  } else if constexpr (kType == Dtype::f16 && kCount == 24) {
    COPPICE_SPARSE_WGMMA_A(48, "f16", COPPICE_D24(0), COPPICE_R24, 24, 25, 26, 27, 28, 29, 30);
  } else if constexpr (kType == Dtype::bf16 && kCount == 24) {
    COPPICE_SPARSE_WGMMA_A(48, "bf16", COPPICE_D24(0), COPPICE_R24, 24, 25, 26, 27, 28, 29, 30);
  } else if constexpr (kType == Dtype::f16 && kCount == 40) {
    COPPICE_SPARSE_WGMMA_A(80, "f16", COPPICE_D40(0), COPPICE_R40, 40, 41, 42, 43, 44, 45, 46);
  } else if constexpr (kType == Dtype::bf16 && kCount == 40) {
    COPPICE_SPARSE_WGMMA_A(80, "bf16", COPPICE_D40(0), COPPICE_R40, 40, 41, 42, 43, 44, 45, 46);
  } else if constexpr (kType == Dtype::f16 && kCount == 48) {
    COPPICE_SPARSE_WGMMA_A(96, "f16", COPPICE_D48(0), COPPICE_R48, 48, 49, 50, 51, 52, 53, 54);
  } else if constexpr (kType == Dtype::bf16 && kCount == 48) {
    COPPICE_SPARSE_WGMMA_A(96, "bf16", COPPICE_D48(0), COPPICE_R48, 48, 49, 50, 51, 52, 53, 54);
  } else {
    sparse_wgmma<kType, kSelector, 0>(d, a, b, metadata);
  }
}

#undef COPPICE_SPARSE_WGMMA_A
#undef COPPICE_R48
#undef COPPICE_R40
#undef COPPICE_R24
#undef COPPICE_R20
#undef COPPICE_D48
#undef COPPICE_D40
#undef COPPICE_D24
#undef COPPICE_D20
#undef COPPICE_D8
#undef COPPICE_D4

}  // namespace coppice::cuda::ptx
