// Copies from global to shared memory that do not pass through registers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice::cuda::ptx {

/// 16 bytes; of these the first `valid` are read (0 to 16), the others become zero.
__device__ inline void copy_async_16(std::uint32_t shared, const void* global,
                                     std::uint32_t valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(valid)
               : "memory");
}

/// Hides from the compiler how a pointer was made, so that it adds to it in one instruction.
__device__ inline const std::byte* opaque(const std::byte* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

/// Makes the compiler compute a value at this place, and wait here for what it is computed of.
__device__ inline void compute_here(std::uint32_t& value) { asm volatile("" : "+r"(value)); }

/// threadIdx.x, read at this place: what is computed of it is not computed before.
__device__ inline int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

/// 16 bytes.
__device__ inline void copy_async_16(std::uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(global) : "memory");
}

/// 16 bytes if `issue`; without branches.
__device__ inline void copy_async_16_if(bool issue, std::uint32_t shared, const void* global) {
  asm volatile(
      "{\n"
      ".reg .pred issue;\n"
      "setp.ne.u32 issue, %2, 0;\n"
      "@issue cp.async.cg.shared.global [%0], [%1], 16;\n"
      "}\n" ::"r"(shared),
      "l"(global), "r"(static_cast<std::uint32_t>(issue))
      : "memory");
}

/// 8 or 16 bytes if `issue`.
template <int kBytes>
__device__ inline void copy_async_if(bool issue, std::uint32_t shared, const void* global) {
  if constexpr (kBytes == 16) {
    copy_async_16_if(issue, shared, global);
  } else {
    asm volatile(
        "{\n"
        ".reg .pred issue;\n"
        "setp.ne.u32 issue, %2, 0;\n"
        "@issue cp.async.ca.shared.global [%0], [%1], %3;\n"
        "}\n" ::"r"(shared),
        "l"(global), "r"(static_cast<std::uint32_t>(issue)), "n"(kBytes)
        : "memory");
  }
}

__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until all of this thread's copies have landed.
__device__ inline void copy_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Waits until at most `kPending` of this thread's groups are still under way.
template <int kPending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// A multiple of 16 bytes by the copy engine (sm_90); counted by the barrier's transaction count.
__device__ inline void copy_bulk(std::uint32_t shared, const void* global, std::uint32_t bytes,
                                 std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}

__device__ inline std::uint32_t load_shared(std::uint32_t shared) {
  std::uint32_t value;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(shared) : "memory");
  return value;
}

/// Of memory that nobody writes any more: may be moved and left out.
__device__ inline std::uint32_t load_table(std::uint32_t shared) {
  std::uint32_t value;
  asm("ld.shared.u32 %0, [%1];" : "=r"(value) : "r"(shared));
  return value;
}

__device__ inline std::uint32_t load_shared_1(std::uint32_t shared) {
  std::uint32_t value;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(value) : "r"(shared) : "memory");
  return value;
}

__device__ inline std::uint16_t load_shared_2(std::uint32_t shared) {
  std::uint16_t value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(shared) : "memory");
  return value;
}

__device__ inline uint2 load_shared_8(std::uint32_t shared) {
  uint2 value;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
               : "=r"(value.x), "=r"(value.y)
               : "r"(shared)
               : "memory");
  return value;
}

__device__ inline uint4 load_shared_16(std::uint32_t shared) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(shared)
               : "memory");
  return value;
}

__device__ inline void store_shared(std::uint32_t shared, std::uint32_t value) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(shared), "r"(value) : "memory");
}

/// The lower 16 bits, if `issue`; without branches.
__device__ inline void store_shared_2_if(bool issue, std::uint32_t shared, std::uint32_t value) {
  asm volatile(
      "{\n"
      ".reg .pred issue;\n"
      "setp.ne.u32 issue, %2, 0;\n"
      "@issue st.shared.u16 [%0], %1;\n"
      "}\n" ::"r"(shared),
      "h"(static_cast<std::uint16_t>(value)), "r"(static_cast<std::uint32_t>(issue))
      : "memory");
}

__device__ inline void store_shared(std::uint32_t shared, uint2 value) {
  asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(shared), "r"(value.x), "r"(value.y)
               : "memory");
}

__device__ inline void store_shared(std::uint32_t shared, uint4 value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(shared), "r"(value.x), "r"(value.y),
               "r"(value.z), "r"(value.w)
               : "memory");
}

}  // namespace coppice::cuda::ptx
