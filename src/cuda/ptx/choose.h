// A choice that never becomes a branch, so that the compiler can mix other work with what is
// chosen.
#pragma once

#include <cstdint>

#include "cuda/packed_layout.h"

namespace coppice::cuda::ptx {

/// `first` ? a : b.
COPPICE_HOST_DEVICE inline std::uint32_t choose(bool first, std::uint32_t a, std::uint32_t b) {
#if defined(__CUDA_ARCH__)
  std::uint32_t chosen;
  asm("{\n"
      ".reg .pred first;\n"
      "setp.ne.u32 first, %3, 0;\n"
      "selp.u32 %0, %1, %2, first;\n"
      "}\n"
      : "=r"(chosen)
      : "r"(a), "r"(b), "r"(static_cast<std::uint32_t>(first)));
  return chosen;
#else
  return first ? a : b;
#endif
}

}  // namespace coppice::cuda::ptx
