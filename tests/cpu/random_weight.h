// Random weights in canonical form, and random problems for the CPU kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "coppice/sparse_matrix.h"

namespace coppice::cpu {

using Random = std::mt19937_64;

inline int random_int(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

/// Normally distributed floats.
inline std::vector<float> random_floats(Random& random, std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& v : out) v = normal(random);
  return out;
}

struct RandomWeightOptions {
  std::vector<std::int64_t> row_segments, col_segments;
  bool permuted = false;
};

/// Writes a random choice of `kept` of `of` at a bit of zeroed bytes.
inline void put_random_choice(Random& random, std::byte* data, std::int64_t bit, ChoiceCode code,
                              int kept, int of) {
  std::vector<int> all(static_cast<std::size_t>(of)), chosen;
  std::iota(all.begin(), all.end(), 0);
  std::sample(all.begin(), all.end(), std::back_inserter(chosen), kept, random);
  auto set = [&](std::int64_t at) { data[at >> 3] |= std::byte{1} << (at & 7); };
  for (int n = 0; n < kept; ++n) {
    const int index = chosen[static_cast<std::size_t>(n)];
    if (code.bitmask) set(bit + index);
    for (int b = 0; !code.bitmask && b < code.bits; ++b)
      if ((index >> b) & 1) set(bit + std::int64_t{n} * code.bits + b);
  }
}

/// Random values and choices.
inline SparseMatrix random_weight(Random& random, const Pattern& pattern, std::int64_t rows,
                                  std::int64_t cols, Dtype dtype,
                                  const RandomWeightOptions& options = {}) {
  SparseMatrix weight;
  weight.grid = std::make_shared<const Grid>(
      pattern, WeightShape{rows, cols, options.row_segments, options.col_segments});
  weight.dtype = dtype;
  const Grid& grid = *weight.grid;
  weight.values.resize(static_cast<std::size_t>(grid.values_bytes(dtype)));
  weight.columns.resize(static_cast<std::size_t>(grid.columns_bytes()));
  weight.metadata.resize(static_cast<std::size_t>(grid.metadata_bytes()));
  from_float(dtype, random_floats(random, rows * grid.kept()), weight.values.data());
  for (const ColumnGroup& group : grid.groups()) {
    for (std::int64_t v = 0; grid.has_columns() && v < std::ssize(grid.vectors()); ++v)
      put_random_choice(random, weight.columns.data() + v * grid.column_bytes_per_vector(),
                        group.column_bit, grid.column_code(), group.kept_blocks, group.blocks);
    for (std::int64_t r = 0; grid.has_metadata() && r < rows; ++r)
      put_random_choice(random, weight.metadata.data() + r * grid.metadata_bytes_per_row(),
                        group.metadata_bit, grid.metadata_code(), group.kept, group.kept_cols);
  }
  if (options.permuted) {
    weight.input_permutation.resize(static_cast<std::size_t>(cols));
    std::iota(weight.input_permutation.begin(), weight.input_permutation.end(), 0u);
    std::shuffle(weight.input_permutation.begin(), weight.input_permutation.end(), random);
  }
  return weight;
}

/// A random pattern of any kind; small numbers are likelier than large ones.
inline Pattern random_pattern(Random& random) {
  constexpr int kGroups[] = {2, 3, 4, 4, 5, 7, 8, 8, 12, 16, 16, 17, 32, 32, 40, 64, 100, 128, 256};
  constexpr int kRows[] = {1, 1, 2, 3, 4, 8, 16, 16, 20, 32, 32, 33, 64, 70, 128};
  constexpr int kCols[] = {2, 3, 4, 4, 8, 16};
  auto pick = [&](const auto& list) {
    return list[random_int(random, 0, static_cast<int>(std::size(list)) - 1)];
  };
  const int group = pick(kGroups);
  const int kept = random_int(random, 1, std::max(1, group - 1));
  switch (random_int(random, 0, 9)) {
    case 0:
      return Pattern::parse("dense");
    case 1:
    case 2:
      return Pattern::make(pick(kRows), pick(kCols), kept, group);
    case 3:
    case 4:
    case 5:
      if (kept < 2) return Pattern::parse("2:4");
      return Pattern::make(pick(kRows), 1, kept, group, random_int(random, 1, kept - 1));
    default:
      return Pattern::make(pick(kRows), 1, kept, group);
  }
}

}  // namespace coppice::cpu
