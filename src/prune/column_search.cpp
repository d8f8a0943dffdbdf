#include "prune/column_search.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace coppice::prune {
namespace {

constexpr int kAutomaticExactCols = 32;
// Sums over a column that an exact search may take for a block. The first is more than any choice
// of 4 columns of 32 can need; the second is a second or so.
constexpr std::int64_t kAutomaticBudget = 1 << 18;
constexpr std::int64_t kExactBudget = 1 << 26;

bool is_first_set(const ColumnSet& set) { return set.columns.back() + 1u == set.columns.size(); }

}  // namespace

ColumnChooser::ColumnChooser(const BlockShape& largest, ColumnSearch search)
    : search_(search),
      block_(largest),
      list_(hwy::AllocateAligned<std::int32_t>(largest.list_size())) {
  if (search == ColumnSearch::exact || search == ColumnSearch::automatic)
    exact_ = std::make_unique<ExactSearch>(largest);
}

const ColumnSet& ColumnChooser::choose(const std::int32_t* keys, const BlockShape& shape) {
  block_.load(keys, shape);
  take_largest_columns();
  // Without a choice by row the score is a sum of columns; with all columns there is no other set.
  set_.proven = shape.kept == shape.kept_cols || shape.kept_cols == shape.cols;
  if (set_.proven) return set_;

  const bool exact = search_ == ColumnSearch::exact ||
                     (search_ == ColumnSearch::automatic && shape.cols <= kAutomaticExactCols);
  const bool best = reaches_bound();
  set_.proven = best && (!exact || is_first_set(set_));
  if (set_.proven || search_ == ColumnSearch::greedy) return set_;

  if (!best) improve_by_swaps();
  if (exact)
    exact_->run(block_, set_, search_ == ColumnSearch::exact ? kExactBudget : kAutomaticBudget);
  else
    set_.proven = reaches_bound();
  return set_;
}

// The columns with the largest sums, of equal ones the lower (Beyond 2:4, section 4).
void ColumnChooser::take_largest_columns() {
  const BlockShape& shape = block_.shape();
  std::array<double, 256> sums;
  set_.columns.resize(static_cast<std::size_t>(shape.cols));
  for (std::size_t col = 0; col < set_.columns.size(); ++col) {
    sums[col] = block_.column_score(static_cast<int>(col));
    set_.columns[col] = static_cast<std::uint8_t>(col);
  }
  if (shape.kept_cols < shape.cols)
    std::nth_element(set_.columns.begin(), set_.columns.begin() + shape.kept_cols,
                     set_.columns.end(), [&](std::uint8_t a, std::uint8_t b) {
                       return sums[a] != sums[b] ? sums[a] > sums[b] : a < b;
                     });
  set_.columns.resize(static_cast<std::size_t>(shape.kept_cols));
  std::ranges::sort(set_.columns);
  set_.score = block_.score(set_.columns);
}

// Exchanges one column for one outside while that gains, the best exchange first.
void ColumnChooser::improve_by_swaps() {
  swapped_ = set_;
  block_.make_list(set_.columns, list_.get());
  std::int32_t score = block_.sum_of(list_.get(), block_.shape().kept);
  for (Swap swap = best_swap(); swap.score > score; swap = best_swap()) {
    score = swap.score;
    std::ranges::replace(swapped_.columns, swap.out, swap.in);
    std::ranges::sort(swapped_.columns);
  }
  swapped_.score = block_.score(swapped_.columns);
  if (swapped_.score > set_.score) std::swap(set_, swapped_);
}

ColumnChooser::Swap ColumnChooser::best_swap() {
  const BlockShape& shape = block_.shape();
  std::array<std::uint8_t, 256> outside;
  std::size_t count = 0;
  for (int col = 0; col < shape.cols; ++col)
    if (!std::ranges::binary_search(swapped_.columns, col))
      outside[count++] = static_cast<std::uint8_t>(col);
  std::array<std::int32_t, 256 + 3> above;
  std::array<std::uint8_t, 256> others;
  Swap best;
  for (std::uint8_t out : swapped_.columns) {
    const auto end = std::ranges::remove_copy(swapped_.columns, others.begin(), out).out;
    block_.make_list({others.begin(), end}, list_.get());
    const std::int32_t rest = block_.sum_of(list_.get(), shape.kept - 1);
    const std::int32_t* last = list_.get() + std::ptrdiff_t{shape.kept - 1} * shape.pitch;
    const std::int32_t largest = block_.sum_above(last, {outside.data(), count}, 0, above.data());
    if (rest + largest <= best.score) continue;
    const auto in = std::ranges::find(above.begin(), above.begin() + std::ssize(outside), largest);
    best = {rest + largest, out, outside[static_cast<std::size_t>(in - above.begin())]};
  }
  return best;
}

}  // namespace coppice::prune
