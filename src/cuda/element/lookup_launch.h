// What the translation units of the look-up kernels share: one for each type, so that they compile
// side by side.
#pragma once

#include <array>
#include <utility>

#include "cuda/check.h"
#include "cuda/element/general_kernel.h"
#include "cuda/launch.h"

namespace coppice::cuda {

void launch_lookup_f16(const ElementArguments& arguments, int form, int tile, bool clusters,
                       cudaStream_t stream);
void launch_lookup_bf16(const ElementArguments& arguments, int form, int tile, bool clusters,
                        cudaStream_t stream);
void launch_lookup_f32(const ElementArguments& arguments, int form, int tile, bool clusters,
                       cudaStream_t stream);

template <Dtype kType, int kForm, int kTokens>
void launch_one_lookup(const ElementArguments& p, bool clusters, cudaStream_t stream) {
  constexpr LookupConfig kConfig{kLookupForms[kForm], kType, kTokens};
  const ElementSplit& s = p.split;
  const int sums = s.chunk_warps * kUnitRows * s.units * kTokens * 4;
  const int units = p.weight.layout.units();
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>((units + s.units - 1) / s.units * s.ranks),
                    static_cast<unsigned>((p.tokens + kTokens - 1) / kTokens));
  shape.threads = s.threads();
  shape.cluster = s.ranks;
  shape.overlaps = clusters;
  if constexpr (kConfig.form.general) {
    shape.shared_bytes = sums;
    launch(general_kernel<kType, kTokens>, shape, stream, "launching a general product", p);
  } else {
    shape.shared_bytes = sums + s.pass_columns * kConfig.column_bytes();
    launch(lookup_kernel<kForm, kType, kTokens>, shape, stream, "launching a product by look-ups",
           p);
  }
}

template <Dtype kType, int kForm>
void launch_lookup_tile(const ElementArguments& p, int tile, bool clusters, cudaStream_t stream) {
  if (tile == 1)
    launch_one_lookup<kType, kForm, 1>(p, clusters, stream);
  else if (tile == 2)
    launch_one_lookup<kType, kForm, 2>(p, clusters, stream);
  else
    launch_one_lookup<kType, kForm, 4>(p, clusters, stream);
}

template <Dtype kType>
void launch_lookup_form(const ElementArguments& p, int form, int tile, bool clusters,
                        cudaStream_t stream) {
  using Function = void (*)(const ElementArguments&, int, bool, cudaStream_t);
  constexpr auto kTable = []<int... kForm>(std::integer_sequence<int, kForm...>) {
    return std::array<Function, kLookupForms.size()>{launch_lookup_tile<kType, kForm>...};
  }
  (std::make_integer_sequence<int, static_cast<int>(kLookupForms.size())>());
  kTable[static_cast<std::size_t>(form)](p, tile, clusters, stream);
}

}  // namespace coppice::cuda
