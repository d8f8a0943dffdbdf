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
/// All numbers of a type.
template <Dtype kType>
const float* numbers() {
  static const std::vector<float> all = [] {
    std::vector<float> values(65536);
    for (std::uint32_t b = 0; b < values.size(); ++b) values[b] = to_float(kType, b);
    return values;
  }();
  return all.data();
}
template <Dtype kType>
float number(std::uint32_t bits) {
  return numbers<kType>()[static_cast<std::uint16_t>(bits)];
}
/// Element (row, k) of a 16 x 16 operand, of which lane 4g + t holds k = 2t, 2t + 1 of rows g and
/// g + 8, then the same at k + 8; element (k, col) of the other one.
template <Dtype kType, typename W>
float element_of_a(const W& words, int row, int k) {
  return number<kType>(
      static_cast<std::uint32_t>(words[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2]) >>
      16 * (k % 2));
}
template <Dtype kType, typename W>
float element_of_b(const W& words, int k, int col) {
  return number<kType>(static_cast<std::uint32_t>(words[col * 4 + k % 8 / 2][k / 8]) >>
                       16 * (k % 2));
}
/// Calls f(row, col, d) for the four sums of this lane.
template <typename F>
void each_sum(float (&d)[4], F f) {
  for (int i = 0; i < 4; ++i)
    f(emulated::lane / 4 + i / 2 * 8, 2 * (emulated::lane % 4) + i % 2, d[i]);
}
template <Dtype kType>
void dense_mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulated_exchange({a[0], a[1], a[2], a[3], b[0] | std::uint64_t{b[1]} << 32}, [&](auto& all) {
    each_sum(d, [&](int row, int col, float& to) {
      double sum = to;
      for (int k = 0; k < 16; ++k) {
        const auto pair = static_cast<std::uint32_t>(all[col * 4 + k % 8 / 2][4] >> 32 * (k / 8));
        sum += double(element_of_a<kType>(all, row, k)) * number<kType>(pair >> 16 * (k % 2));
      }
      to = static_cast<float>(sum);
    });
    return 0;
  });
}
template <Dtype kType, int kSelector>
void sparse_mma(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[4],
                std::uint32_t metadata) {
  const auto two = [](std::uint32_t low, std::uint32_t high) {
    return low | std::uint64_t{high} << 32;
  };
  const auto words = {std::uint64_t{a[0]},    std::uint64_t{a[1]}, std::uint64_t{a[2]},
                      std::uint64_t{a[3]},    two(b[0], b[1]),     two(b[2], b[3]),
                      std::uint64_t{metadata}};
  emulated_exchange(words, [&](auto& all) {
    each_sum(d, [&](int row, int col, float& to) {
      double sum = to;
      for (int place = 0; place < 16; ++place) {
        const int quad = place / 2;
        // Lanes 2 * kSelector and + 1 of four have the quads of row % 8: the first four, the
        // others; the lower half is of rows 0 to 7.
        const auto word =
            static_cast<std::uint32_t>(all[row % 8 * 4 + 2 * kSelector + quad / 4][6]);
        const std::uint32_t pair = word >> (16 * (row / 8) + 4 * (quad % 4)) & 15;
        if ((pair & 3) >= pair >> 2) fail("metadata out of order");
        const int k = 4 * quad + static_cast<int>(place % 2 == 0 ? pair & 3 : pair >> 2);
        const auto value =
            static_cast<std::uint32_t>(all[col * 4 + k % 8 / 2][4 + k / 16] >> 32 * (k / 8 % 2));
        sum += double(element_of_a<kType>(all, row, place)) * number<kType>(value >> 16 * (k % 2));
      }
      to = static_cast<float>(sum);
    });
    return 0;
  });
}
}  // namespace coppice::cuda::ptx
