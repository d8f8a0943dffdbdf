#include "cuda/compress/plan.h"

namespace coppice::cuda {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + ChoicePlan::kAlignment - 1) / ChoicePlan::kAlignment * ChoicePlan::kAlignment;
}

}  // namespace

ChoicePlan::ChoicePlan(const Grid& grid, Way way, bool with_choices)
    : way_(way), groups_(upload(grid.groups())), vectors_(upload(grid.vectors())) {
  const Pattern& pattern = grid.pattern();
  arguments_.rows = grid.rows();
  arguments_.cols = grid.cols();
  arguments_.groups = groups_.as<ColumnGroup>();
  arguments_.vectors = vectors_.as<RowVector>();
  arguments_.group_count = static_cast<std::int32_t>(grid.groups().size());
  arguments_.vector_count = static_cast<std::int32_t>(grid.vectors().size());
  arguments_.group_cols = pattern.group * pattern.block_cols;
  arguments_.blocks = pattern.group;
  arguments_.vec_rows = pattern.vec_rows;
  arguments_.kept = grid.kept();
  arguments_.live_cols = grid.live_cols();
  arguments_.choice_words = (pattern.group + 31) / 32;
  plan_workspace(with_choices);
}

void ChoicePlan::plan_workspace(bool with_choices) {
  CompressArguments& a = arguments_;
  const std::int64_t group_count = a.group_count, vector_count = a.vector_count;
  if (with_choices)
    sizes_.choices =
        (way_ == Way::elements ? a.rows : vector_count) * group_count * a.choice_words * 4;
  if (way_ == Way::small_vnm || way_ == Way::vnm_search) sizes_.picks = group_count * a.rows;
  if (way_ == Way::blocks) {
    sizes_.block_sums = vector_count * group_count * a.blocks * std::int64_t{sizeof(double)};
    sizes_.live = vector_count * a.live_cols * 4;
  }
  if (way_ == Way::vnm_search) {
    int device = 0, multiprocessors = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
          "asking for the number of multiprocessors");
    a.search_blocks = kSearchBlocks * multiprocessors;
    const std::int64_t ints = search_ints(a.group_cols, a.vec_rows);
    a.scratch_ints = ints * 4 <= kSearchSharedBytes ? 0 : ints;
    sizes_.scratch = a.search_blocks * a.scratch_ints * 4;
  }
}

std::int64_t ChoicePlan::workspace_bytes() const {
  return aligned(sizes_.nan) + aligned(sizes_.choices) + aligned(sizes_.picks) +
         aligned(sizes_.block_sums) + aligned(sizes_.live) + aligned(sizes_.scratch);
}

CompressArguments ChoicePlan::arguments(std::byte* workspace) const {
  CompressArguments a = arguments_;
  auto take = [&workspace]<typename T>(T*& pointer, std::int64_t bytes) {
    pointer = bytes > 0 ? reinterpret_cast<T*>(workspace) : nullptr;
    workspace += aligned(bytes);
  };
  take(a.nan, sizes_.nan);
  take(a.choices, sizes_.choices);
  take(a.picks, sizes_.picks);
  take(a.block_sums, sizes_.block_sums);
  take(a.live, sizes_.live);
  take(a.scratch, sizes_.scratch);
  return a;
}

void launch_choices(Way way, const CompressArguments& a, Dtype dtype, cudaStream_t stream) {
  switch (way) {
    case Way::elements:
      return launch_elements(a, dtype, stream);
    case Way::blocks:
      return launch_blocks(a, dtype, stream);
    case Way::small_vnm:
      return launch_small_vnm(a, dtype, stream);
    case Way::vnm_search:
      return launch_vnm_search(a, dtype, stream);
    case Way::two_four:
      return;
  }
}

}  // namespace coppice::cuda
