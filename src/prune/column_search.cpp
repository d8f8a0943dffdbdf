#include "prune/column_search.h"

#include <algorithm>
#include <numeric>

#include "prune/exact_search.h"

namespace coppice::prune {
namespace {

constexpr int kAutomaticExactCols = 32;
// Gains that a search may compute for a block. The first is more than any set of 4 columns of 32
// can need; the second is a second or so.
constexpr std::int64_t kAutomaticBudget = 1 << 18;
constexpr std::int64_t kExactBudget = 1 << 26;

struct Swap {
  std::int32_t score = 0;
  std::uint8_t out = 0, in = 0;
};

// Marks the set as proven where that costs little: it is the first of all and reaches what all
// columns together reach.
bool evidently_best(const BlockScores& block, const ColumnSet& set) {
  return set.score == block.bound();
}

bool is_first(const ColumnSet& set) {
  return set.columns.empty() || set.columns.back() + 1u == set.columns.size();
}

// The best set that differs by one column, and its integer score.
Swap best_swap(const BlockScores& block, const ColumnSet& set, std::int32_t* list) {
  std::vector<std::uint8_t> outside;
  for (int col = 0; col < block.shape().cols; ++col)
    if (!std::ranges::binary_search(set.columns, col))
      outside.push_back(static_cast<std::uint8_t>(col));
  std::vector<std::int32_t> above(outside.size());
  Swap best;
  for (std::uint8_t out : set.columns) {
    std::fill_n(list, block.list_size(), 0);
    for (std::uint8_t col : set.columns)
      if (col != out) block.push(list, col, list);
    const std::int32_t rest = block.sum_but_last(list);
    block.sum_above(list, outside, above.data());
    for (std::size_t i = 0; i < outside.size(); ++i)
      if (rest + above[i] > best.score) best = {rest + above[i], out, outside[i]};
  }
  return best;
}

std::int32_t integer_score(const BlockScores& block, const ColumnSet& set, std::int32_t* list) {
  std::fill_n(list, block.list_size(), 0);
  std::int32_t last = 0;
  for (std::uint8_t col : set.columns) last = block.push(list, col, list);
  return block.sum_but_last(list) + last;
}

}  // namespace

ColumnSet greedy_columns(const BlockScores& block) {
  const BlockShape& shape = block.shape();
  std::vector<double> sums(static_cast<std::size_t>(shape.cols));
  for (int col = 0; col < shape.cols; ++col)
    sums[static_cast<std::size_t>(col)] = block.column_score(col);
  ColumnSet set;
  set.columns.resize(sums.size());
  std::iota(set.columns.begin(), set.columns.end(), std::uint8_t{0});
  const auto kept = set.columns.begin() + shape.kept_cols;
  if (kept != set.columns.end()) {
    std::nth_element(set.columns.begin(), kept, set.columns.end(),
                     [&](std::uint8_t a, std::uint8_t b) {
                       return sums[a] != sums[b] ? sums[a] > sums[b] : a < b;
                     });
    set.columns.erase(kept, set.columns.end());
  }
  std::ranges::sort(set.columns);
  set.score = block.score(set.columns);
  // Without a choice by row the score is the sum of columns, and with all columns there is no
  // other.
  set.proven = shape.kept == shape.kept_cols || shape.kept_cols == shape.cols;
  return set;
}

void improve_by_swaps(const BlockScores& block, ColumnSet& set) {
  const AlignedInts list = hwy::AllocateAligned<std::int32_t>(block.list_size());
  ColumnSet swapped = set;
  std::int32_t score = integer_score(block, set, list.get());
  for (Swap swap = best_swap(block, swapped, list.get()); swap.score > score;
       swap = best_swap(block, swapped, list.get())) {
    score = swap.score;
    std::ranges::replace(swapped.columns, swap.out, swap.in);
    std::ranges::sort(swapped.columns);
  }
  swapped.score = block.score(swapped.columns);
  if (swapped.score > set.score) set = std::move(swapped);
}

ColumnSet choose_columns(const BlockScores& block, ColumnSearch search) {
  ColumnSet set = greedy_columns(block);
  if (set.proven) return set;
  const bool evident = evidently_best(block, set);
  set.proven = evident && (is_first(set) || search == ColumnSearch::greedy);
  if (set.proven || search == ColumnSearch::greedy) return set;

  if (!evident) improve_by_swaps(block, set);
  const bool small = block.shape().cols <= kAutomaticExactCols;
  if (search == ColumnSearch::exact || (search == ColumnSearch::automatic && small)) {
    ExactSearch(block, set, search == ColumnSearch::exact ? kExactBudget : kAutomaticBudget).run();
  } else {
    set.proven = evidently_best(block, set);
  }
  return set;
}

}  // namespace coppice::prune
