#include "cuda/prune/selector.h"

#include <numeric>

#include "cuda/prune/kernels.h"
#include "cuda/prune/transfer.h"

namespace coppice::cuda {
namespace {

std::optional<Way> way_of(const Pattern& pattern, ColumnSearch search) {
  if (pattern.has_inner()) {
    if (pattern.kept != 4 || pattern.inner_kept != 2 || search != ColumnSearch::automatic)
      return std::nullopt;
    return pattern.group <= kSmallGroup ? Way::small_vnm : Way::vnm_search;
  }
  return pattern.vec_rows > 1 || pattern.block_cols > 1 ? Way::blocks : Way::elements;
}

std::vector<ColumnGroup> alone(std::span<const ColumnGroup> groups) {
  std::vector<ColumnGroup> result(groups.begin(), groups.end());
  for (ColumnGroup& group : result) group.col = group.value = group.live_col = 0;
  return result;
}

std::vector<std::int32_t> owners(const Grid& grid, Way way) {
  std::vector<std::int32_t> owner(static_cast<std::size_t>(grid.rows()));
  std::iota(owner.begin(), owner.end(), 0);
  if (way == Way::elements) return owner;
  std::int32_t index = 0;
  for (const RowVector& vector : grid.vectors())
    std::fill_n(owner.begin() + vector.row, vector.rows, index++);
  return owner;
}

std::vector<std::int32_t> groups_of(const Grid& grid) {
  std::vector<std::int32_t> group_of(static_cast<std::size_t>(grid.cols()));
  std::int32_t index = 0;
  for (const ColumnGroup& group : grid.groups())
    std::fill_n(group_of.begin() + group.col, group.cols, index++);
  return group_of;
}

}  // namespace

/// What is chosen: all groups, or one.
struct Selector::Place {
  const ColumnGroup* groups;
  const std::int32_t* group_of_col;
  std::int32_t group_count;
  std::int64_t cols, kept, live_cols;
};

Selector::Selector(const Grid& grid, ColumnSearch search, int threads)
    : grid_(grid), search_(search), threads_(threads) {
  const std::optional<Way> way = way_of(grid.pattern(), search);
  if (!way) return;
  plan_.emplace(grid, *way, true);
  own_groups_ = upload(std::span<const ColumnGroup>(alone(grid.groups())));
  group_of_col_ = upload(std::span<const std::int32_t>(groups_of(grid)));
  no_group_ = upload(std::span<const std::int32_t>(
      std::vector<std::int32_t>(static_cast<std::size_t>(grid.cols()))));
  owner_of_row_ = upload(std::span<const std::int32_t>(owners(grid, *way)));
  workspace_ = DeviceBuffer(static_cast<std::size_t>(plan_->workspace_bytes()));
  values_ = DeviceBuffer(static_cast<std::size_t>(grid.rows() * grid.kept()) * sizeof(float));
}

void Selector::run(const float* scores, const Place& place, const float* penalty,
                   std::uint8_t* keep) {
  CompressArguments a = plan_->arguments(workspace_.as<std::byte>());
  a.dense = scores;
  a.row_stride = a.cols = place.cols;
  a.wide = place.cols % 4 == 0;  // whole allocations
  a.groups = place.groups;
  a.group_count = place.group_count;
  a.kept = place.kept;
  a.live_cols = place.live_cols;
  a.values = values_.data();
  check(cudaMemsetAsync(a.nan, 0xff, sizeof(*a.nan), nullptr), "clearing the place of a NaN");
  launch_choices(plan_->way(), a, Dtype::f32, nullptr);
  keep_chosen({.groups = place.groups,
               .group_of_col = place.group_of_col,
               .owner_of_row = owner_of_row_.as<std::int32_t>(),
               .choices = a.choices,
               .choice_words = a.choice_words,
               .group_count = place.group_count,
               .picks = a.picks,
               .penalty = penalty,
               .keep = keep,
               .rows = a.rows,
               .cols = place.cols,
               .stride = grid_.cols()});
}

std::int64_t Selector::run_on_host(const float* scores, const WeightShape& shape,
                                   const float* penalty, std::uint8_t* keep) const {
  const std::vector<float> host = download(scores, shape.rows * shape.cols);
  const MaskResult result = select_mask(dense_view(host, shape.rows, shape.cols), grid_.pattern(),
                                        {.row_segments = shape.row_segments,
                                         .col_segments = shape.col_segments,
                                         .columns = search_,
                                         .threads = threads_});
  const DeviceBuffer words = upload_mask(result.mask);
  unpack_mask(words.as<std::uint64_t>(), penalty, keep, shape.rows, shape.cols, grid_.cols());
  return result.unproven_blocks;
}

void Selector::choose(const float* scores, const float* penalty, std::uint8_t* keep) {
  if (!plan_) {
    run_on_host(scores, grid_.shape(), penalty, keep);
    return;
  }
  const Place place{plan_->arguments(nullptr).groups,
                    group_of_col_.as<std::int32_t>(),
                    static_cast<std::int32_t>(grid_.groups().size()),
                    grid_.cols(),
                    grid_.kept(),
                    grid_.live_cols()};
  run(scores, place, penalty, keep);
}

std::int64_t Selector::choose_group(std::size_t index, const float* scores, std::uint8_t* keep) {
  const ColumnGroup& group = grid_.groups()[index];
  if (!plan_)
    return run_on_host(scores, {grid_.rows(), group.cols, grid_.shape().row_segments, {}}, nullptr,
                       keep);
  const Place place{own_groups_.as<ColumnGroup>() + index,
                    no_group_.as<std::int32_t>(),
                    1,
                    group.cols,
                    group.kept,
                    group.kept_cols};
  run(scores, place, nullptr, keep);
  // Larger groups are searched by exchanges, and not proven.
  return plan_->way() == Way::vnm_search && group.cols > kExactGroup ? std::ssize(grid_.vectors())
                                                                     : 0;
}

}  // namespace coppice::cuda
