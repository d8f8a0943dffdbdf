#include "prune/exact_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

namespace coppice::prune {
namespace {

// Puts columns into the order of falling gains; of equal gains the lower column is first.
void sort_by_gain(std::span<std::uint8_t> columns, std::span<std::int32_t> gains) {
  std::array<std::int64_t, 256> keys;  // gain and column in one
  for (std::size_t i = 0; i < columns.size(); ++i)
    keys[i] = std::int64_t{gains[i]} * 256 + (255 - columns[i]);
  std::sort(keys.begin(), keys.begin() + std::ssize(columns), std::greater<>());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    columns[i] = static_cast<std::uint8_t>(255 - (keys[i] & 255));
    gains[i] = static_cast<std::int32_t>(keys[i] >> 8);
  }
}

}  // namespace

ExactSearch::ExactSearch(const BlockShape& largest)
    : levels_(static_cast<std::size_t>(largest.kept_cols)),
      best_list_(hwy::AllocateAligned<std::int32_t>(
          static_cast<std::size_t>((largest.kept + 1) * largest.pitch))) {
  for (Level& level : levels_) {
    level.list = hwy::AllocateAligned<std::int32_t>(largest.list_size());
    level.floor = hwy::AllocateAligned<std::int32_t>(static_cast<std::size_t>(largest.pitch));
  }
}

void ExactSearch::run(const BlockScores& block, ColumnSet& best, std::int64_t budget) {
  block_ = &block;
  best_ = &best;
  budget_ = budget;
  kept_ = static_cast<std::size_t>(block.shape().kept);
  kept_cols_ = static_cast<std::size_t>(block.shape().kept_cols);
  grown_.clear();
  set_needed();
  const Candidates all = bound_by_best();
  visit_children(0, all, 0, root_bound_);
  best.proven = budget_ >= 0;
}

void ExactSearch::set_needed() {
  needed_ = static_cast<std::int64_t>(std::floor(block_->to_units(best_->score))) - block_->slack();
}

// For the first columns: the floor is the middle of the last score that a row of the best set keeps
// and the first that it does not.
ExactSearch::Candidates ExactSearch::bound_by_best() {
  const BlockShape& shape = block_->shape();
  const auto cols = static_cast<std::size_t>(shape.cols),
             pitch = static_cast<std::size_t>(shape.pitch);
  Level& root = levels_[0];
  const std::span<std::uint8_t> columns(root.columns.data(), cols);
  std::iota(columns.begin(), columns.end(), std::uint8_t{0});
  std::fill_n(root.list.get(), shape.list_size(), 0);
  block_->sum_above(root.list.get(), columns, 0, column_sums_.data());

  block_->make_list(best_->columns, best_list_.get(), 1);
  const std::int32_t* first_dropped = best_list_.get() + shape.list_size();
  const std::int32_t* last_kept = first_dropped - pitch;
  for (std::size_t r = 0; r < pitch; ++r) root.floor[r] = (last_kept[r] + first_dropped[r]) / 2;
  const std::int32_t sum = block_->sum_of(root.floor.get(), 1);
  block_->sum_above(root.floor.get(), columns, sum, root.gains.data());
  budget_ -= 2 * std::ssize(columns);
  root_bound_ = std::int64_t{sum} * shape.kept;
  sort_by_gain(columns, {root.gains.data(), cols});
  return {columns, {root.gains.data(), cols}};
}

// The set has just got column `added`; `candidates` are what it may still get, with the gains that
// `bound` was made with.
void ExactSearch::visit(std::size_t depth, std::uint8_t added, const Candidates& candidates,
                        std::int64_t score, std::int64_t bound) {
  Level& level = levels_[depth];
  const std::int32_t* list = levels_[depth - 1].list.get();
  // While rows have places left, columns add all of themselves, which says nothing: the bound of
  // the root stays.
  if (depth < kept_) {
    block_->push(list, added, level.list.get());
    return visit_children(depth, candidates, score, bound);
  }
  const std::size_t count = candidates.columns.size();
  budget_ -= static_cast<std::int64_t>(count) + 1;
  if (budget_ < 0) return;
  const std::int32_t sum = block_->push_floor(list, added, level.floor.get());
  const std::int64_t largest =
      block_->sum_above(level.floor.get(), candidates.columns, sum, level.gains.data());
  const std::size_t missing = kept_cols_ - depth;
  if (score + static_cast<std::int64_t>(missing) * largest < needed_) return;
  if (missing == 1) {
    for (std::size_t i = 0; i < count; ++i)
      if (score + level.gains[i] >= needed_)
        consider(candidates.columns[i], score + level.gains[i]);
    return;
  }
  block_->push(list, added, level.list.get());
  std::ranges::copy(candidates.columns, level.columns.begin());
  const std::span<std::uint8_t> columns(level.columns.data(), count);
  const std::span<std::int32_t> gains(level.gains.data(), count);
  sort_by_gain(columns, gains);
  visit_children(depth, {columns, gains}, score, score);
}

// Takes the candidates by falling gain, each with those behind it, so that the bound of a child is
// a sum of neighbours and never grows.
void ExactSearch::visit_children(std::size_t depth, const Candidates& candidates,
                                 std::int64_t score, std::int64_t bound) {
  const std::size_t missing = kept_cols_ - depth, count = candidates.columns.size();
  for (std::size_t i = 0; i + missing <= count && budget_ >= 0; ++i) {
    // With the next ones, and any as the last.
    std::int64_t all_but_last = bound;
    for (std::size_t j = i; j + 1 < i + missing; ++j) all_but_last += candidates.gains[j];
    std::size_t end = i + missing - 1;
    while (end < count && all_but_last + candidates.gains[end] >= needed_) ++end;
    if (end < i + missing) break;

    const std::uint8_t col = candidates.columns[i];
    const std::int32_t gain = candidates.gains[i];
    const std::int64_t grown_score = score + (depth < kept_ ? column_sums_[col] : gain);
    grown_.push_back(col);
    visit(depth + 1, col,
          {candidates.columns.subspan(i + 1, end - i - 1),
           candidates.gains.subspan(i + 1, end - i - 1)},
          grown_score, bound + gain);
    grown_.pop_back();
  }
}

void ExactSearch::consider(std::uint8_t last, std::int64_t score) {
  leaf_ = grown_;
  leaf_.push_back(last);
  std::ranges::sort(leaf_);
  const double exact = block_->slack() == 0 ? block_->from_units(score) : block_->score(leaf_);
  if (exact < best_->score) return;
  if (exact == best_->score && !std::ranges::lexicographical_compare(leaf_, best_->columns)) return;
  best_->score = exact;
  best_->columns = leaf_;
  set_needed();
}

}  // namespace coppice::prune
