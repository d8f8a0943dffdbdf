// What the kernels of element-wise weights on sparse tensor cores are given.
#pragma once

#include "cuda/element/fragment_arguments.h"
#include "cuda/element/quad_form.h"
#include "cuda/element/quad_ring_plan.h"

namespace coppice::cuda {

struct QuadArguments : FragmentArguments {
  /// Activations in the order of quad_form.h, on 256 bytes: [tiles of tokens][blocks][tokens of a
  /// tile][128 bytes]; zeros behind the last token and column.
  std::byte* ordered = nullptr;
  std::int32_t blocks = 0;
};

/// The same by rings (quad_ring_kernel.h).
struct QuadRingArguments : ElementProduct {
  QuadSplit split;
  QuadRingPlaces places;
  const std::byte* ordered = nullptr;  ///< as QuadArguments::ordered
};

/// Enqueues the ordering of the activations for tiles of `tile` tokens.
void launch_quad_order(const QuadArguments& arguments, int tile, cudaStream_t stream);

/// Enqueues the product of ordered activations; `form`, `tile`: numbers in kQuadForms, kQuadTiles.
void launch_quads_f16(const QuadArguments& arguments, int form, int tile, cudaStream_t stream);
void launch_quads_bf16(const QuadArguments& arguments, int form, int tile, cudaStream_t stream);

/// The same by rings, for tiles of kQuadRingTiles[tile] tokens.
void launch_quad_rings_f16(const QuadRingArguments& arguments, int form, int tile,
                           cudaStream_t stream);
void launch_quad_rings_bf16(const QuadRingArguments& arguments, int form, int tile,
                            cudaStream_t stream);

}  // namespace coppice::cuda
