// Where what a product needs beside its operands lies in the caller's workspace. Pure host code.
#pragma once

#include <cstdint>

#include "cuda/select.h"

namespace coppice::cuda {

/// Byte offsets, each a multiple of 256; `bytes` of all. A copy of x, transposed or realigned, is
/// at the beginning.
struct WorkspacePlaces {
  // Family::quads: activations in order, at the beginning.
  std::int64_t weight = 0;   ///< Family::unpack, two_four: the weight in its other form
  std::int64_t tiles = 0;    ///< two_four: its row tiles
  std::int64_t library = 0;  ///< unpack: what cuBLASLt works with
  std::int64_t library_bytes = 0;
  std::int64_t sums = 0;  ///< unpack: products that y has no room for
  std::int64_t sum_bytes = 0;
  std::int64_t bytes = 0;
};

/// Features of the copy of x are this many elements apart.
std::int64_t copy_stride(std::int64_t tokens);

/// Elements between rows of an expanded dense weight.
std::int64_t unpacked_stride(const ProductInfo& product);

WorkspacePlaces workspace_places(const Selection& selection, const ProductInfo& product);

}  // namespace coppice::cuda
