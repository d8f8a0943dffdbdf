// What the kernels with activations in registers are given.
#pragma once

#include "cuda/element/element_arguments.h"
#include "cuda/element/held_config.h"

namespace coppice::cuda {

struct HeldArguments : ElementProduct {
  ElementSplit split;  // of slots
  HeldPlaces places;
};

/// Enqueues a product of so many tokens at a time (8 or 16), compute capability 9.0. `form`: of
/// kFragmentForms, the first kExpandedForms.
void launch_held_f16(const HeldArguments& arguments, int form, int tile_tokens,
                     cudaStream_t stream);
void launch_held_bf16(const HeldArguments& arguments, int form, int tile_tokens,
                      cudaStream_t stream);

}  // namespace coppice::cuda
