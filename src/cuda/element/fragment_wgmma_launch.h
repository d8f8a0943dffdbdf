// What the translation units of the wgmma kernels of fragment products share: one for each type.
#pragma once

#include <array>

#include "cuda/element/fragment_shape.h"
#include "cuda/element/fragment_wgmma.h"

namespace coppice::cuda {

template <Dtype kType, int kForm, int kTiles>
void launch_one_wgmma(const FragmentArguments& p, cudaStream_t stream) {
  constexpr int kTokens = 8 * kTiles;
  const int bytes = wgmma_places(kFragmentForms[kForm], kTokens, p.tall).bytes;
  const LaunchShape shape = fragment_shape(p, kTokens, bytes, true);
  launch(fragment_wgmma_kernel<kForm, kType, kTiles>, shape, stream,
         "launching a product by fragments", p);
}

/// `tile`: number in kFragmentTiles, from kWgmmaTokens on.
template <Dtype kType>
void launch_wgmma_tile(const FragmentArguments& p, int tile, cudaStream_t stream) {
  using Function = void (*)(const FragmentArguments&, cudaStream_t);
  constexpr int kFirst = 2;
  static_assert(kFragmentTiles[kFirst] == kWgmmaTokens);
  constexpr int kMaskForm = 1;  // what keeps two of four columns at most is made 2:4 (quad_form.h)
  static_assert(kFragmentForms[kMaskForm].form == ChoiceForm::mask);
  constexpr std::array<Function, 2> kTable{launch_one_wgmma<kType, kMaskForm, 4>,
                                           launch_one_wgmma<kType, kMaskForm, 8>};
  kTable[static_cast<std::size_t>(tile - kFirst)](p, stream);
}

}  // namespace coppice::cuda
