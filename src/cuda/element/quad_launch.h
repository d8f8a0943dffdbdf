// What the translation units of products of quads share: one for each type.
#pragma once

#include <array>
#include <utility>

#include "cuda/element/fragment_shape.h"
#include "cuda/element/quad_kernel.h"
#include "cuda/element/quad_ring_kernel.h"

namespace coppice::cuda {

template <Dtype kType, int kForm, int kTile>
void launch_one_quads(const QuadArguments& p, cudaStream_t stream) {
  constexpr int kTokens = kQuadTiles[kTile];
  const int bytes = quad_places(kQuadForms[kForm], kTokens).bytes;
  launch(quad_kernel<kForm, kType, kTokens>, fragment_shape(p, kTokens, bytes, true), stream,
         "launching a product of quads", p);
}

template <Dtype kType, int kForm, int kTile>
void launch_one_quad_ring(const QuadRingArguments& p, cudaStream_t stream) {
  constexpr int kTokens = kQuadRingTiles[kTile];
  const QuadSplit& s = p.split;
  const int tiles = (p.weight.layout.units() + s.units - 1) / s.units;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(s.ranks), static_cast<unsigned>(tiles),
                    static_cast<unsigned>((p.tokens + kTokens - 1) / kTokens));
  shape.threads = 32 * s.warps();
  shape.shared_bytes = p.places.bytes;
  shape.cluster = s.ranks;
  shape.overlaps = true;
  launch(quad_ring_kernel<kForm, kType, kTokens>, shape, stream,
         "launching a product of quads by rings", p);
}

template <Dtype kType>
void launch_quads(const QuadArguments& p, int form, int tile, cudaStream_t stream) {
  using Function = void (*)(const QuadArguments&, cudaStream_t);
  constexpr int kTiles = kQuadTiles.size();
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, sizeof...(kNumber)>{
        launch_one_quads<kType, kNumber / kTiles, kNumber % kTiles>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kQuadForms.size()) * kTiles>());
  kTable[static_cast<std::size_t>(form * kTiles + tile)](p, stream);
}

template <Dtype kType>
void launch_quad_rings(const QuadRingArguments& p, int form, int tile, cudaStream_t stream) {
  using Function = void (*)(const QuadRingArguments&, cudaStream_t);
  constexpr int kTiles = kQuadRingTiles.size();
  constexpr auto kTable = []<int... kNumber>(std::integer_sequence<int, kNumber...>) {
    return std::array<Function, sizeof...(kNumber)>{
        launch_one_quad_ring<kType, kNumber / kTiles, kNumber % kTiles>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kQuadForms.size()) * kTiles>());
  kTable[static_cast<std::size_t>(form * kTiles + tile)](p, stream);
}

}  // namespace coppice::cuda
