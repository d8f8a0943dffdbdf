#include "prune/second_order/fisher_choice.h"

#include <fmt/format.h>

#include <map>
#include <span>
#include <tuple>

#include "coppice/error.h"
#include "prune/second_order/fisher_curvature.h"

namespace coppice::prune {
FisherChoice::FisherChoice(const Grid& grid, FisherSearch search)
    : grid_(grid), sets_(grid.groups().size()) {
  if (search == FisherSearch::pairwise) return;
  std::map<std::tuple<int, int, int, int>, std::shared_ptr<const KeptSets>> known;
  for (std::size_t g = 0; g < sets_.size(); ++g) {
    const ColumnGroup& group = grid.groups()[g];
    const auto [at, added] =
        known.try_emplace({group.blocks, group.block_cols, group.kept_blocks, group.kept}, nullptr);
    if (added) at->second = list_kept_sets(group);
    if (at->second == nullptr && search == FisherSearch::exhaustive)
      throw InvalidArgument(
          fmt::format("{} has too many sets of weights to look at all of them; choose by pairs",
                      grid.pattern().to_string()));
    sets_[g] = at->second;
  }
}

std::vector<KeptColumns> FisherChoice::by_sets(const ColumnGroup& group, const KeptSets& sets,
                                               const FisherRows& rows) {
  std::vector<double> savings;
  savings.reserve(static_cast<std::size_t>(rows.rows() * sets.sets()));
  SmallSystem scratch;
  for (const GroupRow& row : group_rows(rows, group)) {
    const GroupCurvature curvature(row);
    for (std::int64_t s = 0; s < sets.sets(); ++s)
      savings.push_back(
          curvature.saving(std::span(sets.set(s), static_cast<std::size_t>(sets.kept)), scratch));
  }
  const std::int64_t outer = best_outer(sets, savings, rows.rows());
  std::vector<KeptColumns> kept(static_cast<std::size_t>(rows.rows()));
  for (std::int64_t r = 0; r < rows.rows(); ++r) {
    const std::uint8_t* set = sets.set(best_inner(sets, outer, savings.data() + r * sets.sets()));
    kept[static_cast<std::size_t>(r)].assign(set, set + sets.kept);
  }
  return kept;
}

void FisherChoice::prune(std::size_t index, FisherRows& rows, std::int64_t first_row,
                         Mask& mask) const {
  const ColumnGroup& group = grid_.groups()[index];
  const KeptSets* sets = sets_[index].get();
  const auto kept = sets != nullptr ? by_sets(group, *sets, rows) : choose_by_pairs(group, rows);
  for (std::int64_t r = 0; r < rows.rows(); ++r) {
    for (const std::int32_t c : kept[static_cast<std::size_t>(r)])
      mask.set(first_row + r, group.col + c);
    for (std::int64_t col = group.col; col < group.col + group.cols; ++col)
      if (!mask.get(first_row + r, col)) rows.prune(r, col);
  }
}

}  // namespace coppice::prune
