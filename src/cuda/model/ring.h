// What the ring kernels of Family::window take.
#pragma once

#include "cuda/model/model.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda::model {

Cost ring_cost(const RingShape& shape, const ProductInfo& product, const DeviceInfo& device);

}  // namespace coppice::cuda::model
