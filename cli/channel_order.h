// Orders of a layer's input channels under which its pattern keeps more (`coppice prune
// --permute`).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "coppice/checkpoint.h"
#include "coppice/mask.h"
#include "coppice/permutation.h"

namespace CLI {
class App;
}

namespace coppice::cli {

struct OrderOptions {
  bool permute = false;
  bool store = false;   ///< the output is packed: it has a place for orders
  double seconds = 60;  ///< of a search, at most
};

/// Adds --permute and --permute-time.
void add_order(CLI::App& app, OrderOptions& options);

/// True if kernels read the columns of the pattern through indices: a stored order costs nothing.
bool stores_order(const Pattern& pattern);

/// An order that was looked for.
struct ChannelOrder {
  Permutation permutation;  ///< empty: nothing better than the weight's own order was found
  double gain = 0;          ///< share of the score that it keeps beyond the weight's own order
  bool converged = true;    ///< false: the search ended when its time was over
};

/// The order of columns under which `pattern` keeps more of the scores. Never worse than the
/// weight's own. Throws Cancelled.
ChannelOrder find_order(const DenseView& scores, const WeightShape& shape, const Pattern& pattern,
                        const OrderOptions& options, int threads);

/// [rows, cols] with columns gathered by `order`, or put back.
std::vector<float> gather_cols(std::span<const float> values, std::span<const std::uint32_t> order,
                               int threads);
/// Rows and columns of [cols, cols] gathered by `order`.
std::vector<double> gather_gram(std::span<const double> gram, std::span<const std::uint32_t> order,
                                int threads);
/// [cols] gathered by `order`.
std::vector<double> gather_values(std::span<const double> values,
                                  std::span<const std::uint32_t> order);
/// The mask of gathered columns, in the order before.
Mask put_back(const Mask& mask, std::span<const std::uint32_t> order);

}  // namespace coppice::cli
