// How a decode kernel is run: named sizes.
#pragma once

#include <array>
#include <cstdint>

namespace coppice::cuda {

/// Tokens that decode kernels are compiled for; fewer are padded.
inline constexpr std::array kDecodeTokens = {8, 16, 32, 64};
inline constexpr int kMostDecodeTokens = kDecodeTokens.back();

/// A thread block multiplies `row_warps` blocks of 64 rows, each cut along the columns into slices:
/// `slice_warps` of them in this thread block, the others in those of its cluster.
struct DecodeShape {
  int tokens = 8;       ///< one of kDecodeTokens
  int row_warps = 1;    ///< blocks of 64 rows of a thread block
  int slice_warps = 8;  ///< slices of a thread block
  int cluster = 1;      ///< thread blocks that add up their slices
  int chunk_steps = 1;  ///< steps of a slice whose activations lie in shared memory at once

  constexpr int warps() const { return row_warps * slice_warps; }
  constexpr int threads() const { return 32 * warps(); }
  constexpr int slices() const { return slice_warps * cluster; }
  constexpr int panels() const { return tokens / 8; }
};

}  // namespace coppice::cuda
