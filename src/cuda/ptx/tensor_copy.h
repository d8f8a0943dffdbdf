// The copy engine between shared memory and boxes of a matrix in global memory that a CUtensorMap
// describes (sm_90). Boxes may reach over the matrix's end: nothing is written there, zero is read.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace coppice::cuda::ptx {

__device__ inline void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// Box at (inner, outer) to shared memory; counted by the barrier's transaction count.
__device__ inline void load_box(std::uint32_t shared, const CUtensorMap* map, std::int32_t inner,
                                std::int32_t outer, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared),
      "l"(map), "r"(inner), "r"(outer), "r"(barrier)
      : "memory");
}

/// The same in three dimensions, the innermost first.
__device__ inline void load_box(std::uint32_t shared, const CUtensorMap* map, std::int32_t c0,
                                std::int32_t c1, std::int32_t c2, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(barrier)
      : "memory");
}

/// The same of a matrix seen in five dimensions, the innermost first.
__device__ inline void load_box(std::uint32_t shared, const CUtensorMap* map, std::int32_t c0,
                                std::int32_t c1, std::int32_t c2, std::int32_t c3, std::int32_t c4,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4), "r"(barrier)
      : "memory");
}

/// Box at (inner, outer) from shared memory; part of this thread's next bulk group. It is not read
/// again here: L2 had better keep the activations.
__device__ inline void store_box(const CUtensorMap* map, std::int32_t inner, std::int32_t outer,
                                 std::uint32_t shared) {
  asm volatile(
      "{\n"
      ".reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group.L2::cache_hint "
      "[%0, {%1, %2}], [%3], policy;\n"
      "}\n" ::"l"(map),
      "r"(inner), "r"(outer), "r"(shared)
      : "memory");
}

__device__ inline void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

/// Waits until at most `kPending` of this thread's bulk groups have still to read shared memory.
template <int kPending>
__device__ inline void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

/// Waits until all of this thread's bulk groups are done.
__device__ inline void bulk_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

}  // namespace coppice::cuda::ptx
