#include "cuda/element/element_product.h"

#include <algorithm>

#include "cuda/element/fragment_config.h"

namespace coppice::cuda {

void multiply_element(const Selection& selection, const ElementPacked& packed, const Matrix& x,
                      const EpilogueArguments& epilogue, Dtype dtype, Stream stream) {
  ElementArguments p;
  p.weight = packed.weight;
  const bool fragments = selection.family == Family::fragments;
  const auto tile = std::ranges::find(kFragmentTiles, selection.tile_tokens);
  p.split = fragments
                ? packed.fragment_splits[static_cast<std::size_t>(tile - kFragmentTiles.begin())]
                : packed.split;
  p.x = x.data;
  const bool token_major = x.layout == Layout::token_major;
  p.x_token = token_major ? x.major_stride() : 1;
  p.x_column = token_major ? 1 : x.major_stride();
  const std::int64_t bytes = dtype_bytes(dtype);
  p.wide = p.x_column == 1 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 &&
           (x.tokens == 1 || p.x_token * bytes % 16 == 0);
  p.tokens = static_cast<std::int32_t>(x.tokens);
  p.epilogue = epilogue;
  if (fragments)
    launch_element_fragments(p, dtype, selection.tile_tokens, packed.overlaps, stream);
  else
    launch_element_lookup(p, dtype, selection.tile_tokens, packed.overlaps, stream);
}

}  // namespace coppice::cuda
