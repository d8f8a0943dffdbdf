// Pruning with compensation: the weights that stay are moved so that the layer's output changes
// least on the inputs that were seen.
//
//   coppice::InputStatistics input = file.read(*file.input_of(name));   // statistics.h
//   auto result = coppice::obs_prune(weights, rows, cols, coppice::Pattern::parse("64:2:8"),
//                                    input.gram);
//   result.error;                                           // ‖XW − XŴ‖ / ‖XW‖
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "coppice/mask.h"
#include "coppice/pattern.h"
#include "coppice/prune.h"
#include "coppice/statistics.h"

namespace coppice {

namespace prune {
class LayerEngine;
struct UpdateProblem;
}  // namespace prune

/// Where the linear algebra of a layer is done. Without one it is the CPU; cuda_update.h has a GPU.
class UpdateEngine {
 public:
  virtual ~UpdateEngine();
  /// For the library.
  virtual std::unique_ptr<prune::LayerEngine> open(const prune::UpdateProblem& problem) const = 0;
};

/// How a group's mask is chosen, and what compensates for it.
enum class GroupChoice : std::uint8_t {
  automatic,  ///< joint where it is affordable, saliency elsewhere
  saliency,   ///< weight by weight, columns from left to right (SparseGPT, section 3)
  joint,      ///< sets of weights by what they cost together; refused where there are too many
};

struct ObsOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< see WeightShape
  double damping = 0.01;  ///< added to the diagonal, in units of its mean
  int block = 128;        ///< columns after which the rest is updated; rounded to whole groups
  GroupChoice choice = GroupChoice::automatic;
  ColumnSearch columns = ColumnSearch::automatic;  ///< V:N:M, choice by saliency
  int refinements = 20;  ///< steps of conjugate gradients on the support; 0: the sweep alone
  int threads = 1;
  const UpdateEngine* engine = nullptr;  ///< null: the CPU
};

struct AdmmOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< see WeightShape
  double damping = 0.01;  ///< added to the diagonal, in units of its mean
  double penalty = 0.1;   ///< to begin with; the diagonal of the scaled system is 1
  int iterations = 300;   ///< at most
  int refinements = 20;   ///< steps of conjugate gradients on the support
  ColumnSearch columns = ColumnSearch::automatic;
  int threads = 1;
  const UpdateEngine* engine = nullptr;  ///< null: the CPU
};

/// How `fisher_prune` chooses what goes.
enum class FisherSearch : std::uint8_t {
  automatic,   ///< exhaustive where it is affordable, pairwise elsewhere
  exhaustive,  ///< every set that the pattern allows in a group; refused where there are too many
  pairwise,    ///< two at a time, the pair that costs least given those before
};

struct FisherOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< see WeightShape
  double damping = 0.01;  ///< added to the diagonal, in units of its mean over the weight
  FisherSearch search = FisherSearch::automatic;
  int threads = 1;
};

/// Errors are ‖XW − XŴ‖ / ‖XW‖ on the statistics given, see output_error.h; of `fisher_prune`
/// √(δᵀFδ / wᵀFw), w being the weights, δ their change and F the mean of g gᵀ in its blocks.
struct UpdateResult {
  Mask mask;
  double error = 0;                  ///< of the new weights
  double uncompensated_error = 0;    ///< the same mask, the kept weights as they were
  double magnitude_error = 0;        ///< magnitude pruning, for comparison
  double damping = 0;                ///< used in the end
  std::int64_t dead_columns = 0;     ///< inputs that were always zero
  std::int64_t magnitude_rows = 0;   ///< rows for which magnitude pruning was better, and was kept
  std::int64_t admm_rows = 0;        ///< rows whose support is ADMM's own (admm_prune)
  int iterations = 0;                ///< of ADMM, in the rows that took the most
  std::int64_t unproven_blocks = 0;  ///< see MaskResult
  std::string note;                  ///< what was done beyond the usual, in a line; often empty
};

/// Optimal Brain Surgeon for every pattern (docs/second_order.md): groups from left to right, each
/// with the mask that costs least given the weights before it, the weights after it compensating.
/// Then all weights of the support together, towards those that change the output least.
///
/// Inputs that were always zero cost nothing to prune. Where the Gram matrix cannot be factorised
/// the damping is raised, and if that does not help the result is that of magnitude pruning. No
/// vector of rows ends with a larger error than magnitude pruning gives it. The result does not
/// depend on `threads`.
/// @param weights [rows, cols], row-major; replaced, with +0 where the mask is clear
/// @param gram [cols, cols], the sum of x xᵀ over inputs x; only the diagonal and above are read
/// Throws InvalidArgument for sizes that do not fit, weights or statistics that are not finite,
/// options out of range; Cancelled.
UpdateResult obs_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                       const Pattern& pattern, std::span<const double> gram,
                       const ObsOptions& = {});

/// ADMM on the output's change, then conjugate gradients on the support found (ALPS, section 3).
/// OBS's support is refined in the same way, and each vector of rows gets the better of the two: no
/// vector ends with a larger error than with `obs_prune`, its default choice and as many
/// refinements. Takes one
/// decomposition of the Gram matrix, and for each iteration 4 * rows * cols^2 operations.
/// Parameters, hard inputs and errors as with `obs_prune`.
UpdateResult admm_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                        const Pattern& pattern, std::span<const double> gram,
                        const AdmmOptions& = {});

/// Prunes by the second-order change of the loss, from gradients (Optimal BERT Surgeon; VENOM,
/// section 5), with every pattern: F is block-diagonal, each row has blocks of its own, and
/// correlations between rows are ignored. Groups from left to right, each with the sets that cost
/// least given what went before; all weights of a block that stay compensate, exactly for the mask
/// that comes out. Weights without any gradients go by magnitude. No vector of rows ends with a
/// larger loss δᵀFδ than magnitude pruning gives it. Parameters and errors as with `obs_prune`.
UpdateResult fisher_prune(std::span<float> weights, std::int64_t rows, std::int64_t cols,
                          const Pattern& pattern, const FisherStatistics& fisher,
                          const FisherOptions& = {});

}  // namespace coppice
