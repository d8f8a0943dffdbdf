// Vector-wise and block-wise weights as Family::gather sees them: which it can multiply, and what
// its kernels are given (kernels/sparse_wgmma.h).
#pragma once

#include "cuda/element/element_arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Sets what selection has to know; nothing where the family cannot multiply such a weight: it
/// needs 16-bit values, lists, regular vectors of at least 64 rows in whole eights, and a column
/// alive.
void describe_gathered(const ElementPlan& plan, ProductInfo& product);

/// Sets the weight of a product, its steps and its row tiles.
void set_gathered(const ElementWeight& weight, const Selection& selection, ProductArguments& p);

}  // namespace coppice::cuda
