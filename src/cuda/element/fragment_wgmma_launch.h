// What the translation units of the wgmma kernels of fragment products share: one for each type.
#pragma once

#include <array>
#include <utility>

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

/// `form`, `tile`: numbers in kFragmentForms and kFragmentTiles, from kWgmmaTokens on.
template <Dtype kType>
void launch_wgmma_form(const FragmentArguments& p, int form, int tile, cudaStream_t stream) {
  using Function = void (*)(const FragmentArguments&, cudaStream_t);
  using Row = std::array<Function, 2>;
  constexpr int kFirst = 2;
  static_assert(kFragmentTiles[kFirst] == kWgmmaTokens);
  constexpr auto kTable = []<int... kForm>(std::integer_sequence<int, kForm...>) {
    return std::array<Row, sizeof...(kForm)>{
        Row{launch_one_wgmma<kType, kForm, 4>, launch_one_wgmma<kType, kForm, 8>}...};
  }
  (std::make_integer_sequence<int, kExpandedForms>());
  kTable[static_cast<std::size_t>(form)][static_cast<std::size_t>(tile - kFirst)](p, stream);
}

}  // namespace coppice::cuda
