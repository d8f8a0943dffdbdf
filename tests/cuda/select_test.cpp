// Selection is pure: tables of problems and what must come out, without a GPU.
#include "cuda/select.h"

#include <gtest/gtest.h>

#include "coppice/error.h"

namespace coppice::cuda {
namespace {

DeviceInfo hopper() { return {132, 90, 60 << 20, 227 * 1024, true}; }
DeviceInfo ampere() { return {108, 80, 40 << 20, 163 * 1024, false}; }
DeviceInfo ada() { return {128, 89, 72 << 20, 99 * 1024, false}; }

// V:2:M on rows x cols, as a PackedWeight describes it.
ProductInfo product(int vec_rows, int group, std::int64_t rows, std::int64_t cols,
                    std::int64_t tokens) {
  ProductInfo p;
  p.vector_blocks = vec_rows < 64 ? 0 : (vec_rows + 63) / 64;
  p.block_vectors = vec_rows >= 64 ? 1 : vec_rows >= 32 ? 2 : 4;
  p.group = group;
  p.blocks = (rows + 63) / 64;
  p.steps = (cols / group + 15) / 16;
  p.cols = cols;
  p.tokens = tokens;
  return p;
}

ProductInfo two_four(std::int64_t rows, std::int64_t cols, std::int64_t tokens) {
  ProductInfo p = product(64, 4, rows, cols, tokens);
  p.in_order = true;
  p.vector_blocks = static_cast<int>(p.blocks);
  return p;
}

TEST(Select, LargeProductsOnHopperUseTheWidestTileOfTheirVectors) {
  EXPECT_EQ(selection_name(select(product(128, 8, 14336, 4096, 4096), hopper())), "wgmma 128x256");
  EXPECT_EQ(selection_name(select(product(256, 8, 14336, 4096, 4096), hopper())), "wgmma 256x128");
  EXPECT_EQ(selection_name(select(product(64, 16, 14336, 4096, 4096), hopper())), "wgmma 64x512");
  EXPECT_EQ(selection_name(select(two_four(14336, 4096, 4096), hopper())), "wgmma 256x128");
}

TEST(Select, FewTokensGetSmallTiles) {
  const Selection few = select(product(128, 8, 4096, 4096, 64), hopper());
  EXPECT_EQ(kWgmmaShapes[static_cast<std::size_t>(few.shape)].tile_tokens(), 64);
}

TEST(Select, LowVectorsAndOtherDevicesUseThePortableFamily) {
  EXPECT_EQ(select(product(32, 8, 4096, 4096, 4096), hopper()).family, Family::mma);
  EXPECT_EQ(select(product(128, 8, 4096, 4096, 4096), ampere()).family, Family::mma);
  EXPECT_EQ(select(two_four(4096, 4096, 4096), ada()).family, Family::mma);
}

TEST(Select, OnlyInOrderWeightsReadTokenMajorDirectly) {
  ProductInfo p = two_four(4096, 4096, 4096);
  p.token_major = true;
  EXPECT_TRUE(select(p, hopper()).token_major);
  EXPECT_FALSE(select(p, hopper()).transpose);
  EXPECT_TRUE(select(p, ampere()).transpose);
  p.aligned = false;
  EXPECT_TRUE(select(p, hopper()).transpose);
  p = product(64, 8, 4096, 4096, 4096);
  p.token_major = true;
  EXPECT_TRUE(select(p, hopper()).transpose);
  p.token_major = false;
  p.aligned = false;
  EXPECT_TRUE(select(p, hopper()).repack);
}

TEST(Select, SharedTilesAreUsedWhereTheyNeedLess) {
  const MmaShape low = mma_shape(product(64, 8, 4096, 4096, 4096), ampere());
  EXPECT_FALSE(low.gathered);
  EXPECT_EQ(low.stage_rows, 8 * 8);
  EXPECT_TRUE(mma_shape(product(64, 32, 4096, 4096, 4096), ampere()).gathered);
  ProductInfo permuted = product(64, 8, 4096, 4096, 4096);
  permuted.regular = false;
  EXPECT_TRUE(mma_shape(permuted, ampere()).gathered);
}

TEST(Select, EveryProductGetsAKernelThatFits) {
  for (const DeviceInfo& device : {hopper(), ampere(), ada()})
    for (int vec_rows : {16, 32, 48, 64, 80, 128, 256})
      for (int group : {5, 8, 16, 32, 100, 256})
        for (std::int64_t tokens : {1, 64, 512, 4096}) {
          const ProductInfo p = product(vec_rows, group, 4096, 4096, tokens);
          // Vectors of 16 rows with a large M need 64 KB a stage: more than Ada has.
          if (device.compute_capability == 89 && vec_rows < 32 && group > 16) {
            EXPECT_THROW(select(p, device), DeviceError);
            continue;
          }
          const Selection s = select(p, device);
          EXPECT_GE(s.token_group, 1);
          if (s.family == Family::mma) {
            EXPECT_GE(s.mma.stages, 2);
            EXPECT_LE(s.mma.shared_bytes(), device.shared_bytes);
          }
        }
}

}  // namespace
}  // namespace coppice::cuda
