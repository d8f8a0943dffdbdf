// Going through the places of a weight's stored values. Not part of the public API.
#pragma once

#include "core/parallel_for.h"
#include "format/choice_code.h"

namespace coppice {

/// Calls visit(row, places) for every row, from several threads: the places of its stored values in
/// their order, which are columns as they were permuted, where the weight has an input permutation.
template <typename Visit>
void for_each_stored_row(const SparseView& weight, int threads, const Visit& visit) {
  SparseView in_place = weight;
  in_place.input_permutation = {};
  const auto vectors = weight.grid->vectors();
  parallel_ranges(std::ssize(vectors), threads, [&](std::int64_t begin, std::int64_t end, int) {
    StoredColumns stored(in_place);
    for (std::int64_t v = begin; v < end; ++v) {
      stored.seek(v);
      const RowVector rows = vectors[static_cast<std::size_t>(v)];
      for (std::int64_t r = rows.row; r < rows.row + rows.rows; ++r) visit(r, stored.row(r));
    }
  });
}

}  // namespace coppice
