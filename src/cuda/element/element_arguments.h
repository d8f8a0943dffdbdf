// What the kernels of element-wise, vector-wise and block-wise weights are given. Pointers are
// device memory.
#pragma once

#include <cuda_runtime.h>

#include "cuda/element/element_plan.h"
#include "cuda/element/element_source.h"
#include "cuda/kernels/arguments.h"

namespace coppice::cuda {

/// The arrays of a packed weight.
struct ElementWeight {
  ElementLayout layout;
  std::byte* values = nullptr;
  std::byte* choices = nullptr;
  const ChunkColumns* chunks = nullptr;
  std::int32_t chunk_count = 0;
  const ElementGroup* groups = nullptr;
  const std::int32_t* row_vectors = nullptr;
  std::int32_t* sources = nullptr;
  std::int32_t source_count = 0;
  bool staged = false;
};

/// A product, without how it is divided.
struct ElementProduct {
  ElementWeight weight;
  const void* x = nullptr;
  std::int64_t x_token = 0, x_column = 0;  // elements between tokens, between columns
  bool wide = false;                       // columns of a token lie together, on 16 bytes
  bool tall = false;                       // tokens of a column do
  std::int32_t tokens = 0;
  EpilogueArguments epilogue;
};
struct ElementArguments : ElementProduct {
  ElementSplit split;
};

/// The vector of a row; rows behind the last have one too.
COPPICE_HOST_DEVICE inline int row_vector(const ElementWeight& w, int row) {
  const ElementLayout& l = w.layout;
  if (row >= l.rows) row = l.rows - 1;
  return w.row_vectors == nullptr ? row / l.vec_rows : w.row_vectors[row];
}

/// Whether all rows of every unit belong to one vector.
inline bool shares_vectors(const ElementWeight& w) {
  return w.row_vectors == nullptr && w.layout.vec_rows % kUnitRows == 0;
}

/// Enqueues the packing: every byte of values, choices and sources.
void launch_element_pack(const ElementWeight& weight, const ElementSource& source,
                         cudaStream_t stream);

/// Enqueues a product by look-ups of activations, on CUDA cores: any pattern, any dtype of weights,
/// any number of tokens (`tile`, 1, 2 or 4, of them share one reading of the weights).
void launch_element_lookup(const ElementArguments& arguments, Dtype dtype, int tile, bool clusters,
                           cudaStream_t stream);

}  // namespace coppice::cuda
