// In place of src/cuda/ptx/tensor_copy.h: see emulate.h.
#pragma once
#include <cuda.h>

#include <array>

#include "cuda/ptx/copy.h"
#include "cuda/ptx/tf32.h"
namespace emulated {
struct Map {
  std::byte* data;
  std::uint64_t sizes[5], strides[5];  // strides in bytes, of all but the first
  std::uint32_t box[5];
  std::uint32_t rank, element, swizzle;  // 0, 1: 64, 2: 128
  bool rounds;                           // to TF32, on the way to shared memory
};
static_assert(sizeof(Map) <= sizeof(CUtensorMap));
inline CUresult encode(CUtensorMap* to, CUtensorMapDataType type, cuuint32_t rank, void* data,
                       const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                       const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                       CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  Map m = {};
  m.data = static_cast<std::byte*>(data);
  m.rank = rank;
  m.rounds = type == CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  m.element = m.rounds || type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  m.swizzle = swizzle == CU_TENSOR_MAP_SWIZZLE_128B  ? 2
              : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 1
                                                     : 0;
  if (reinterpret_cast<std::uintptr_t>(data) % 16) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < rank; ++i) {
    m.sizes[i] = sizes[i], m.box[i] = box[i];
    if (box[i] > 256 || sizes[i] == 0) return CUDA_ERROR_INVALID_VALUE;
    if (i > 0) {
      m.strides[i] = strides[i - 1];
      if (strides[i - 1] % 16) return CUDA_ERROR_INVALID_VALUE;
    }
  }
  if (m.swizzle && box[0] * m.element > (m.swizzle == 2 ? 128u : 64u))
    return CUDA_ERROR_INVALID_VALUE;
  std::memcpy(to, &m, sizeof m);
  return CUDA_SUCCESS;
}
inline std::uint32_t box_place(const Map& m, std::uint32_t a) {
  return m.swizzle == 2 ? a ^ (a >> 7 & 7) << 4 : m.swizzle == 1 ? a ^ (a >> 7 & 3) << 4 : a;
}
/// Calls f(shared address, global address or null) for every element.
template <typename F>
std::uint32_t each(const Map& m, std::uint32_t shared, const std::int32_t* c, F f) {
  std::uint32_t count = 1;
  for (unsigned i = 0; i < m.rank; ++i) count *= m.box[i];
  for (std::uint32_t n = 0; n < count; ++n) {
    std::uint32_t rest = n;
    std::byte* at = m.data;
    bool in = true;
    for (unsigned i = 0; i < m.rank; ++i) {
      const std::int64_t k = c[i] + std::int64_t(rest % m.box[i]);
      rest /= m.box[i];
      in = in && k >= 0 && k < std::int64_t(m.sizes[i]);
      at += k * std::int64_t(i == 0 ? m.element : m.strides[i]);
    }
    f(box_place(m, shared + n * m.element), in ? at : nullptr);
  }
  return count * m.element;
}
}  // namespace emulated
namespace coppice::cuda::ptx {
inline void prefetch_tensor_map(const CUtensorMap*) {}
template <typename... C>
void load(std::uint32_t shared, const CUtensorMap* map, std::uint32_t barrier, C... c) {
  emulated::Map m;
  std::memcpy(&m, map, sizeof m);
  const std::int32_t at[] = {c...};
  if (m.rank != sizeof...(c)) fail("a box of another rank");
  if (shared % 128 != 0) fail("misaligned box");  // swizzles go by the address
  engine([m, shared, barrier, at = std::to_array(at)] {
    const std::uint32_t bytes =
        emulated::each(m, shared, at.data(), [&](std::uint32_t to, const std::byte* from) {
          if (from == nullptr)
            std::memset(emulated::at(to, m.element, m.element), 0, m.element);
          else
            std::memcpy(emulated::at(to, m.element, m.element), from, m.element);
          if (m.rounds) put(to, round_tf32(get<float>(to)));
        });
    complete(barrier, bytes);
  });
}
inline void load_box(std::uint32_t s, const CUtensorMap* m, std::int32_t a, std::int32_t b,
                     std::uint32_t bar) {
  load(s, m, bar, a, b);
}
inline void load_box(std::uint32_t s, const CUtensorMap* m, std::int32_t a, std::int32_t b,
                     std::int32_t c, std::uint32_t bar) {
  load(s, m, bar, a, b, c);
}
inline void load_box(std::uint32_t s, const CUtensorMap* m, std::int32_t a, std::int32_t b,
                     std::int32_t c, std::int32_t d, std::int32_t e, std::uint32_t bar) {
  load(s, m, bar, a, b, c, d, e);
}
inline void store_box(const CUtensorMap* map, std::int32_t a, std::int32_t b,
                      std::uint32_t shared) {
  emulated::Map m;
  std::memcpy(&m, map, sizeof m);
  const std::int32_t at[] = {a, b};
  emulated::each(m, shared, at, [&](std::uint32_t from, std::byte* to) {
    if (to != nullptr) std::memcpy(to, emulated::at(from, m.element, m.element), m.element);
  });
}
inline void bulk_commit() {}
template <int>
void bulk_wait_read() {}
inline void bulk_wait() {}
}  // namespace coppice::cuda::ptx
