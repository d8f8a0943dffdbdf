// Where the lists of columns alive lie (packed_layout.h).
#pragma once

#include <cstdint>

#include "cuda/kernels/arguments.h"

namespace coppice::cuda {

/// The list of a vector.
__device__ inline const std::byte* column_list(const ProductArguments& p, std::int32_t vector) {
  return p.columns.data +
         static_cast<std::int64_t>(vector) * p.steps * kStepQuads * p.columns.quad_bytes;
}

}  // namespace coppice::cuda
