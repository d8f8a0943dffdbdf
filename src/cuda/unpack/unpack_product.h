// Products by another form of the weight, which is made in the workspace.
#pragma once

#include "cuda/element/element_packed.h"
#include "cuda/unpack/dense_library.h"
#include "cuda/unpack/unpack_places.h"

namespace coppice::cuda {

/// Enqueues the expansion to dense rows, a product of cuBLASLt, and, where the library's epilogue
/// is not ours, a pass over y. `workspace`: as workspace_places says.
void multiply_unpacked(const Selection& selection, const ElementPacked& packed,
                       const ProductInfo& product, DenseLibrary& library, const Matrix& x,
                       const EpilogueArguments& epilogue, std::byte* workspace, Stream stream);

/// Enqueues the expansion to records of 2:4, and sets what a product of Family::wgmma is given of
/// the weight: records, steps, blocks, row tiles.
void unpack_two_four(const ElementPacked& packed, const ProductInfo& product,
                     const WorkspacePlaces& at, std::byte* workspace, int tile_rows,
                     ProductArguments& arguments, Stream stream);

/// The same of the V:2:M weight of `arguments`.
void spread_two_four(const ProductInfo& product, const WorkspacePlaces& at, std::byte* workspace,
                     int tile_rows, ProductArguments& arguments, Stream stream);

}  // namespace coppice::cuda
