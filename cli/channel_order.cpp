#include "channel_order.h"

#include <CLI/CLI.hpp>

#include "command.h"
#include "coppice/permutation_search.h"
#include "core/parallel_for.h"

namespace coppice::cli {

void add_order(CLI::App& app, OrderOptions& options) {
  auto* permute = app.add_flag(
      "--permute", options.permute,
      "Input channels in the order under which the pattern keeps more: stored beside packed "
      "weights "
      "(vector-wise, blocks one column wide, V:N:M), else folded into the layer before");
  auto* time =
      app.add_option("--permute-time", options.seconds,
                     "Seconds that the search for an order of one layer may take (default 60)")
          ->needs(permute)
          ->type_name("SECONDS");
  require_number(time, 0, 1e9);
}

bool stores_order(const Pattern& pattern) {
  return !pattern.is_dense() && pattern.vec_rows > 1 && pattern.block_cols == 1;
}

ChannelOrder find_order(const DenseView& scores, const WeightShape& shape, const Pattern& pattern,
                        const OrderOptions& options, int threads) {
  const PermutationResult found = find_input_permutation(scores, pattern,
                                                         {.row_segments = shape.row_segments,
                                                          .col_segments = shape.col_segments,
                                                          .threads = threads,
                                                          .limit_seconds = options.seconds});
  ChannelOrder order{{}, 0, found.converged};
  if (is_identity(found.permutation) || !(found.total_score > 0)) return order;
  order.permutation = found.permutation;
  order.gain = (found.kept_score - found.identity_score) / found.total_score;
  return order;
}

std::vector<float> gather_cols(std::span<const float> values, std::span<const std::uint32_t> order,
                               int threads) {
  const std::size_t cols = order.size();
  std::vector<float> gathered(values.size());
  parallel_for(static_cast<std::int64_t>(values.size() / cols), threads, [&](std::int64_t r) {
    const std::size_t row = static_cast<std::size_t>(r) * cols;
    for (std::size_t c = 0; c < cols; ++c) gathered[row + c] = values[row + order[c]];
  });
  return gathered;
}

std::vector<double> gather_gram(std::span<const double> gram, std::span<const std::uint32_t> order,
                                int threads) {
  const std::size_t cols = order.size();
  std::vector<double> gathered(gram.size());
  parallel_for(static_cast<std::int64_t>(cols), threads, [&](std::int64_t r) {
    const double* from = gram.data() + order[static_cast<std::size_t>(r)] * cols;
    double* to = gathered.data() + static_cast<std::size_t>(r) * cols;
    for (std::size_t c = 0; c < cols; ++c) to[c] = from[order[c]];
  });
  return gathered;
}

std::vector<double> gather_values(std::span<const double> values,
                                  std::span<const std::uint32_t> order) {
  std::vector<double> gathered(order.size());
  for (std::size_t c = 0; c < order.size(); ++c) gathered[c] = values[order[c]];
  return gathered;
}

Mask put_back(const Mask& mask, std::span<const std::uint32_t> order) {
  Mask original(mask.rows(), mask.cols());
  for (std::int64_t r = 0; r < mask.rows(); ++r)
    for (std::int64_t c = 0; c < mask.cols(); ++c)
      if (mask.get(r, c)) original.set(r, order[static_cast<std::size_t>(c)]);
  return original;
}

}  // namespace coppice::cli
