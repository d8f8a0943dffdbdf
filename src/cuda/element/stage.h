// Activations on their way to shared memory.
#pragma once

#include "cuda/element/element_arguments.h"
#include "cuda/element/output.h"

namespace coppice::cuda {

/// Column of the activations that belongs at a place; -1: none.
__device__ inline int activation_column(const ElementWeight& w, int place) {
  if (w.sources != nullptr) return place < w.source_count ? w.sources[place] : -1;
  return place < w.layout.cols ? place : -1;
}

/// An activation; 0 where there is none.
template <Dtype kType>
__device__ inline float activation(const ElementProduct& p, int place, int token) {
  const int column = activation_column(p.weight, place);
  if (column < 0 || token >= p.tokens) return 0;
  return load_value<kType>(p.x, token * p.x_token + column * p.x_column);
}

/// Loads that a thread has under way together: it waits for memory once for all of them.
inline constexpr int kStagedTogether = 8;

/// `count` activations one by one. @param place, token, store of number i: where it is in the
/// weight, which token, and what becomes of it.
template <Dtype kType, typename Place, typename Token, typename Store>
__device__ inline void stage_singly(const ElementProduct& p, int count, const Place& place,
                                    const Token& token, const Store& store) {
  const int threads = static_cast<int>(blockDim.x);
  for (int first = static_cast<int>(threadIdx.x); first < count;
       first += kStagedTogether * threads) {
    float x[kStagedTogether];
#pragma unroll
    for (int b = 0; b < kStagedTogether; ++b) {
      const int i = first + b * threads;
      x[b] = i < count ? activation<kType>(p, place(i), token(i)) : 0;
    }
#pragma unroll
    for (int b = 0; b < kStagedTogether; ++b)
      if (first + b * threads < count) store(first + b * threads, x[b]);
  }
}

}  // namespace coppice::cuda
