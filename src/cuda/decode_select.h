// Which decode kernel for which product. Pure host code.
#pragma once

#include <vector>

#include "cuda/decode_shape.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Slices that the columns of a weight are cut into: by the weight and the device alone, because
/// they are the order of sums.
int decode_slices(const ProductInfo& product, const DeviceInfo& device);

/// All ways to run a product, none if activations do not fit in shared memory. All of them add up
/// in the same order.
std::vector<DecodeShape> decode_shapes(const ProductInfo& product, const DeviceInfo& device);

/// The fastest of them; the product must have one.
DecodeShape decode_shape(const ProductInfo& product, const DeviceInfo& device);

}  // namespace coppice::cuda
