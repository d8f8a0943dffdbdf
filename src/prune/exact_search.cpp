#include "prune/exact_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace coppice::prune {
namespace {

// Gain and column in one integer: larger gains first, of equal ones the lower column.
std::int64_t order_key(std::int32_t gain, std::uint8_t col) {
  return std::int64_t{gain} * 256 + (255 - col);
}
std::int64_t gain_of(std::int64_t key) { return key >> 8; }
std::uint8_t column_of(std::int64_t key) { return static_cast<std::uint8_t>(255 - (key & 255)); }

}  // namespace

ExactSearch::ExactSearch(const BlockScores& block, ColumnSet& best, std::int64_t budget)
    : block_(block), best_(best), budget_(budget) {
  const BlockShape& shape = block.shape();
  levels_.resize(static_cast<std::size_t>(shape.kept_cols));
  for (Level& level : levels_) {
    level.list = hwy::AllocateAligned<std::int32_t>(block.list_size());
    level.gains.resize(static_cast<std::size_t>(shape.cols));
  }
  std::fill_n(levels_[0].list.get(), block.list_size(), 0);
  levels_[0].candidates.resize(static_cast<std::size_t>(shape.cols));
  std::iota(levels_[0].candidates.begin(), levels_[0].candidates.end(), std::uint8_t{0});
  column_sums_.resize(static_cast<std::size_t>(shape.cols));
  block.sum_above(levels_[0].list.get(), levels_[0].candidates, column_sums_.data());
}

void ExactSearch::run() {
  set_needed();
  visit(0, 0);
  best_.proven = budget_ >= 0;
}

void ExactSearch::set_needed() {
  needed_ = static_cast<std::int64_t>(std::floor(block_.to_units(best_.score))) - block_.slack();
}

bool ExactSearch::compute_gains(std::size_t depth) {
  Level& level = levels_[depth];
  budget_ -= std::ssize(level.candidates);
  if (budget_ < 0) return false;
  // As long as a row has places left, a column adds all of itself.
  if (static_cast<int>(depth) < block_.shape().kept) {
    for (std::size_t i = 0; i < level.candidates.size(); ++i)
      level.gains[i] = column_sums_[level.candidates[i]];
    return true;
  }
  block_.sum_above(level.list.get(), level.candidates, level.gains.data());
  for (std::size_t i = 0; i < level.candidates.size(); ++i) level.gains[i] -= level.last_sum;
  return true;
}

std::int64_t ExactSearch::largest_gains(const Level& level, std::size_t count) const {
  const auto size = static_cast<std::ptrdiff_t>(level.candidates.size());
  top_.assign(level.gains.begin(), level.gains.begin() + size);
  std::ranges::nth_element(top_, top_.begin() + static_cast<std::ptrdiff_t>(count) - 1,
                           std::greater<>());
  return std::accumulate(top_.begin(), top_.begin() + static_cast<std::ptrdiff_t>(count),
                         std::int64_t{0});
}

void ExactSearch::visit(std::size_t depth, std::int64_t score) {
  Level& level = levels_[depth];
  const std::size_t missing = levels_.size() - depth;
  if (!compute_gains(depth)) return;
  if (missing == 1) {
    for (std::size_t i = 0; i < level.candidates.size(); ++i) {
      if (score + level.gains[i] < needed_) continue;
      grown_.push_back(level.candidates[i]);
      visit_leaf(score + level.gains[i]);
      grown_.pop_back();
    }
    return;
  }
  if (score + largest_gains(level, missing) >= needed_) visit_children(depth, score);
}

// Takes the candidates by falling gain, each with those behind it, so that the bound of a child is
// a sum of neighbours and never grows.
void ExactSearch::visit_children(std::size_t depth, std::int64_t score) {
  Level& level = levels_[depth];
  Level& next = levels_[depth + 1];
  const std::size_t missing = levels_.size() - depth;
  level.ordered.clear();
  for (std::size_t i = 0; i < level.candidates.size(); ++i)
    level.ordered.push_back(order_key(level.gains[i], level.candidates[i]));
  std::ranges::sort(level.ordered, std::greater<>());

  for (std::size_t i = 0; i + missing <= level.ordered.size() && budget_ >= 0; ++i) {
    std::int64_t all_but_one = score;
    for (std::size_t j = i; j + 1 < i + missing; ++j) all_but_one += gain_of(level.ordered[j]);
    if (all_but_one + gain_of(level.ordered[i + missing - 1]) < needed_) break;
    next.candidates.clear();
    for (std::size_t j = i + 1; j < level.ordered.size(); ++j) {
      const bool first = j + 1 < i + missing;
      if (!first && all_but_one + gain_of(level.ordered[j]) < needed_) break;
      next.candidates.push_back(column_of(level.ordered[j]));
    }
    const std::uint8_t col = column_of(level.ordered[i]);
    next.last_sum = block_.push(level.list.get(), col, next.list.get());
    grown_.push_back(col);
    visit(depth + 1, score + gain_of(level.ordered[i]));
    grown_.pop_back();
  }
}

void ExactSearch::visit_leaf(std::int64_t score) {
  leaf_ = grown_;
  std::ranges::sort(leaf_);
  const double exact = block_.slack() == 0 ? block_.from_units(score) : block_.score(leaf_);
  if (exact < best_.score) return;
  if (exact == best_.score && !std::ranges::lexicographical_compare(leaf_, best_.columns)) return;
  best_.score = exact;
  best_.columns = leaf_;
  set_needed();
}

}  // namespace coppice::prune
