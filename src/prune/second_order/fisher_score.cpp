// Scores by Fisher blocks, weight by weight.
#include <fmt/format.h>

#include "coppice/error.h"
#include "coppice/score.h"
#include "core/parallel_for.h"
#include "prune/second_order/candidate.h"
#include "prune/second_order/fisher_rows.h"

namespace coppice {

void score_weights_fisher(const DenseView& weight, const FisherStatistics& fisher, double damping,
                          std::span<float> out, int threads) {
  prune::check_damping(damping);
  const std::int64_t size = fisher.block, blocks = size > 0 ? (weight.cols + size - 1) / size : 0;
  if (size < 1 || fisher.samples < 1 || fisher.blocks != weight.rows * blocks ||
      std::ssize(fisher.sums) != fisher.blocks * size * size)
    throw InvalidArgument(fmt::format("{} Fisher blocks of {} weights do not fit {} x {} weights",
                                      fisher.blocks, size, weight.rows, weight.cols));
  score_weights(weight, ScoreKind::magnitude, {}, out, threads);
  const double mean = prune::mean_square(fisher, weight.rows * weight.cols);
  const prune::FisherModel model{fisher, blocks, damping * mean};
  parallel_ranges(weight.rows, threads, [&](std::int64_t begin, std::int64_t end, int) {
    prune::FisherRows row(model, weight.cols);
    for (std::int64_t r = begin; r < end; ++r) {
      row.load({.row = r, .rows = 1}, 0, weight.cols, out.data());
      for (std::int64_t c = 0; c < weight.cols; ++c) {
        float& score = out[static_cast<std::size_t>(r * weight.cols + c)];
        score = static_cast<float>(static_cast<double>(score) * static_cast<double>(score) /
                                   row.inverse(0, c, c));
      }
    }
  });
}

}  // namespace coppice
