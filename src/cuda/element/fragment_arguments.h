// What the tensor core kernels of element packings are given.
#pragma once

#include "cuda/element/element_arguments.h"
#include "cuda/element/fragment_config.h"

namespace coppice::cuda {

struct FragmentArguments : ElementProduct {
  FragmentSplit split;
};

/// Enqueues a product by fragments in registers, on tensor cores: 16-bit weights for which there is
/// a form (fragment_config.h), `tile` (8, 16, 32 or 64) tokens at a time.
void launch_element_fragments(const FragmentArguments& arguments, Dtype dtype, int tile,
                              bool clusters, cudaStream_t stream);

/// The same for a split that says so, compute capability 9.0: `tile` is a number in kFragmentTiles.
void launch_wgmma_fragments_f16(const FragmentArguments& arguments, int tile, cudaStream_t stream);
void launch_wgmma_fragments_bf16(const FragmentArguments& arguments, int tile, cudaStream_t stream);

}  // namespace coppice::cuda
