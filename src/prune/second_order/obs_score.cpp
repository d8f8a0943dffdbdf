// Scores by Optimal Brain Surgeon, weight by weight.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "coppice/error.h"
#include "coppice/score.h"
#include "core/parallel_for.h"
#include "prune/second_order/candidate.h"
#include "prune/second_order/inverse_factor.h"

namespace coppice {
namespace {

// 1 / [H^-1]_jj, from H^-1 = U^T U.
std::vector<double> costs_of_columns(const prune::GramView& gram, double damping) {
  const auto n = static_cast<std::size_t>(gram.cols);
  std::vector<double> costs(n);
  if (const auto factor = prune::factorise_inverse(gram, damping)) {
    for (std::int64_t r = 0; r < gram.cols; ++r)
      for (std::int64_t c = r; c < gram.cols; ++c) {
        const double u = factor->at(r, c);
        costs[static_cast<std::size_t>(c)] += u * u;
      }
    for (double& cost : costs) cost = 1 / cost;
  } else {
    for (std::int64_t c = 0; c < gram.cols; ++c) costs[static_cast<std::size_t>(c)] = gram.at(c, c);
  }
  return costs;
}

}  // namespace

void score_weights_obs(const DenseView& weight, std::span<const double> gram, double damping,
                       std::span<float> out, int threads) {
  prune::check_damping(damping);
  if (std::ssize(gram) != weight.cols * weight.cols)
    throw InvalidArgument(fmt::format("a Gram matrix of {} numbers does not fit {} columns",
                                      gram.size(), weight.cols));
  score_weights(weight, ScoreKind::magnitude, {}, out, threads);
  const std::vector<double> costs = costs_of_columns({gram.data(), weight.cols}, damping);
  parallel_ranges(weight.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      for (std::int64_t c = 0; c < weight.cols; ++c) {
        float& score = out[static_cast<std::size_t>(r * weight.cols + c)];
        score = static_cast<float>(static_cast<double>(score) * static_cast<double>(score) *
                                   costs[static_cast<std::size_t>(c)]);
      }
  });
}

}  // namespace coppice
