// Products of element-wise, vector-wise and block-wise weights.
#pragma once

#include "cuda/element/element_packed.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Enqueues a product of a weight of such a packing; arguments are not checked. `workspace`: of
/// Family::quads.
void multiply_element(const Selection& selection, const ElementPacked& packed, const Matrix& x,
                      const EpilogueArguments& epilogue, Dtype dtype, const DeviceInfo& device,
                      std::byte* workspace, Stream stream);

}  // namespace coppice::cuda
