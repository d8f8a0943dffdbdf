// Which instruction sets the CPU kernels are compiled for, and which one runs. Include this before
// <hwy/highway.h>.
#pragma once

// Kept: AVX3 (AVX-512), AVX2, SSE4, NEON and the portable fallback. Machines with SSSE3 and no SSE4
// are gone, and vectors of SVE and RVV have no fixed size that a panel could be cut into: such
// machines take NEON or the fallback.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

namespace coppice::cpu {

/// Applies COPPICE_CPU_TARGET, once in a process. To be called before any dynamic dispatch. Throws
/// InvalidArgument if it names no target.
void choose_target();

}  // namespace coppice::cpu
