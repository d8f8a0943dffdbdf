// The journal of a pruning run keeps the orders of channels.
#include <gtest/gtest.h>

#include "files.h"
#include "prune_journal.h"

namespace coppice::cli {
namespace {

TEST(PruneJournalOrder, IsKeptWithTheLayer) {
  coppice::testing::TempDir dir;
  PrunedLayer layer;
  layer.weight.name = "w";
  layer.weight.shape = {2, 3, {}, {}};
  layer.pattern = Pattern::parse("vw2/1:2");
  std::vector<float> weights = {1, 0, 2, 0, 3, 0}, loaded(6);
  const std::vector<LinearWeight> all = {layer.weight};
  PruneJournal journal(dir / "out", all, {{"a", 1}}, false);
  journal.store(layer, dense_view(weights, 2, 3));
  EXPECT_FALSE(journal.has_order(layer.weight, layer.pattern));
  layer.input_permutation = {2, 0, 1};
  layer.order_gain = 0.25;
  journal.store(layer, dense_view(weights, 2, 3));
  EXPECT_TRUE(journal.has_order(layer.weight, layer.pattern));
  const PrunedLayer read =
      journal.load(layer.weight, layer.pattern,
                   {reinterpret_cast<std::byte*>(loaded.data()), Dtype::f32, 2, 3, 0});
  EXPECT_EQ(read.input_permutation, layer.input_permutation);
  EXPECT_EQ(read.order_gain, layer.order_gain);
  EXPECT_EQ(loaded, weights);
  journal.remove();
}

}  // namespace
}  // namespace coppice::cli
