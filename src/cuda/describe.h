// What selection and the performance model have to know about a product, from what is known of its
// weight before there is one. Pure host code: needs no GPU and no CUDA header.
#pragma once

#include "coppice/dtype.h"
#include "coppice/grid.h"
#include "cuda/element/element_plan.h"
#include "cuda/pack_plan.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Of a weight that is packed so: all but what a call adds (tokens, layout, options).
ProductInfo describe(const PackPlan& plan, const Grid& grid);
ProductInfo describe(const ElementPlan& plan, const Grid& grid, const DeviceInfo& device);

/// Sets what selection has to know of Family::gather; nothing where the family cannot multiply such
/// a weight: it needs 16-bit values, lists, regular vectors of at least 64 rows in whole eights,
/// and a column alive.
void describe_gathered(const ElementPlan& plan, ProductInfo& product);

/// The same, planned here. Throws what planning throws: InvalidArgument if GPUs do not multiply by
/// such a weight.
ProductInfo describe(const Grid& grid, Dtype dtype, bool permuted, const DeviceInfo& device);

}  // namespace coppice::cuda
