// How much every weight counts: scores for `select_mask` (prune.h) from weights and statistics.
//
//   std::vector<float> scores(rows * cols);
//   coppice::score_weights(weight, coppice::ScoreKind::wanda, statistics.square_sums, scores);
//   auto result = coppice::select_mask(coppice::dense_view(scores, rows, cols), pattern);
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "coppice/sparse_matrix.h"
#include "coppice/statistics.h"

namespace coppice {

enum class ScoreKind : std::uint8_t {
  magnitude,  ///< |w_ij|
  wanda,      ///< |w_ij| * ||x_j|| (Sun et al. 2023, equation 1)
  ria,        ///< (|w_ij| / sum_k |w_kj| + |w_ij| / sum_k |w_ik|) * ||x_j||^0.5 (Zhang et al. 2024)
};

/// "magnitude", "wanda", "ria"; nothing if there is no such score.
std::optional<ScoreKind> parse_score(std::string_view name);

/// True if the score looks at the layer's inputs.
constexpr bool needs_statistics(ScoreKind kind) { return kind != ScoreKind::magnitude; }

/// Scores of a weight of `[rows, cols]` in any weight dtype, computed in double precision and
/// rounded once. Where a row or column of RIA is all zeros its share is 0. Same bits for any number
/// of threads.
/// @param square_sums [cols], sums of squares of the inputs (InputStatistics); unused, and may be
///   empty, for magnitude
/// @param out [rows, cols]
/// Throws InvalidArgument if sizes do not fit, a sum of squares is negative or not a number, or a
/// weight is NaN or infinite.
void score_weights(const DenseView& weight, ScoreKind kind, std::span<const double> square_sums,
                   std::span<float> out, int threads = 1);

/// Scores by what the output loses if this weight alone is pruned and all others make up for it:
/// w_ij^2 / [H^-1]_jj (Optimal Brain Surgeon), H being the Gram matrix over the mean of its
/// diagonal, with `damping` added to the diagonal. If H has no factorisation, by the same without
/// compensation, w_ij^2 G_jj. The scores by which `find_input_permutation` serves `obs_prune` and
/// `admm_prune` best (docs/permutation.md). Same bits for any number of threads.
/// @param gram [cols, cols], symmetric; only the diagonal and above are read
/// Throws InvalidArgument as `score_weights`, or for a damping that is negative.
void score_weights_obs(const DenseView& weight, std::span<const double> gram, double damping,
                       std::span<float> out, int threads = 1);

/// Scores by what the loss gains if this weight alone is pruned and the others of its Fisher block
/// make up for it: w_ij^2 / [F^-1]_jj (Optimal BERT Surgeon, equation 5, twice over), F being the
/// mean of g g^T with `damping` added to the diagonal, in units of its mean over the weight. The
/// scores by which `find_input_permutation` serves `fisher_prune`. Same bits for any number of
/// threads.
/// Throws InvalidArgument as `score_weights_obs`, or if the blocks do not fit the weight.
void score_weights_fisher(const DenseView& weight, const FisherStatistics& fisher, double damping,
                          std::span<float> out, int threads = 1);

}  // namespace coppice
