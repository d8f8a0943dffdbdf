// Warpgroup matrix instructions of sm_90a: D += A B, A sparse 2 of 4 in shared memory or registers,
// or dense in shared memory, B in shared memory, D in registers. Lane 4g+t of warp w holds d[i] =
// D[16w + g + 8((i/2)%2)][8(i/4) + 2t + i%2].
#pragma once

#include <cstdint>

#include "coppice/dtype.h"

namespace coppice::cuda::ptx {

/// How a tile lies in shared memory, for the `leading` and `stride` byte distances see the callers.
enum class Swizzle : std::uint64_t { none = 0, bytes_128 = 1, bytes_64 = 2 };

/// The half of a descriptor that does not depend on where the tile lies, and the other one; in the
/// latter 1 is 16 bytes.
__device__ constexpr std::uint32_t descriptor_high(std::uint32_t stride, Swizzle swizzle) {
  return stride >> 4 | static_cast<std::uint32_t>(swizzle) << 30;
}
__device__ inline std::uint32_t descriptor_low(std::uint32_t shared, std::uint32_t leading) {
  return (shared & 0x3FFFF) >> 4 | leading >> 4 << 16;
}
__device__ inline std::uint64_t matrix_descriptor(std::uint32_t low, std::uint32_t high) {
  return static_cast<std::uint64_t>(high) << 32 | low;
}

/// Before the first wgmma, and wherever other instructions have touched its registers.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `kPending` groups of this warpgroup are still under way.
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Keeps the compiler from moving accesses to accumulators across a wait.
template <int kCount>
__device__ inline void keep_order(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

/// Keeps registers that an instruction under way still reads from being used for something else
/// up to here.
template <int kCount>
__device__ inline void keep_values(std::uint32_t (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// The operand lists: inline assembly has no arrays.
#define COPPICE_D8(b)                                                                 \
  "+f"(d[b]), "+f"(d[(b) + 1]), "+f"(d[(b) + 2]), "+f"(d[(b) + 3]), "+f"(d[(b) + 4]), \
      "+f"(d[(b) + 5]), "+f"(d[(b) + 6]), "+f"(d[(b) + 7])
#define COPPICE_D16(b) COPPICE_D8(b), COPPICE_D8((b) + 8)
#define COPPICE_D32(b) COPPICE_D16(b), COPPICE_D16((b) + 16)
#define COPPICE_D64(b) COPPICE_D32(b), COPPICE_D32((b) + 32)
#define COPPICE_D128(b) COPPICE_D64(b), COPPICE_D64((b) + 64)
#define COPPICE_R16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define COPPICE_R32 \
  COPPICE_R16       \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define COPPICE_R64                                                  \
  COPPICE_R32                                                        \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define COPPICE_R128                                                             \
  COPPICE_R64                                                                    \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"             \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"             \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"

// One instruction, m64nNk32. A: K-major, B: kTransB 1 MN-major (tokens contiguous), 0 K-major.
#define COPPICE_SPARSE_WGMMA(N, TYPE, D, R, DA, DB, META, SEL, TRANS, ADD)                     \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD                                   \
               ", 0;\nwgmma.mma_async.sp.sync.aligned.m64n" #N "k32.f32." TYPE "." TYPE " {" R \
               "}, %" #DA ", %" #DB ", %" #META ", %" #SEL ", add, 1, 1, 0, %" #TRANS ";\n}\n" \
               : D                                                                             \
               : "l"(a), "l"(b), "r"(metadata), "n"(kSelector), "n"(kTransB), "r"(adds))

/// One m64nNk32 product, N = 2 * kCount tokens. Metadata: lanes with t/2 == kSelector hold it, the
/// low half for row 16w+g, the high half for row 16w+g+8, k = 16(t%2)... `adds`: 1, or 0
/// to overwrite d.
template <Dtype kType, int kSelector, int kTransB, int kCount>
__device__ inline void sparse_wgmma(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                                    std::uint32_t metadata, std::uint32_t adds) {
  static_assert(kType == Dtype::f16 || kType == Dtype::bf16);
  static_assert(kCount == 32 || kCount == 64 || kCount == 128, "tokens: 64, 128 or 256");
  if constexpr (kType == Dtype::f16 && kCount == 32) {
    COPPICE_SPARSE_WGMMA(64, "f16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35, 36, 37);
  } else if constexpr (kType == Dtype::f16 && kCount == 64) {
    COPPICE_SPARSE_WGMMA(128, "f16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67, 68, 69);
  } else if constexpr (kType == Dtype::f16 && kCount == 128) {
    COPPICE_SPARSE_WGMMA(256, "f16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131, 132, 133);
  } else if constexpr (kType == Dtype::bf16 && kCount == 32) {
    COPPICE_SPARSE_WGMMA(64, "bf16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35, 36, 37);
  } else if constexpr (kType == Dtype::bf16 && kCount == 64) {
    COPPICE_SPARSE_WGMMA(128, "bf16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67, 68, 69);
  } else if constexpr (kType == Dtype::bf16 && kCount == 128) {
    COPPICE_SPARSE_WGMMA(256, "bf16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131, 132, 133);
  }
}

// The same with A in four registers.
#define COPPICE_SPARSE_WGMMA_A(N, TYPE, D, R, A0, A1, A2, A3, DB, META, SEL, TRANS)        \
  asm volatile("wgmma.mma_async.sp.sync.aligned.m64n" #N "k32.f32." TYPE "." TYPE " {" R   \
               "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #DB ", %" #META ", %" #SEL \
               ", 1, 1, 1, %" #TRANS ";"                                                   \
               : D                                                                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(metadata),        \
                 "n"(kSelector), "n"(kTransB))

/// The same with A in registers: lane 4g+t of warp w holds quads t (a[0], a[1]) and t + 4 (a[2],
/// a[3]) of rows 16w + g and 16w + g + 8, two values each. They and the metadata must not change
/// before the instruction is done.
template <Dtype kType, int kSelector, int kTransB, int kCount>
__device__ inline void sparse_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4],
                                    std::uint64_t b, std::uint32_t metadata) {
  static_assert(kType == Dtype::f16 || kType == Dtype::bf16);
  static_assert(kCount == 16 || kCount == 32 || kCount == 64 || kCount == 128,
                "tokens: 32, 64, 128 or 256");
  if constexpr (kType == Dtype::f16 && kCount == 16) {
    COPPICE_SPARSE_WGMMA_A(32, "f16", COPPICE_D16(0), COPPICE_R16, 16, 17, 18, 19, 20, 21, 22, 23);
  } else if constexpr (kType == Dtype::bf16 && kCount == 16) {
    COPPICE_SPARSE_WGMMA_A(32, "bf16", COPPICE_D16(0), COPPICE_R16, 16, 17, 18, 19, 20, 21, 22, 23);
  } else if constexpr (kType == Dtype::f16 && kCount == 32) {
    COPPICE_SPARSE_WGMMA_A(64, "f16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35, 36, 37, 38, 39);
  } else if constexpr (kType == Dtype::f16 && kCount == 64) {
    COPPICE_SPARSE_WGMMA_A(128, "f16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67, 68, 69, 70, 71);
  } else if constexpr (kType == Dtype::f16 && kCount == 128) {
    COPPICE_SPARSE_WGMMA_A(256, "f16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131, 132, 133,
                           134, 135);
  } else if constexpr (kType == Dtype::bf16 && kCount == 32) {
    COPPICE_SPARSE_WGMMA_A(64, "bf16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35, 36, 37, 38, 39);
  } else if constexpr (kType == Dtype::bf16 && kCount == 64) {
    COPPICE_SPARSE_WGMMA_A(128, "bf16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67, 68, 69, 70,
                           71);
  } else if constexpr (kType == Dtype::bf16 && kCount == 128) {
    COPPICE_SPARSE_WGMMA_A(256, "bf16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131, 132, 133,
                           134, 135);
  }
}

// One instruction, m64nNk16, all of A stored; as above.
#define COPPICE_DENSE_WGMMA(N, TYPE, D, R, DA, DB, TRANS, ADD)                              \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD                                \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" R \
               "}, %" #DA ", %" #DB ", add, 1, 1, 0, %" #TRANS ";\n}\n"                     \
               : D                                                                          \
               : "l"(a), "l"(b), "n"(kTransB), "r"(adds))

/// One m64nNk16 product of a dense A in shared memory.
template <Dtype kType, int kTransB, int kCount>
__device__ inline void dense_wgmma(float (&d)[kCount], std::uint64_t a, std::uint64_t b,
                                   std::uint32_t adds) {
  static_assert(kType == Dtype::f16 || kType == Dtype::bf16);
  static_assert(kCount == 32 || kCount == 64 || kCount == 128, "tokens: 64, 128 or 256");
  if constexpr (kType == Dtype::f16 && kCount == 32) {
    COPPICE_DENSE_WGMMA(64, "f16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35);
  } else if constexpr (kType == Dtype::f16 && kCount == 64) {
    COPPICE_DENSE_WGMMA(128, "f16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67);
  } else if constexpr (kType == Dtype::f16 && kCount == 128) {
    COPPICE_DENSE_WGMMA(256, "f16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131);
  } else if constexpr (kType == Dtype::bf16 && kCount == 32) {
    COPPICE_DENSE_WGMMA(64, "bf16", COPPICE_D32(0), COPPICE_R32, 32, 33, 34, 35);
  } else if constexpr (kType == Dtype::bf16 && kCount == 64) {
    COPPICE_DENSE_WGMMA(128, "bf16", COPPICE_D64(0), COPPICE_R64, 64, 65, 66, 67);
  } else if constexpr (kType == Dtype::bf16 && kCount == 128) {
    COPPICE_DENSE_WGMMA(256, "bf16", COPPICE_D128(0), COPPICE_R128, 128, 129, 130, 131);
  }
}

#undef COPPICE_DENSE_WGMMA
#undef COPPICE_SPARSE_WGMMA_A
#undef COPPICE_SPARSE_WGMMA
#undef COPPICE_R128
#undef COPPICE_R64
#undef COPPICE_R32
#undef COPPICE_R16
#undef COPPICE_D128
#undef COPPICE_D64
#undef COPPICE_D32
#undef COPPICE_D16
#undef COPPICE_D8

}  // namespace coppice::cuda::ptx
