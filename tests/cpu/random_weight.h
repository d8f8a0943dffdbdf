// Random weights in canonical form, and random problems for the CPU kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "coppice/sparse_matrix.h"
#include "format/choice_set.h"

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

/// A random choice of `kept` of `of`.
inline ChoiceSet random_choice(Random& random, int kept, int of) {
  std::vector<int> all(static_cast<std::size_t>(of)), chosen;
  std::iota(all.begin(), all.end(), 0);
  std::sample(all.begin(), all.end(), std::back_inserter(chosen), kept, random);
  return ChoiceSet::of(of, chosen);
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
  for (std::int64_t v = 0; grid.has_columns() && v < std::ssize(grid.vectors()); ++v) {
    BitWriter writer(weight.columns.data() + v * grid.column_bytes_per_vector());
    for (const ColumnGroup& group : grid.groups())
      random_choice(random, group.kept_blocks, group.blocks).write(writer, grid.column_code());
    writer.finish();
  }
  for (std::int64_t r = 0; grid.has_metadata() && r < rows; ++r) {
    BitWriter writer(weight.metadata.data() + r * grid.metadata_bytes_per_row());
    for (const ColumnGroup& group : grid.groups())
      random_choice(random, group.kept, group.kept_cols).write(writer, grid.metadata_code());
    writer.finish();
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
