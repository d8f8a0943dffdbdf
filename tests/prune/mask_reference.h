// Mask selection the obvious way, for small weights: every candidate is tried.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "coppice/grid.h"
#include "coppice/mask.h"
#include "coppice/prune.h"

namespace coppice::testing {

/// A float matrix that its rows may not fill.
struct Scores {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> data;

  Scores(std::int64_t rows_, std::int64_t cols_)
      : rows(rows_), cols(cols_), data(static_cast<std::size_t>(rows_ * cols_)) {}
  float& at(std::int64_t r, std::int64_t c) { return data[static_cast<std::size_t>(r * cols + c)]; }
  double at(std::int64_t r, std::int64_t c) const {
    return std::fabs(static_cast<double>(data[static_cast<std::size_t>(r * cols + c)]));
  }
  DenseView view() const { return dense_view(data, rows, cols); }
};

inline Scores normal_scores(std::int64_t rows, std::int64_t cols, std::mt19937& random) {
  Scores scores(rows, cols);
  std::normal_distribution<float> normal;
  for (float& score : scores.data) score = normal(random);
  return scores;
}

/// Small integers: many ties, and all sums exact.
inline Scores integer_scores(std::int64_t rows, std::int64_t cols, int largest,
                             std::mt19937& random) {
  Scores scores(rows, cols);
  std::uniform_int_distribution<int> integer(-largest, largest);
  for (float& score : scores.data) score = static_cast<float>(integer(random));
  return scores;
}

/// The `kept` indices of largest score, of equal ones the lower; ascending.
inline std::vector<std::int64_t> top(const std::vector<double>& scores, std::int64_t kept) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(kept));
  std::ranges::sort(order);
  return order;
}

/// Sum over the vector's rows of the `kept` largest scores among `columns`.
inline double set_score(const Scores& scores, const RowVector& vector,
                        const std::vector<std::int64_t>& columns, int kept) {
  double total = 0;
  for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
    std::vector<double> row;
    for (std::int64_t c : columns) row.push_back(scores.at(r, c));
    std::ranges::sort(row, std::greater<>());
    for (int i = 0; i < kept; ++i) total += row[static_cast<std::size_t>(i)];
  }
  return total;
}

/// The set of largest score, the first of equal ones, among all sets of columns of the group.
inline std::vector<std::int64_t> best_columns(const Scores& scores, const RowVector& vector,
                                              const ColumnGroup& group) {
  std::vector<std::int64_t> set(static_cast<std::size_t>(group.kept_cols)), best;
  double best_score = -1;
  auto grow = [&](auto& self, std::size_t depth, std::int64_t first) -> void {
    if (depth == set.size()) {
      const double score = set_score(scores, vector, set, group.kept);
      if (score > best_score) best_score = score, best = set;
      return;
    }
    for (std::int64_t c = first; c < group.col + group.cols; ++c) {
      set[depth] = c;
      self(self, depth + 1, c + 1);
    }
  };
  grow(grow, 0, group.col);
  return best;
}

/// The mask that `select_mask` promises, for columns searched exactly.
inline Mask reference_mask(const Scores& scores, const Grid& grid) {
  Mask mask(scores.rows, scores.cols);
  for (const RowVector& vector : grid.vectors()) {
    for (const ColumnGroup& group : grid.groups()) {
      std::vector<std::int64_t> live;
      if (grid.has_metadata()) {
        live = best_columns(scores, vector, group);
      } else {
        std::vector<double> sums(static_cast<std::size_t>(group.blocks));
        for (std::int64_t c = 0; c < group.cols; ++c)
          for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r)
            sums[static_cast<std::size_t>(c / group.block_cols)] += scores.at(r, group.col + c);
        for (std::int64_t block : top(sums, group.kept_blocks))
          for (int c = 0; c < group.block_cols; ++c)
            live.push_back(group.col + block * group.block_cols + c);
      }
      for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
        std::vector<double> row;
        for (std::int64_t c : live) row.push_back(scores.at(r, c));
        for (std::int64_t i : top(row, group.kept)) mask.set(r, live[static_cast<std::size_t>(i)]);
      }
    }
  }
  return mask;
}

inline double masked_score(const Scores& scores, const Mask& mask) {
  double total = 0;
  for (std::int64_t r = 0; r < scores.rows; ++r)
    for (std::int64_t c = 0; c < scores.cols; ++c)
      if (mask.get(r, c)) total += scores.at(r, c);
  return total;
}

/// Does every vector and row keep exactly what the grid says?
inline bool fills(const Mask& mask, const Grid& grid) {
  for (const RowVector& vector : grid.vectors()) {
    for (const ColumnGroup& group : grid.groups()) {
      std::vector<bool> live(static_cast<std::size_t>(group.blocks));
      for (std::int64_t r = vector.row; r < vector.row + vector.rows; ++r) {
        int kept = 0;
        for (int c = 0; c < group.cols; ++c) {
          if (!mask.get(r, group.col + c)) continue;
          ++kept;
          live[static_cast<std::size_t>(c / group.block_cols)] = true;
        }
        if (kept != group.kept) return false;
      }
      if (std::ranges::count(live, true) > group.kept_blocks) return false;
    }
  }
  return true;
}

/// Any pattern that the library takes, small enough to try every candidate if `small`.
inline Pattern random_pattern(std::mt19937& random, bool small) {
  auto pick = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  const int group = small || pick(0, 3) ? pick(1, 10) : pick(11, 256);
  const int kept = pick(1, group);
  const int vec_rows = pick(0, 2) == 0 ? 1 : pick(1, 70);
  if (pick(0, 1) == 0) return Pattern::make(vec_rows, 1, kept, group, pick(1, std::min(kept, 9)));
  return Pattern::make(vec_rows, pick(0, 1) ? 1 : pick(1, 7), kept, group);
}

/// Lengths that sum to `size`.
inline std::vector<std::int64_t> random_segments(std::int64_t size, std::mt19937& random) {
  std::vector<std::int64_t> segments;
  const int count = std::uniform_int_distribution(0, 3)(random);
  for (int i = 0; i < count; ++i) {
    segments.push_back(std::uniform_int_distribution<std::int64_t>(0, size)(random));
    size -= segments.back();
  }
  if (count > 0) segments.push_back(size);
  return segments;
}

}  // namespace coppice::testing
