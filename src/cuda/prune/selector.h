// The ordinary choice of a pattern (select_mask), of scores in device memory. Not part of the
// public API.
#pragma once

#include <optional>
#include <vector>

#include "coppice/prune.h"
#include "cuda/compress/plan.h"

namespace coppice::cuda {

/// Chooses as select_mask does, with the kernels of magnitude compression. What they lack (V:N:M
/// that does not keep 2 of 4 columns, searches that were asked for by name) is copied to the host
/// and chosen there.
class Selector {
 public:
  /// The grid must outlive it.
  Selector(const Grid& grid, ColumnSearch search, int threads);

  /// scores: [rows, cols], of which the absolute values count. Writes 1 to `keep` for what is kept
  /// and 0 elsewhere; rows with a penalty of 0 stay as they are.
  void choose(const float* scores, const float* penalty, std::uint8_t* keep);

  /// The same in one group. scores: [rows, group.cols]; keep: of its first column, in [rows, cols].
  /// @returns vectors whose columns are not proven to be the best
  std::int64_t choose_group(std::size_t group, const float* scores, std::uint8_t* keep);

 private:
  struct Place;
  void run(const float* scores, const Place& place, const float* penalty, std::uint8_t* keep);
  std::int64_t run_on_host(const float* scores, const WeightShape& shape, const float* penalty,
                           std::uint8_t* keep) const;

  const Grid& grid_;
  ColumnSearch search_;
  int threads_;
  std::optional<ChoicePlan> plan_;  // none: on the host
  DeviceBuffer own_groups_;         // each group as if it were the only one
  DeviceBuffer group_of_col_, no_group_, owner_of_row_, workspace_, values_;
};

}  // namespace coppice::cuda
