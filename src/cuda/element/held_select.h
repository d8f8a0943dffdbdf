// When products of few tokens are fragments with activations in registers (held_kernel.h): among
// Family::fragments the selections of shape kHeldShape. Pure host code.
#pragma once

#include <vector>

#include "cuda/select.h"

namespace coppice::cuda {

inline constexpr int kHeldShape = 1;  ///< Selection::shape of Family::fragments

bool is_held(const Selection& selection);

/// One for each of its tiles; empty if there is no such kernel for the product. Its sums are not
/// those of other fragments, which batch-invariant products take.
std::vector<Selection> held_selections(const ProductInfo& product, const DeviceInfo& device);

/// The faster of a selection for a product of elements and of these.
Selection faster_held(const Selection& other, const ProductInfo& product, const DeviceInfo& device);

}  // namespace coppice::cuda
