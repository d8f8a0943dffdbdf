// What selection and the performance model have to know about an element-wise, vector-wise or
// block-wise weight. Pure host code.
#pragma once

#include <array>

#include "cuda/element/fragment_config.h"
#include "cuda/element/quad_form.h"

namespace coppice::cuda {

struct ElementInfo {
  ElementLayout layout;
  bool staged = false;        ///< see ElementPlan
  int fragment_form = -1;     ///< of kFragmentForms; -1: none
  int fragment_tiles = 0;     ///< of kFragmentTiles, the first of them
  ElementSplit lookup_split;  ///< of Family::lookup
  std::array<FragmentSplit, kFragmentTiles.size()> fragment_splits;
  int quad_form = -1;  ///< of kQuadForms; -1: none
  std::array<FragmentSplit, kQuadTiles.size()> quad_splits;

  /// Tokens of the largest tile of Family::fragments; 0: none.
  int fragment_tokens() const {
    return fragment_tiles == 0 ? 0 : kFragmentTiles[static_cast<std::size_t>(fragment_tiles - 1)];
  }
};

}  // namespace coppice::cuda
