// Outputs that a product did not write.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "bench/cuda/device.h"

namespace coppice::bench {

inline constexpr int kPoison = 0xFF;  ///< every byte: a NaN in every type

/// True if one of the elements (of 2 or 4 bytes) has all bits set, as no product of finite numbers
/// has. Waits for the stream.
bool has_poison(const std::byte* device, std::size_t bytes, std::size_t element,
                cudaStream_t stream);

}  // namespace coppice::bench
