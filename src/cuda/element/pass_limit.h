// What planning and dividing have to agree on. Host code.
#pragma once

#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// Columns whose activations, of four tokens, take 64 KB; and a little, for the ends of a chunk.
constexpr int pass_limit(const ElementLayout& l) {
  return (l.element_bytes == 4 ? 4096 : 8192) + 64;
}

}  // namespace coppice::cuda
