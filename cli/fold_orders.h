// Orders of channels that are folded into the layers around them (`coppice prune --permute`).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "channel_order.h"
#include "coppice/permutation_fold.h"

namespace coppice::cli {

/// Scores of a weight by which an order of its columns is looked for.
using OrderScores = std::function<std::vector<float>(const LinearWeight&, const DenseView&)>;

/// A shape with the segments that orders of columns stay inside, given that of a weight (with
/// shared heads: of as many columns as they have channels); nothing if no order suits the weight.
using OrderShape =
    std::function<std::optional<WeightShape>(const LinearWeight&, WeightShape, const Pattern&)>;

/// An order of the channels that a weight reads, and what it gains there.
struct FoldedOrder {
  FoldedPermutation folded;
  double gain = 0;

  /// Of the weight: heads that share channels have the same order, each in its own columns.
  Permutation columns() const;
};

/// For every fold of the checkpoint whose consumer is pruned: the order of its columns under which
/// its pattern keeps more. Left out are consumers whose order is stored instead, and folds of which
/// another weight is pruned in vectors of several rows (which other rows would share). Throws
/// Cancelled, or what `scores` throws.
std::vector<FoldedOrder> find_folded_orders(const Checkpoint& input,
                                            const std::map<std::string, Pattern>& patterns,
                                            const OrderScores& scores, const OrderShape& shape_of,
                                            const OrderOptions& options, int threads);

/// Of the pruned weights whose rows the orders move: new[i] = old[p[i]].
std::map<std::string, Permutation> row_orders(const Checkpoint& input,
                                              const std::vector<FoldedOrder>& orders);

/// The checkpoint with the channels in these orders, in a directory beside `output` that goes when
/// this does.
class FoldedCheckpoint {
 public:
  FoldedCheckpoint(const Checkpoint& input, const std::string& output,
                   const std::vector<FoldedOrder>& orders, const WriteOptions& options);
  ~FoldedCheckpoint();
  FoldedCheckpoint(const FoldedCheckpoint&) = delete;
  FoldedCheckpoint& operator=(const FoldedCheckpoint&) = delete;

  const Checkpoint& checkpoint() const { return *checkpoint_; }
  /// Of writing it: names the input's files that did not come along.
  const WriteReport& written() const { return written_; }

 private:
  std::filesystem::path directory_;
  WriteReport written_;
  std::optional<Checkpoint> checkpoint_;
};

}  // namespace coppice::cli
