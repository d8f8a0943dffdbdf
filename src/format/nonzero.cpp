#include "format/nonzero.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/parallel_for.h"

namespace coppice {
namespace {

// Up to 64 elements to one bit each. Two steps that compilers turn into vector code on any
// machine: compare to bytes of 0 or 1, then gather eight bytes to eight bits with a product.
template <typename T>
std::uint64_t nonzero_bits(const std::byte* in, std::int64_t count, T significant) {
  std::array<T, 64> elements;
  if (count < 64) elements.fill(0);
  std::memcpy(elements.data(), in,
              static_cast<std::size_t>(std::min<std::int64_t>(count, 64)) * sizeof(T));
  std::array<std::uint8_t, 64> flags;
  for (std::size_t i = 0; i < 64; ++i) flags[i] = (elements[i] & significant) != 0;
  std::uint64_t bits = 0;
  for (std::size_t byte = 0; byte < 8; ++byte) {
    std::uint64_t eight;
    std::memcpy(&eight, flags.data() + 8 * byte, 8);
    bits |= (eight * 0x0102040810204080u >> 56) << (8 * byte);
  }
  return bits;
}

template <typename T>
void fill_mask(const DenseView& dense, Mask& mask, int threads, T significant) {
  parallel_ranges(dense.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::byte* in = dense.row(r);
      std::int64_t left = dense.cols;
      for (std::uint64_t& word : mask.row(r)) {
        word = nonzero_bits<T>(in, left, significant);
        in += 64 * sizeof(T);
        left -= 64;
      }
    }
  });
}

}  // namespace

Mask nonzero_mask(const DenseView& dense, int threads) {
  Mask mask(dense.rows, dense.cols);
  // Floats lose their sign bit, so that -0 is a zero; i8 has no -0.
  if (dtype_bytes(dense.dtype) == 4) {
    fill_mask<std::uint32_t>(dense, mask, threads, 0x7fffffffu);
  } else if (dtype_bytes(dense.dtype) == 2) {
    fill_mask<std::uint16_t>(dense, mask, threads, 0x7fff);
  } else {
    fill_mask<std::uint8_t>(dense, mask, threads, dense.dtype == Dtype::i8 ? 0xff : 0x7f);
  }
  return mask;
}

}  // namespace coppice
