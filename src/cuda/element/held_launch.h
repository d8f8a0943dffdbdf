// What the translation units of the kernels with activations in registers share: one for each type.
#pragma once

#include <array>
#include <utility>

#include "cuda/element/held_kernel.h"
#include "cuda/launch.h"

namespace coppice::cuda {

template <Dtype kType, int kForm, int kTiles>
void launch_one_held(const HeldArguments& p, cudaStream_t stream) {
  constexpr HeldConfig kConfig{kFragmentForms[kForm], kTiles};
  const ElementSplit& s = p.split;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(s.ranks), static_cast<unsigned>(s.tiles),
                    static_cast<unsigned>((p.tokens + kConfig.tokens() - 1) / kConfig.tokens()));
  shape.threads = 32 * kHeldWarps;
  shape.shared_bytes = static_cast<int>(p.places.bytes);
  shape.cluster = s.ranks;
  shape.overlaps = true;
  launch(held_kernel<kForm, kType, kTiles>, shape, stream,
         "launching a product by fragments with activations in registers", p);
}

template <Dtype kType>
void launch_held_form(const HeldArguments& p, int form, int tile_tokens, cudaStream_t stream) {
  using Function = void (*)(const HeldArguments&, cudaStream_t);
  constexpr auto kTable = []<int... kForm>(std::integer_sequence<int, kForm...>) {
    return std::array<std::array<Function, 2>, kExpandedForms>{
        {{launch_one_held<kType, kForm, 1>, launch_one_held<kType, kForm, 2>}...}};
  }
  (std::make_integer_sequence<int, kExpandedForms>());
  kTable[static_cast<std::size_t>(form)][tile_tokens > 8 ? 1 : 0](p, stream);
}

}  // namespace coppice::cuda
