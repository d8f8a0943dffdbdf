// Brings activations of 16-bit elements into the layout that the gathering kernels read:
// feature-major, every feature on 16 bytes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace coppice::cuda {

/// to[feature * to_stride + token] = from[token * from_stride + feature]; `wide` if every token of
/// `from` starts on 16 bytes. to_stride is a multiple of 64, and as much is written of every
/// feature (zeros behind the last token).
void launch_transpose(const void* from, std::int64_t from_stride, bool wide, std::int64_t tokens,
                      std::int64_t features, void* to, std::int64_t to_stride, cudaStream_t stream);

/// to[feature * to_stride + token] = from[feature * from_stride + token].
void launch_realign(const void* from, std::int64_t from_stride, std::int64_t tokens,
                    std::int64_t features, void* to, std::int64_t to_stride, cudaStream_t stream);

}  // namespace coppice::cuda
