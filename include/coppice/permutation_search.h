// The search for permutations of channels under which a pattern keeps more.
//
//   auto found = coppice::find_input_permutation(scores, pattern, {.threads = 2});
//   auto mask = coppice::select_mask_permuted(scores, pattern, found.permutation).mask;
//   auto sparse = coppice::compress(dense, mask, pattern, {.input_permutation =
//   found.permutation});
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "coppice/permutation.h"
#include "coppice/prune.h"

namespace coppice {

/// select_mask of the permuted scores; the mask is in the original column order, as `compress` with
/// the same input permutation wants it. Segments count in permuted order.
MaskResult select_mask_permuted(const DenseView& scores, const Pattern& pattern,
                                std::span<const std::uint32_t> input_permutation,
                                const MaskOptions& options = {});

/// How far a search is.
struct PermutationProgress {
  double seconds = 0, limit_seconds = 0;
  std::int64_t passes = 0;  ///< every group (vector) took part in so many exchanges
  double gain = 0;          ///< score kept beyond the start, as the search estimates it
};

struct PermutationOptions {
  std::vector<std::int64_t> row_segments = {}, col_segments = {};  ///< never exchanged across
  int threads = 1;
  std::uint64_t seed = 0;
  /// Groups (vectors) that exchange a channel in one linear assignment. 0: 256, the fast search; as
  /// many as there are: the full assignment.
  std::int64_t assignment_size = 0;
  /// The search stops when some passes together (as many as a group has columns or a vector rows,
  /// but 8 to 16) gained no more than this share of the total score.
  double tolerance = 1e-4;
  std::int64_t max_passes = 1000;
  /// Ends a search that has not converged. Only a search that this ends can depend on the machine.
  double limit_seconds = 600;
  /// Called after every assignment on the calling thread. False stops with the best so far.
  std::function<bool(const PermutationProgress&)> progress = {};
};

struct PermutationResult {
  Permutation permutation;
  double total_score = 0;     ///< of all weights
  double identity_score = 0;  ///< kept by select_mask without the permutation
  double kept_score = 0;      ///< kept with it; never less than identity_score
  std::int64_t passes = 0;
  double seconds = 0;
  bool converged = false;  ///< false: stopped by a limit or by `progress`
};

/// The order of columns under which select_mask keeps more. Gains for every pattern but dense.
///
/// Starts from columns dealt to the groups snake-wise by falling importance (or from the identity
/// where that keeps more). Then, again and again, one column is taken out of each of some groups
/// and the columns are put back in the best way, which is a linear assignment (after Channel
/// Permutations for N:M Sparsity, NeurIPS 2021, and RIA, ICLR 2024, section 4.2). The gain of a
/// column in a group is exact, but for V:N:M, where all columns of the set but the last are held.
/// Scores as for select_mask, finite. The same seed gives the same result on any number of threads
/// and any instruction set. Throws InvalidArgument, or Cancelled (cancel.h).
PermutationResult find_input_permutation(const DenseView& scores, const Pattern& pattern,
                                         const PermutationOptions& options = {});

/// The order of rows under which select_mask keeps more: which rows share a vector. Patterns whose
/// vectors have one row gain nothing and get the identity. Otherwise as above; for V:N:M the
/// columns of a vector are held while a row is valued.
PermutationResult find_output_permutation(const DenseView& scores, const Pattern& pattern,
                                          const PermutationOptions& options = {});

/// Both sides. Scores are those of the original weight; rows are gathered by `output`, columns by
/// `input`.
struct AlternationResult {
  Permutation input, output;
  double total_score = 0, identity_score = 0, kept_score = 0, seconds = 0;
  bool converged = false;
};

/// Input, output, input, output ... for so many rounds; limit_seconds is for all of them.
AlternationResult alternate_permutations(const DenseView& scores, const Pattern& pattern,
                                         const PermutationOptions& options = {}, int rounds = 2);

}  // namespace coppice
