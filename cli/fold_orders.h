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

/// The shape of a weight, with the segments that orders of its columns stay inside; nothing if no
/// order suits it.
using OrderShape =
    std::function<std::optional<WeightShape>(const LinearWeight&, WeightShape, const Pattern&)>;

/// An order of the channels that a weight reads, and what it gains there.
struct FoldedOrder {
  FoldedPermutation folded;
  double gain = 0;
};

/// For every fold of the checkpoint whose consumer is pruned: the order of its columns under which
/// its pattern keeps more. Left out are consumers whose order is stored instead, folds of which
/// another weight is pruned in vectors of several rows (which other rows would share), and shared
/// heads. Throws Cancelled, or what `scores` throws.
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
