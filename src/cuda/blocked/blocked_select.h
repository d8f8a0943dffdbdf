// Which blocked kernel for which product. Pure host code: needs no GPU and no CUDA header.
#pragma once

#include <string>
#include <vector>

#include "cuda/blocked/blocked_window.h"
#include "cuda/element/element_plan.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// What selection has to know of a weight.
BlockedInfo describe_blocked(const ElementPlan& plan);

/// Lists of columns of a tile of a shape; 0: the shape cannot multiply the weight.
int blocked_lists(const BlockedShape& shape, const ProductInfo& product);

/// Of a kernel of short vectors: how it divides the weight; of no groups: it cannot multiply it.
BlockedWindow blocked_window(const BlockedShape& shape, const ProductInfo& product,
                             const DeviceInfo& device);

/// All ways to run a product, among them the numbers that the options ask for only.
std::vector<Selection> blocked_selections(const ProductInfo& product, const DeviceInfo& device);

bool can_run_blocked(const ProductInfo& product, const DeviceInfo& device);
Selection select_blocked(const ProductInfo& product, const DeviceInfo& device);

/// Whether it is faster than look-ups, or asked for.
bool prefers_blocked(const ProductInfo& product, const DeviceInfo& device);

/// Thread blocks that fit on a multiprocessor.
int blocked_residents(const BlockedShape& shape, const ProductInfo& product,
                      const DeviceInfo& device);

/// Whether operands are rounded.
bool is_tf32(const Selection& selection);

/// Such as "blocked fp32 32x256".
std::string blocked_name(const Selection& selection);

/// Whether both add up in the same order.
bool same_blocked_sums(const Selection& a, const Selection& b);

}  // namespace coppice::cuda
