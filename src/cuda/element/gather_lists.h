// Vector-wise and block-wise weights as Family::gather sees them: which it can multiply, and what
// its kernels are given (kernels/sparse_wgmma.h).
#pragma once

#include "cuda/describe.h"
#include "cuda/element/element_arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Sets the weight of a product, its steps and its row tiles.
void set_gathered(const ElementWeight& weight, const Selection& selection, ProductArguments& p);

}  // namespace coppice::cuda
