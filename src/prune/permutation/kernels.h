// The inner loops of the permutation search, one implementation for each instruction set with the
// same bits. Not part of the public API.
#pragma once

#include <cstddef>

namespace coppice::prune {

/// Lanes come in multiples of this; sums go through as many fixed partial sums.
inline constexpr int kLanes = 16;

struct PermutationKernels {
  /// out[i * thresholds + j] = sum over lanes of max(x[i] - t[j], 0). Lanes: a multiple of kLanes.
  void (*sums_above)(const float* const* x, int columns, const float* const* t, int thresholds,
                     std::ptrdiff_t lanes, float* out);

  /// Puts values into the descending lists of the `depth` largest of each lane. list: [depth,
  /// lanes]
  void (*push)(const float* values, int depth, std::ptrdiff_t lanes, float* list);
};

/// Those of the best instruction set of this machine.
const PermutationKernels& permutation_kernels();

}  // namespace coppice::prune
