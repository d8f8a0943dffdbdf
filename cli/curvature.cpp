#include "curvature.h"

#include "channel_order.h"
#include "coppice/fisher_order.h"
#include "coppice/score.h"

namespace coppice::cli {

std::vector<float> Curvature::scores(const DenseView& weights, double damping, int threads) const {
  std::vector<float> scores(static_cast<std::size_t>(weights.rows * weights.cols));
  if (fisher.blocks > 0)
    score_weights_fisher(weights, fisher, damping, scores, threads);
  else
    score_weights_obs(weights, gram(), damping, scores, threads);
  return scores;
}

Curvature Curvature::gathered(const Permutation& columns, int threads) const {
  Curvature other;
  if (fisher.blocks > 0)
    other.fisher = gather_fisher(fisher, std::ssize(columns), {}, columns, threads);
  else
    other.gathered_gram = gather_gram(gram(), columns, threads);
  return other;
}

}  // namespace coppice::cli
