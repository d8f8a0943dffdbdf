// The performance model: how long a product takes by a kernel configuration, and why. One function
// for each family of kernels; selection, the tuner, `coppice plan` and the benchmark ask these and
// nothing else. Pure host code: needs no GPU and no CUDA header.
//
//   const Cost cost = model::predict(selection, product, device);
//   print(1e6 * cost.seconds, model::limit_name(cost.limit));
#pragma once

#include <string_view>

#include "cuda/model/constants.h"
#include "cuda/model/cost.h"
#include "cuda/select.h"

namespace coppice::cuda::model {

/// The constants of a device.
const Constants& constants_of(const DeviceInfo& device);

Cost wgmma_cost(const WgmmaShape& shape, int slices, const ProductInfo& product,
                const DeviceInfo& device);
Cost expand_cost(const WgmmaShape& shape, int slices, const ProductInfo& product,
                 const DeviceInfo& device);
Cost gather_cost(const WgmmaShape& shape, int slices, const ProductInfo& product,
                 const DeviceInfo& device);
Cost mma_cost(const MmaShape& shape, const ProductInfo& product, const DeviceInfo& device);
Cost blocked_cost(const Selection& selection, const ProductInfo& product, const DeviceInfo& device);
/// `shape`: number of a tile, a ring behind those of kWindowShapes.
Cost window_cost(int shape, const ProductInfo& product, const DeviceInfo& device);
Cost decode_cost(const DecodeShape& shape, const ProductInfo& product, const DeviceInfo& device);
Cost lookup_cost(int tile_tokens, const ProductInfo& product, const DeviceInfo& device);
Cost fragments_cost(int tile_tokens, const ProductInfo& product, const DeviceInfo& device);
Cost held_cost(int tile_tokens, const ProductInfo& p, const DeviceInfo& device);
Cost quads_cost(int tile_tokens, const ProductInfo& product, const DeviceInfo& device);

/// Of Family::unpack and two_four.
Cost unpack_cost(const Selection& selection, const ProductInfo& product, const DeviceInfo& device);

/// Of the fastest dense product of the libraries. f8_e4m3: with f16 outputs.
Cost dense_cost(Dtype dtype, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                const DeviceInfo& device);

/// Of any selection, with what comes before the kernel (a transpose, a copy).
Cost predict(const Selection& selection, const ProductInfo& product, const DeviceInfo& device);

}  // namespace coppice::cuda::model
