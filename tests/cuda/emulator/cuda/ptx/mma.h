// In place of src/cuda/ptx/mma.h: see emulate.h.
#pragma once
#include "coppice/dtype.h"
#include "cuda/ptx/copy.h"
namespace coppice::cuda::ptx {
inline void matrices(std::uint32_t a, std::uint32_t (&r)[4], bool store, bool transposed) {
  auto& w = *emulated::block->warps[emulated::warp_number];
  w.words[emulated::lane][0] = a;
  w.meet.wait();
  for (int i = 0; i < 4; ++i) {
    if (!transposed) {
      const auto to = static_cast<std::uint32_t>(w.words[8 * i + emulated::lane / 4][0]);
      if (to % 16) fail("misaligned row of a matrix");
      if (store)
        put(to + emulated::lane % 4 * 4, r[i]);
      else
        r[i] = get<std::uint32_t>(to + emulated::lane % 4 * 4);
    } else {
      std::uint32_t v = 0;
      for (int e = 0; e < 2; ++e) {
        const auto to =
            static_cast<std::uint32_t>(w.words[8 * i + 2 * (emulated::lane % 4) + e][0]);
        if (to % 16) fail("misaligned row of a matrix");
        if (store)
          put(to + emulated::lane / 4 * 2, static_cast<std::uint16_t>(r[i] >> 16 * e));
        else
          v |= static_cast<std::uint32_t>(get<std::uint16_t>(to + emulated::lane / 4 * 2))
               << 16 * e;
      }
      if (!store) r[i] = v;
    }
  }
  w.meet.wait();
}
inline void load_matrix_4(std::uint32_t (&o)[4], std::uint32_t a) { matrices(a, o, false, false); }
inline void load_matrix_4_transposed(std::uint32_t (&o)[4], std::uint32_t a) {
  matrices(a, o, false, true);
}
inline void store_matrix_4(std::uint32_t a, const std::uint32_t (&in)[4]) {
  std::uint32_t c[4] = {in[0], in[1], in[2], in[3]};
  matrices(a, c, true, false);
}
inline void store_matrix_4_transposed(std::uint32_t a, const std::uint32_t (&in)[4]) {
  std::uint32_t c[4] = {in[0], in[1], in[2], in[3]};
  matrices(a, c, true, true);
}
inline std::uint32_t transpose_matrix(std::uint32_t in) {
  return emulated_exchange({in}, [&](auto& all) {
    std::uint32_t out = 0;
    for (int e = 0; e < 2; ++e) {
      const int row = 2 * (emulated::lane % 4) + e, col = emulated::lane / 4;
      out |= (static_cast<std::uint32_t>(all[4 * row + col / 2][0]) >> 16 * (col % 2) & 0xFFFF)
             << 16 * e;
    }
    return out;
  });
}
template <Dtype kType>
float number(std::uint32_t bits) {
  const auto b = static_cast<std::uint16_t>(bits);
  if constexpr (kType == Dtype::f16) {
    __half h;
    std::memcpy(&h, &b, 2);
    return __half2float(h);
  } else {
    return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16);
  }
}
template <Dtype kType>
void dense_mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  auto& w = *emulated::block->warps[emulated::warp_number];
  for (int i = 0; i < 4; ++i) w.words[emulated::lane][i] = a[i];
  for (int i = 0; i < 2; ++i) w.words[emulated::lane][4 + i] = b[i];
  w.meet.wait();
  for (int i = 0; i < 4; ++i) {
    const int row = emulated::lane / 4 + i / 2 * 8, col = 2 * (emulated::lane % 4) + i % 2;
    double sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const auto ra =
          static_cast<std::uint32_t>(w.words[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2]) >>
          16 * (k % 2);
      const auto rb =
          static_cast<std::uint32_t>(w.words[col * 4 + k % 8 / 2][4 + k / 8]) >> 16 * (k % 2);
      sum += double(number<kType>(ra)) * number<kType>(rb);
    }
    d[i] = static_cast<float>(sum);
  }
  w.meet.wait();
}
}  // namespace coppice::cuda::ptx
