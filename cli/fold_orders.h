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
                                            const OrderScores& scores, const OrderOptions& options,
                                            int threads);

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
