// One weight through the chosen method: what `coppice prune` does to each layer.
#pragma once

#include <span>
#include <vector>

#include "channel_order.h"
#include "coppice/update.h"
#include "magnitude.h"
#include "prune_report.h"
#include "scoring.h"

namespace coppice::cli {

struct Curvature;

/// `prune` may be called from several threads.
class LayerPruner {
 public:
  struct Options {
    ColumnSearch columns = ColumnSearch::automatic;
    bool allow_nonfinite = false;
    OrderOptions order;
    ScoringOptions scoring;
    const UpdateEngine* update_engine = nullptr;  ///< of methods that move weights; null: the CPU
  };

  /// The arguments must outlive it.
  LayerPruner(const Options& options, const Scoring& scoring, MagnitudeEngine& engine)
      : options_(options), scoring_(scoring), engine_(engine) {}

  /// Prunes the weight in place: +0 where the mask is clear. The bytes do not depend on `threads`.
  /// Throws InvalidArgument or FileError naming the weight, or Cancelled.
  PrunedLayer prune(const LinearWeight& weight, const Pattern& pattern,
                    const MutableDenseView& dense, int threads) const;

  /// Scores by which an order of the weight's columns is looked for: the method's.
  std::vector<float> order_scores(const LinearWeight& weight, const DenseView& dense,
                                  int threads) const;

  /// The shape with the segments that an order of the weight's columns stays inside: `shape`'s,
  /// cut where its Fisher blocks end if the method looks at them. Nothing if groups are cut by
  /// that.
  std::optional<WeightShape> order_shape(const LinearWeight& weight, const WeightShape& shape,
                                         const Pattern& pattern) const;

  /// Bytes that `prune` takes for a weight, its Gram matrices included: an estimate from above.
  std::uint64_t bytes_needed(const LinearWeight& weight) const;

 private:
  MaskResult choose(PrunedLayer& layer, const DenseView& dense, bool damaged, bool reorder,
                    int threads) const;
  MaskResult select(const PrunedLayer& layer, const DenseView& scores,
                    const MaskOptions& options) const;
  void mask(PrunedLayer& layer, const MutableDenseView& dense, bool damaged, int threads) const;
  bool reorders(const Pattern& pattern) const {
    return options_.order.permute && options_.order.store && stores_order(pattern);
  }
  void find_order(PrunedLayer& layer, const DenseView& scores, int threads) const;
  void update(PrunedLayer& layer, const MutableDenseView& dense, int threads) const;
  Curvature curvature_of(const LinearWeight& weight, const std::string& method, int threads) const;
  UpdateResult run_update(const PrunedLayer& layer, std::span<float> weights,
                          const Curvature& curvature, int threads) const;
  UpdateResult run_reordered(PrunedLayer& layer, std::vector<float>& weights,
                             const Curvature& curvature, int threads) const;

  const Options& options_;
  const Scoring& scoring_;
  MagnitudeEngine& engine_;
};

}  // namespace coppice::cli
