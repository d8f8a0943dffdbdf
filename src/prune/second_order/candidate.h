// What the methods that move weights share: their problem, ways to solve it, and the better of two.
// Not part of the public API.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coppice/grid.h"
#include "coppice/update.h"
#include "prune/second_order/gram_view.h"

namespace coppice::prune {

/// A weight to prune, checked.
struct UpdateProblem {
  std::span<const float> weights;  ///< [rows, cols]
  Grid grid;
  GramView gram;
  ColumnSearch columns = ColumnSearch::automatic;
  int threads = 1;
  float largest = 0;  ///< |weight|

  /// Throws InvalidArgument if sizes do not fit or numbers are not finite.
  UpdateProblem(std::span<const float> weights, Grid grid, std::span<const double> gram,
                ColumnSearch columns, int threads);
};

/// Throws InvalidArgument if it is not finite or less than 0.
void check_damping(double damping);

/// Consecutive vectors that are pruned together: enough rows for matrix products to be fast. Fixed
/// by the shape, so that results do not depend on the number of threads.
std::vector<std::span<const RowVector>> split_vectors(const Grid& grid);

/// Pruned weights, and what each row changes in the output, squared.
struct Candidate {
  std::vector<float> weights;
  Mask mask;
  std::vector<double> errors;
};

class LayerEngine;

/// Zeros, nothing kept, no errors.
Candidate empty_candidate(const UpdateProblem& problem);

/// As apply_mask, for weights `[rows, cols]` that lie packed.
void clear_unkept(std::vector<float>& weights, const Mask& mask, int threads);

Candidate magnitude_candidate(const UpdateProblem& problem, LayerEngine& engine);

/// Takes over the vectors in which `other` changes the output less. @returns their rows
std::int64_t take_better(Candidate& candidate, const Candidate& other, const Grid& grid);

/// Adds to a note that consists of parts.
void add_note(std::string& note, std::string_view part);

/// Writes the better of `best` and `magnitude` for each vector to `weights`, and what there is to
/// say about it to `result`.
void finish(const UpdateProblem& problem, LayerEngine& engine, Candidate best,
            const Candidate& magnitude, std::span<float> weights, UpdateResult& result);

}  // namespace coppice::prune
