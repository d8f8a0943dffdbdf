// What planning, dividing and kernels have to agree on.
#pragma once

#include "cuda/element/element_layout.h"

namespace coppice::cuda {

/// Whether the rows that a warp of the look-up kernels works on together have one list: half units,
/// in 16 bits whole ones. @param regular all vectors have as many rows.
constexpr bool shares_lists(const ElementLayout& l, bool regular) {
  const int rows = l.element_bytes == 2 ? kUnitRows : kUnitRows / 2;
  return l.form == ChoiceForm::list && regular && l.vec_rows % rows == 0;
}
constexpr int lookup_rows(const ElementLayout& l, bool regular) {
  return shares_lists(l, regular) && l.element_bytes == 2 ? kUnitRows : kUnitRows / 2;
}
/// Warps of a thread block of them, at most: with twice the bytes in a slot, as many registers.
constexpr int lookup_warps(int slot_rows, int element_bytes) {
  return slot_rows * element_bytes > kUnitRows ? 8 : 16;
}

/// Columns whose activations, of four tokens, take 64 KB; and a little, for the ends of a chunk.
constexpr int pass_limit(const ElementLayout& l) {
  return (l.element_bytes == 4 ? 4096 : 8192) + 64;
}

}  // namespace coppice::cuda
