// One pass over the columns that prunes and compensates. Not part of the public API.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "coppice/grid.h"
#include "coppice/mask.h"
#include "coppice/update.h"
#include "prune/second_order/inverse_factor.h"
#include "prune/second_order/joint_choice.h"

namespace coppice::prune {

/// Consecutive columns after which all later columns are brought up to date at once. It consists of
/// whole groups, or is a part of a group that is larger than a block.
struct ColumnBlock {
  std::int64_t begin = 0, end = 0;
  std::size_t first_group = 0, last_group = 0;  ///< the groups that it has columns of, inclusive
};

std::vector<ColumnBlock> split_columns(const Grid& grid, int block);

/// Prunes rows with one factor. Rows of different vectors do not depend on each other.
class ObsSweep {
 public:
  /// Throws InvalidArgument if the choice is to be joint and cannot be.
  /// @param largest  the largest |weight|: keeps squares inside the range of floats
  ObsSweep(const Grid& grid, const InverseFactor& factor, const ObsOptions& options, float largest);

  /// Groups in which the choice is joint.
  std::int64_t joint_groups() const { return joint_groups_; }

  /// The plan of a sweep, for one that runs elsewhere.
  const Grid& grid() const { return grid_; }
  const InverseFactor& factor() const { return factor_; }
  ColumnSearch search() const { return search_; }
  std::span<const ColumnBlock> blocks() const { return blocks_; }
  std::int64_t widest_block() const { return error_stride_; }
  /// Of the saliencies w² / U_jj², in units that keep them small; [cols].
  const std::vector<double>& saliency_factors() const { return saliency_factors_; }
  /// Null: by saliency.
  const JointGroup* joint(std::size_t group) const { return joint_[group].get(); }

  /// Replaces the rows of some consecutive vectors, and sets their bits. weights: the whole matrix.
  /// @returns vectors times groups whose columns are not proven to be the best
  std::int64_t run(std::span<const RowVector> vectors, float* weights, Mask& mask) const;

 private:
  struct State;  // of one run
  void choose(State& state, std::size_t group, std::int64_t block_begin) const;
  void eliminate(State& state, const ColumnGroup& group, const ColumnBlock& block) const;
  void propagate_group(State& state, const ColumnGroup& group, const ColumnBlock& block) const;
  void propagate_block(State& state, const ColumnBlock& block) const;

  const Grid& grid_;
  const InverseFactor& factor_;
  ColumnSearch search_;
  std::vector<ColumnBlock> blocks_;
  std::vector<double> saliency_factors_;            // [cols]
  std::vector<std::unique_ptr<JointGroup>> joint_;  // [groups], null: by saliency
  std::int64_t joint_groups_ = 0, error_stride_ = 0;
};

}  // namespace coppice::prune
