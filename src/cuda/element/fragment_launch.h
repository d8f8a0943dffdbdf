// What the translation units of the fragment kernels share: one for each type.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "cuda/element/fragment_kernel.h"
#include "cuda/element/fragment_shape.h"

namespace coppice::cuda {

void launch_fragments_f16(const FragmentArguments& arguments, int form, int tile, bool clusters,
                          cudaStream_t stream);
void launch_fragments_bf16(const FragmentArguments& arguments, int form, int tile, bool clusters,
                           cudaStream_t stream);

template <Dtype kType, int kForm, int kTiles>
void launch_one_fragments(const FragmentArguments& p, bool clusters, cudaStream_t stream) {
  constexpr int kTokens = 8 * kTiles;
  const int bytes = mma_places(kFragmentForms[kForm], kTokens, p.split.columns, p.tall).bytes;
  const LaunchShape shape = fragment_shape(p, kTokens, bytes, clusters);
  launch(fragment_kernel<kForm, kType, kTiles>, shape, stream, "launching a product by fragments",
         p);
}

template <Dtype kType, int kForm>
void launch_fragments_tile(const FragmentArguments& p, int tile, bool clusters,
                           cudaStream_t stream) {
  if (tile == 8)
    launch_one_fragments<kType, kForm, 1>(p, clusters, stream);
  else if (tile == 16)
    launch_one_fragments<kType, kForm, 2>(p, clusters, stream);
  else if (tile == 32)
    launch_one_fragments<kType, kForm, 4>(p, clusters, stream);
  else
    launch_one_fragments<kType, kForm, 8>(p, clusters, stream);
}

template <Dtype kType>
void launch_fragments_form(const FragmentArguments& p, int form, int tile, bool clusters,
                           cudaStream_t stream) {
  using Function = void (*)(const FragmentArguments&, int, bool, cudaStream_t);
  constexpr auto kTable = []<int... kForm>(std::integer_sequence<int, kForm...>) {
    return std::array<Function, kFragmentForms.size()>{launch_fragments_tile<kType, kForm>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kFragmentForms.size())>());
  kTable[static_cast<std::size_t>(form)](p, tile, clusters, stream);
}

}  // namespace coppice::cuda
