// Loads of what is read once, and small stores to shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice::cuda::ptx {

/// 4 bytes that are not kept in L1; nobody writes them meanwhile.
__device__ inline std::uint32_t load_once_4(const std::byte* global) {
  std::uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(global));
  return v;
}

/// 16 bytes.
__device__ inline uint4 load_once_16(const std::byte* global) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(global));
  return v;
}

/// 16 bytes if `issue`, else 0; without branches.
__device__ inline uint4 load_once_16_if(bool issue, const std::byte* global) {
  uint4 v;
  asm volatile(
      "{\n"
      ".reg .pred issue;\n"
      "setp.ne.u32 issue, %5, 0;\n"
      "mov.u32 %0, 0;\n"
      "mov.u32 %1, 0;\n"
      "mov.u32 %2, 0;\n"
      "mov.u32 %3, 0;\n"
      "@issue ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
      "}\n"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(global), "r"(static_cast<std::uint32_t>(issue)));
  return v;
}

/// The lower 16 bits.
__device__ inline void store_shared_2(std::uint32_t shared, std::uint32_t value) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(shared), "h"(static_cast<std::uint16_t>(value))
               : "memory");
}

}  // namespace coppice::cuda::ptx
