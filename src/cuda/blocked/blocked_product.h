// Products of 32-bit weights for many tokens.
#pragma once

#include "cuda/blocked/blocked_arguments.h"
#include "cuda/element/element_packed.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Enqueues a product; arguments are not checked. x: feature-major, columns start on 16 bytes.
void multiply_blocked(const Selection& selection, const ElementPacked& packed,
                      const ProductInfo& product, const DeviceInfo& device, const Matrix& x,
                      const EpilogueArguments& epilogue, Stream stream);

/// The same by kBlockedShapes[shape]; the second one if its kernel is one of warpgroups, the third
/// one if it is a fed one.
void launch_blocked(int shape, const BlockedArguments& arguments, cudaStream_t stream);
void launch_blocked_wgmma(int shape, const BlockedArguments& arguments, int multiprocessors,
                          cudaStream_t stream);
void launch_blocked_fed(int shape, const BlockedArguments& arguments, cudaStream_t stream);

}  // namespace coppice::cuda
