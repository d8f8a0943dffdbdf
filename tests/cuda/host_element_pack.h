// What the packing kernels of element-wise, vector-wise and block-wise weights write, on the host.
#pragma once

#include <cstring>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "cpu/random_weight.h"
#include "cuda/element/element_plan.h"
#include "cuda/element/element_source.h"

namespace coppice::cuda {

struct PackedElement {
  ElementPlan plan;
  std::vector<std::byte> values;
  std::vector<std::uint32_t> words;
  std::vector<std::uint16_t> runs;
  std::vector<std::int32_t> sources;
};

inline PackedElement pack_element(const SparseMatrix& weight) {
  PackedElement out;
  out.plan = plan_element(*weight.grid, weight.dtype, !weight.input_permutation.empty());
  const ElementLayout& l = out.plan.layout;
  ElementSource source;
  source.values = weight.values.data();
  source.columns = reinterpret_cast<const std::uint8_t*>(weight.columns.data());
  source.permutation = weight.input_permutation.empty() ? nullptr : weight.input_permutation.data();
  source.kept = weight.grid->kept();
  source.column_bytes = weight.grid->column_bytes_per_vector();
  source.groups = out.plan.groups.empty() ? nullptr : out.plan.groups.data();
  source.layout = l;
  const auto size = static_cast<std::size_t>(l.element_bytes);
  out.values.resize(static_cast<std::size_t>(value_bytes(l)));
  for (int row = 0; row < l.rows; ++row)
    for (int t = 0; t < kElementLanes; ++t)
      for (int entry = 0; entry < l.pieces * l.per_piece(); ++entry) {
        const int from = canonical_value(source, {t, entry});
        if (from >= 0)
          std::memcpy(
              out.values.data() + value_byte(l, row, {t, entry}),
              weight.values.data() + static_cast<std::size_t>(row * source.kept + from) * size,
              size);
      }
  if (l.in_groups()) {
    out.words.resize(static_cast<std::size_t>(choice_bytes(l) / 4));
    for (int v = 0; v < (l.vectors + kVectorBlock - 1) / kVectorBlock * kVectorBlock; ++v)
      for (int t = 0; t < kElementLanes; ++t)
        for (int word = 0; word < l.words; ++word)
          out.words[static_cast<std::size_t>(choice_word(l, v, t, word))] =
              packed_word(source, v, t, word);
  } else {
    for (int v = 0; v < l.vectors; ++v)
      for (int run = 0; run < l.words; ++run) out.runs.push_back(run_column(source, v, run));
  }
  for (int place = 0; place < out.plan.sources; ++place)
    out.sources.push_back(source_column(source, place));
  return out;
}

/// Segments in a third of the cases, a permutation in another.
inline cpu::RandomWeightOptions random_options(cpu::Random& random, int rows, int cols) {
  cpu::RandomWeightOptions options;
  if (cpu::random_int(random, 0, 2) == 0) {
    const int first = cpu::random_int(random, 0, rows), left = cpu::random_int(random, 0, cols);
    options.row_segments = {first, 0, rows - first};
    options.col_segments = {left, 0, cols - left};
  }
  options.permuted = cpu::random_int(random, 0, 2) == 0;
  return options;
}

}  // namespace coppice::cuda
