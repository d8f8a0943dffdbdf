// What the translation units of the look-up kernels share: one for each type, so that they compile
// side by side.
#pragma once

#include <algorithm>
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

/// Slots of every warp: where two thread blocks share a multiprocessor half of its memory holds
/// them. More than a warp has items are of no use.
template <LookupConfig kConfig>
int lookup_stages(const ElementSplit& s) {
  constexpr int kReserved = 1024;  // of every thread block
  const auto bytes = [&](int stages) {
    return static_cast<int>(lookup_places(kConfig, s, stages).bytes);
  };
  const int items = (s.tile_parts + s.row_warps - 1) / s.row_warps * s.warp_chunks;
  const int half = (s.shared_bytes + kReserved) / 2 - kReserved;
  const bool shares = kConfig.residents() == 2 && bytes(2) <= half;
  int stages = std::clamp(items, 1, kMostStages);
  while (stages > 1 && bytes(stages) > (shares ? half : s.shared_bytes)) --stages;
  return stages;
}

template <Dtype kType, int kForm, int kTokens>
void launch_one_lookup(const ElementArguments& p, bool clusters, cudaStream_t stream) {
  constexpr LookupConfig kConfig{kLookupForms[kForm], kType, kTokens};
  const ElementSplit& s = p.split;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(s.ranks), static_cast<unsigned>(s.tiles),
                    static_cast<unsigned>((p.tokens + kTokens - 1) / kTokens));
  shape.threads = 32 * s.warps();
  shape.cluster = s.ranks;
  shape.overlaps = clusters;
  if constexpr (kConfig.form.general) {
    shape.shared_bytes = s.chunk_warps * s.rows() * kTokens * 4;
    launch(general_kernel<kType, kTokens>, shape, stream, "launching a general product", p);
  } else {
    const LookupPlaces at = lookup_places(kConfig, s, lookup_stages<kConfig>(s));
    shape.shared_bytes = static_cast<int>(at.bytes);
    launch(lookup_kernel<kForm, kType, kTokens>, shape, stream, "launching a product by look-ups",
           p, at);
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
