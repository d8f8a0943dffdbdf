// Launchers of the wgmma product kernels (sm_90a): products of 2-of-4 weights by
// wgmma.mma_async.sp.
//
// A persistent thread block works on tiles of rows() x tile_tokens() of its WgmmaShape. One
// warpgroup produces (wgmma_produce.h): it gathers the activations of the 64 columns of a step, row
// by row, with 16-byte cp.async into a swizzled tile; where all columns are alive in order the copy
// engine brings them, which takes a third less time and energy. The copy engine also brings the
// records of the weight. The other warpgroups multiply, 64 or 128 rows each (wgmma_consume.h), and
// store through the copy engine (wgmma_store.h); the producer is then already ahead in the next
// tile, so that the copies never stop. It tells them with a tile's first stage which tile that is:
// there must be a step.
//
// Where tiles are few the thread blocks of a cluster share one (wgmma_slices.h).
//
// A row tile lies within one vector, so all its rows want the same columns. Activations: feature-
// major [cols, tokens] rows of tokens (MN-major B), or for 2:4, which gathers nothing, also
// token-major [tokens, cols] (K-major B). 16-byte aligned rows; any tail in rows, columns, tokens.
//
// Weights with M = 5 to 8 can also be expanded to 2:4 in registers (expand_*.h): a gather saves
// little there, and nothing where every 16 or 32 rows want other columns. The copy engine brings
// the activations as they are, in the order of slots of expand_layout.h; consumers make fragments
// of A from the same records and column lists, a step ahead of the products. With M = 16 columns
// stay in order (expand_ordered_layout.h), and activations may be token-major.
//
// Dense weights with lists of columns (vector-wise and block-wise ones, element/element_layout.h)
// take the same way with wgmma.mma_async (wgmma_dense_*.h): only where weights and columns come
// from, and the instruction, are others.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels/arguments.h"
#include "cuda/select.h"

namespace coppice::cuda {

/// Enqueues one product on `stream`: gathered if there are column lists, else in order; of a weight
/// that has columns. It may begin while the kernel before on `stream` ends. `shape`: an
/// index of kWgmmaShapes; the tables and tile counts of `arguments` must be those of that shape.
void launch_sparse_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream);

// One for each source of activations, in a translation unit of its own.
void launch_wgmma_gathered(int shape, Dtype type, const ProductArguments& arguments,
                           const DeviceInfo& device, cudaStream_t stream);
void launch_wgmma_feature_major(int shape, Dtype type, const ProductArguments& arguments,
                                const DeviceInfo& device, cudaStream_t stream);
void launch_wgmma_token_major(int shape, Dtype type, const ProductArguments& arguments,
                              const DeviceInfo& device, cudaStream_t stream);

/// Enqueues a product of a regular weight with M = 5 to 8 that is expanded to 2:4 in registers, for
/// vectors of any height; feature-major activations, no row tiles. `shape`: one that expands.
void launch_expanded_wgmma(int shape, Dtype type, const ProductArguments& arguments,
                           const DeviceInfo& device, cudaStream_t stream);

/// The same with M = 16, which reads activations in either layout.
void launch_expanded_in_order(int shape, bool token_major, Dtype type,
                              const ProductArguments& arguments, const DeviceInfo& device,
                              cudaStream_t stream);

// Where whole weights of V:2:M are made 2:4 first (unpack/spread.cu), M = 5 to 7 are multiplied by
// atoms of activations that overlap in shared memory (spread_layout.h): nothing else is different.

/// Enqueues a product of records of 2:4 in the slots of spread_layout.h (no columns;
/// `arguments.columns.group`: M); feature-major activations. `shape`: one in order.
void launch_spread_wgmma(int shape, Dtype type, const ProductArguments& arguments,
                         const DeviceInfo& device, cudaStream_t stream);

/// Enqueues a product of a dense weight with lists (`arguments.lists`), which has columns. `shape`:
/// a dense one, whose steps and tiles `arguments` counts. `token_major`: for `lists.boxes` only;
/// activations on 16 bytes either way.
void launch_dense_wgmma(int shape, bool token_major, Dtype type, const ProductArguments& arguments,
                        const DeviceInfo& device, cudaStream_t stream);
void launch_dense_feature_major(int shape, Dtype type, const ProductArguments& arguments,
                                const DeviceInfo& device, cudaStream_t stream);
void launch_dense_token_major(int shape, Dtype type, const ProductArguments& arguments,
                              const DeviceInfo& device, cudaStream_t stream);

}  // namespace coppice::cuda
