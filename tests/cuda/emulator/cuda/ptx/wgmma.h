// In place of src/cuda/ptx/wgmma.h: see emulate.h.
#pragma once
#include "cuda/ptx/mma.h"
namespace coppice::cuda::ptx {
enum class Swizzle : std::uint64_t { none = 0, bytes_128 = 1, bytes_64 = 2 };
constexpr std::uint32_t descriptor_high(std::uint32_t stride, Swizzle s) {
  return stride >> 4 | static_cast<std::uint32_t>(s) << 30;
}
inline std::uint32_t descriptor_low(std::uint32_t shared, std::uint32_t leading) {
  return (shared & 0x3FFFF) >> 4 | leading >> 4 << 16;
}
inline std::uint64_t matrix_descriptor(std::uint32_t low, std::uint32_t high) {
  return static_cast<std::uint64_t>(high) << 32 | low;
}
/// Where element (mn, k) of an operand lies.
inline std::uint32_t place(std::uint64_t d, bool mn_major, int mn, int k) {
  const std::uint32_t start = (d & 0x3FFF) << 4, leading = (d >> 16 & 0x3FFF) << 4,
                      stride = (d >> 32 & 0x3FFF) << 4;
  const auto swizzle = static_cast<Swizzle>(d >> 62);
  std::uint32_t a;
  if (swizzle == Swizzle::none) {
    if (mn_major) fail("not emulated");
    return start + mn / 8 * stride + k / 8 * leading + mn % 8 * 16 + k % 8 * 2;
  }
  const int row = swizzle == Swizzle::bytes_128 ? 128 : 64, wide = row / 2;
  if (mn_major)
    a = start + mn / wide * leading + k / 8 * stride + k % 8 * row + mn % wide * 2;
  else
    a = start + mn / 8 * stride + mn % 8 * row + k * 2;
  return swizzle == Swizzle::bytes_128 ? a ^ (a >> 7 & 7) << 4 : a ^ (a >> 7 & 3) << 4;
}
inline void wgmma_fence() {}
inline void wgmma_commit() {
  emulated::products.push_back(std::move(emulated::issued));
  emulated::issued.clear();
}
template <int kPending>
void wgmma_wait() {
  while (static_cast<int>(emulated::products.size()) > kPending) {
    for (auto& f : emulated::products.front()) f();
    emulated::products.erase(emulated::products.begin());
  }
  __syncwarp();
}
template <int N>
void keep_order(float (&)[N]) {}
template <int N>
void keep_values(std::uint32_t (&)[N]) {}
template <Dtype kType, int kCount>
void multiply_tile(float* d, std::function<float(int, int)> a_of, std::uint64_t b, bool trans_b,
                   bool adds) {
  const int lane = emulated::lane, warp = emulated::warp_number % 4;
  for (int i = 0; i < kCount; ++i) {
    const int row = 16 * warp + lane / 4 + 8 * (i / 2 % 2),
              n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    double sum = adds ? d[i] : 0;
    for (int k = 0; k < 16; ++k) {
      const float a = a_of(row, k);
      sum += double(a) * number<kType>(get<std::uint16_t>(place(b, trans_b, n, k)));
    }
    d[i] = static_cast<float>(sum);
  }
}
template <Dtype kType, int kTransB, int kCount, int kTransA = 0>
void dense_wgmma(float (&d)[kCount], std::uint64_t a, std::uint64_t b, std::uint32_t adds) {
  float* to = d;
  emulated::issued.push_back([=] {
    multiply_tile<kType, kCount>(
        to,
        [=](int row, int k) {
          return number<kType>(get<std::uint16_t>(place(a, kTransA, row, k)));
        },
        b, kTransB, adds);
  });
}
/// The metadata of a warp's 16 rows: which two of every four columns they keep.
inline std::vector<std::uint8_t> pairs_of(std::uint32_t metadata, int selector) {
  return emulated_exchange({metadata}, [&](auto& all) {
    std::vector<std::uint8_t> pairs;
    for (int row = 0; row < 16; ++row)
      for (int quad = 0; quad < 8; ++quad) {
        const auto word =
            static_cast<std::uint32_t>(all[4 * (row % 8) + 2 * selector + quad / 4][0]);
        pairs.push_back(word >> (16 * (row / 8) + 4 * (quad % 4)) & 15);
      }
    return pairs;
  });
}
/// value_of(row, place): the values kept, 16 of a row.
template <Dtype kType, int kCount>
void sparse_tile(float* d, const std::vector<std::uint8_t>& pairs,
                 const std::function<float(int, int)>& value_of, std::uint64_t b, bool trans_b,
                 bool adds) {
  const int lane = emulated::lane, warp = emulated::warp_number % 4;
  for (int i = 0; i < kCount; ++i) {
    const int row = lane / 4 + 8 * (i / 2 % 2), n = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
    double sum = adds ? d[i] : 0;
    for (int place_of = 0; place_of < 16; ++place_of) {
      const int pair = pairs[8 * row + place_of / 2];
      const int k = place_of / 2 * 4 + (place_of % 2 ? pair >> 2 : pair & 3);
      sum += double(value_of(16 * warp + row, place_of)) *
             number<kType>(get<std::uint16_t>(place(b, trans_b, n, k)));
    }
    d[i] = static_cast<float>(sum);
  }
}
template <Dtype kType, int kSelector, int kTransB, int kCount>
void sparse_wgmma(float (&d)[kCount], std::uint64_t a, std::uint64_t b, std::uint32_t metadata,
                  std::uint32_t adds) {
  float* to = d;
  emulated::issued.push_back([=, pairs = pairs_of(metadata, kSelector)] {
    sparse_tile<kType, kCount>(
        to, pairs,
        [=](int row, int k) { return number<kType>(get<std::uint16_t>(place(a, false, row, k))); },
        b, kTransB, adds);
  });
}
/// A in registers, read when it is issued.
template <Dtype kType, int kSelector, int kTransB, int kCount>
void sparse_wgmma(float (&d)[kCount], const std::uint32_t (&a)[4], std::uint64_t b,
                  std::uint32_t metadata) {
  float* to = d;
  const auto rows = emulated_exchange({a[0], a[1], a[2], a[3]}, [&](auto& all) {
    std::vector<float> values;
    for (int row = 0; row < 16; ++row)
      for (int k = 0; k < 16; ++k) {
        const int quad = k / 2;
        const auto word = all[4 * (row % 8) + quad % 4][row / 8 + 2 * (quad / 4)];
        values.push_back(number<kType>(static_cast<std::uint32_t>(word) >> 16 * (k % 2)));
      }
    return values;
  });
  const int first = 16 * (emulated::warp_number % 4);
  emulated::issued.push_back([=, pairs = pairs_of(metadata, kSelector)] {
    sparse_tile<kType, kCount>(
        to, pairs, [=](int row, int k) { return rows[16 * (row - first) + k]; }, b, kTransB, true);
  });
}
}  // namespace coppice::cuda::ptx
