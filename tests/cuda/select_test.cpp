// Selection is pure: tables of problems and what must come out, without a GPU.
#include "cuda/select.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/candidates.h"
#include "cuda/kernels/arguments.h"
#include "cuda/kernels/sparse_mma_layout.h"
#include "cuda/select_problems.h"
#include "cuda/window/ring_layout.h"

namespace coppice::cuda {
namespace {

TEST(Select, LargeProductsOnHopperUseTheWidestTileOfTheirVectors) {
  EXPECT_EQ(selection_name(select(product(128, 8, 14336, 4096, 4096), hopper())), "wgmma 128x256");
  EXPECT_EQ(selection_name(select(product(256, 8, 14336, 4096, 4096), hopper())), "wgmma 256x128");
  EXPECT_EQ(selection_name(select(product(64, 16, 14336, 4096, 4096), hopper())), "wgmma 64x512");
  EXPECT_EQ(selection_name(select(two_four(14336, 4096, 4096), hopper())), "wgmma 128x256");
}

// Tokens that are worked on together: few where large tiles are gathered.
TEST(Select, GathersFewTokensTogether) {
  const auto together = [](const ProductInfo& p) {
    const Selection s = select(p, hopper());
    return s.token_group * kWgmmaShapes[static_cast<std::size_t>(s.shape)].tile_tokens();
  };
  for (const std::int64_t cols : {4096, 14336}) {
    EXPECT_EQ(together(product(64, 16, 14336, cols, 4096)), 512);
    EXPECT_EQ(together(product(128, 32, 14336, cols, 4096)), cols > 4096 ? 256 : 512);
  }
  EXPECT_GT(together(product(256, 8, 14336, 4096, 4096)), 1024);
  EXPECT_GT(together(two_four(14336, 4096, 4096)), 1024);
}

// Of 16-bit weights of so many columns alive.
ElementInfo lists(std::int64_t rows, std::int64_t alive) {
  ElementInfo e;
  e.fragment_form = kExpandedForms;  // the one behind them
  e.layout.rows = static_cast<std::int32_t>(rows);
  e.layout.pieces = static_cast<std::int32_t>(alive / 32);
  return e;
}

// Vector-wise weights of so many rows in a vector, a quarter kept.
ProductInfo gathered(int vec_rows, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                     bool runs = false) {
  ProductInfo p;
  p.packing = Packing::elements;
  p.gathers = true;
  p.fragment_tokens = 64;
  p.vector_blocks = vec_rows / 64;
  p.blocks = rows / 64;
  p.steps = (cols / 4 + 63) / 64;
  p.cols = cols;
  p.tokens = tokens;
  p.runs = runs;
  p.element = lists(rows, cols / 4);
  return p;
}

TEST(Select, HighVectorsAreGatheredFor) {
  const auto name = [](const ProductInfo& p) { return selection_name(select(p, hopper())); };
  EXPECT_EQ(name(gathered(128, 14336, 4096, 4096)), "gather 128x256");
  EXPECT_EQ(name(gathered(64, 14336, 4096, 4096)), "gather 64x512");
  EXPECT_EQ(name(gathered(64, 14336, 4096, 4096, true)), "gather 64x512");
  EXPECT_EQ(name(gathered(128, 14336, 4096, 1)), "look-up 1");
  for (const std::int64_t tokens : {2, 16})
    EXPECT_EQ(select(gathered(128, 14336, 4096, tokens), hopper()).family, Family::fragments);
  for (const std::int64_t tokens : {65, 128, 300, 1024})
    for (const std::int64_t size : {1024, 4096, 14336})
      for (const int vec_rows : {64, 128, 256})
        EXPECT_EQ(select(gathered(vec_rows, size, size, tokens), hopper()).family, Family::gather)
            << vec_rows << " " << size << " " << tokens;
  EXPECT_EQ(select(gathered(128, 4096, 4096, 4096), ampere()).family, Family::fragments);
  EXPECT_EQ(name(gathered(256, 14336, 4096, 4096)), "gather 256x128");
  EXPECT_EQ(name(gathered(128, 4096, 4096, 64)), "gather 64x64 2 slices");
  EXPECT_EQ(name(gathered(128, 4096, 4096, 1024)), "gather 128x256");
  EXPECT_NE(select(gathered(128, 4096, 4096, 0), hopper()).family, Family::gather);
  ProductInfo p = gathered(128, 4096, 4096, 4096);
  p.token_major = true;
  EXPECT_EQ(name(p), "gather 128x256 after a transpose");
  p.runs = true;
  EXPECT_EQ(name(p), "gather 128x256 token-major");
  p.aligned = false;
  EXPECT_EQ(name(p), "gather 128x256 after a transpose");
  p.token_major = false;
  EXPECT_EQ(name(p), "gather 128x256 after a copy");
  EXPECT_FALSE(can_run(Family::wgmma, p, hopper()));
  EXPECT_FALSE(can_run(Family::gather, two_four(64, 64, 1), hopper()));
  p.steps = 0;
  EXPECT_FALSE(can_run(Family::gather, p, hopper()));
}

TEST(Select, BatchInvariantGatheredProductsAddUpInOneOrder) {
  for (const std::int64_t tokens : {1, 7, 64, 300, 4096}) {
    ProductInfo p = gathered(64, 1024, 4096, tokens);
    p.batch_invariant = true;
    const Selection s = select(p, hopper());
    EXPECT_EQ(s.family, Family::gather);
    EXPECT_EQ(s.slices, 1);
  }
}

// Every row once, in tiles that lie within a vector.
TEST(Select, TilesOfVectorsCoverTheRows) {
  for (const int vec_rows : {64, 72, 96, 128, 200, 256, 1000})
    for (const int tile : {64, 128, 256})
      for (const int rows : {1, 63, 64, 65, 128, 200, 264, 999, 1000, 2001}) {
        const int whole = std::min(vec_rows, rows), per = (whole + tile - 1) / tile;
        int next = 0;
        for (int i = 0; i < vector_tile_count(tile, per, vec_rows, rows); ++i) {
          const RowTile t = vector_tile(i, tile, per, vec_rows, rows);
          EXPECT_EQ(t.row, next);
          ASSERT_GT(t.rows, 0);
          EXPECT_LE(t.rows, tile);
          EXPECT_EQ(t.vector, t.row / vec_rows);
          EXPECT_EQ((t.row + t.rows - 1) / vec_rows, t.vector);
          next += t.rows;
        }
        EXPECT_EQ(next, rows);
      }
}

// vw32/8:32 of 4096 columns.
ProductInfo listed(std::int64_t rows, std::int64_t tokens) {
  ProductInfo p;
  p.packing = Packing::elements;
  p.cols = 4096;
  p.tokens = tokens;
  p.fragment_tokens = 64;
  p.window = {.columns = 520, .pieces = 32, .rows = rows, .vectors = 2, .boxes = true};
  p.element = lists(rows, 1024);
  ElementLayout& l = p.element.layout;
  l.form = ChoiceForm::list;
  l.cols = 4096;
  l.vec_rows = 32;
  l.kept = 8;
  l.group = 32;
  l.slots = 1024;
  return p;
}

TEST(Select, WindowsAreForManyTokensOfLists) {
  const auto best = [](const ProductInfo& p) { return select_of(Family::window, p, hopper()); };
  EXPECT_EQ(selection_name(best(listed(4096, 4096))), "window ring 256x128");
  EXPECT_EQ(selection_name(best(listed(14336, 4096))), "window ring 256x128");
  EXPECT_EQ(selection_name(select_of(Family::window, listed(4096, 4096), ampere())),
            "window 512x64");
  EXPECT_EQ(selection_name(best(listed(4096, 64))), "window ring 256x64");
  EXPECT_EQ(select(listed(4096, 4096), hopper()).family, Family::window);
  EXPECT_EQ(select(listed(4096, 64), hopper()).family, Family::fragments);
  const std::vector<Selection> all = candidates(listed(4096, 4096), hopper());
  EXPECT_EQ(std::ranges::count(all, Family::window, &Selection::family),
            std::ssize(kWindowShapes) + std::ssize(kRingShapes));
  ProductInfo p = listed(4096, 4096);
  p.batch_invariant = true;
  EXPECT_EQ(select(p, hopper()).family, Family::fragments) << "few tokens are fragments";
  p.token_major = true;
  EXPECT_TRUE(best(p).transpose) << "windows are feature-major";
  p.token_major = p.aligned = false;
  EXPECT_TRUE(best(p).repack);
  p.window = {};
  EXPECT_FALSE(can_run(Family::window, p, hopper()));
  EXPECT_FALSE(can_run(Family::window, two_four(64, 64, 1), hopper()));
}

TEST(Select, WindowsFitSharedMemory) {
  for (const DeviceInfo& device : {hopper(), ampere(), ada()})
    for (const WindowShape& shape : kWindowShapes)
      for (int columns = 8; columns <= 8192; columns += 8) {
        const WindowStage s = window_stage(shape, columns, device.shared_bytes);
        if (s.rows == 0) continue;
        EXPECT_GE(s.rows, columns);
        EXPECT_LE(s.box_rows, kMaxBoxRows);
        EXPECT_EQ(s.boxes() * s.box_rows, s.rows);
        EXPECT_GE(s.stages, 2);
        EXPECT_LE(s.stages, kWindowStages);
        EXPECT_LE(s.residents * (s.bytes(shape) + 1024), device.shared_bytes + 1024);
      }
  ProductInfo p = listed(4096, 4096);
  EXPECT_EQ(window_shapes(p, hopper()).size(), kWindowShapes.size() + kRingShapes.size());
  p.regular = false;  // columns in another order
  EXPECT_EQ(window_shapes(p, hopper()).size(), kWindowShapes.size());
  p.window.columns = 8192;
  EXPECT_TRUE(window_shapes(p, ada()).empty());
}

// What was fastest on an H200 (docs/performance/vnm.md, every tile at few tokens).
TEST(Select, FewTokensGetTheTileThatWasFastest) {
  const auto tile = [](int vec_rows, int group, std::int64_t rows, std::int64_t tokens) {
    return selection_name(
        select_of(Family::wgmma, product(vec_rows, group, rows, 4096, tokens), hopper()));
  };
  for (int group : {8, 32}) EXPECT_EQ(tile(128, group, 14336, 64), "wgmma 64x64");
  EXPECT_EQ(tile(64, 8, 14336, 64), "wgmma 64x64");
  EXPECT_EQ(tile(128, 8, 4096, 64), "wgmma 64x64 2 slices");
  EXPECT_EQ(tile(64, 16, 4096, 64), "wgmma 64x64 2 slices");
  // 2:16 of these columns, twice the steps, was fastest so; 2:32 was not measured with slices.
  EXPECT_EQ(tile(128, 32, 4096, 64), "wgmma 64x64 2 slices");
  EXPECT_EQ(tile(128, 8, 2048, 64), "wgmma 64x64 3 slices");
  EXPECT_EQ(tile(128, 8, 4096, 128), "wgmma 64x64 2 slices");
  EXPECT_EQ(tile(64, 8, 4096, 256), "wgmma 128x128") << "more stages than 64x128";
  EXPECT_EQ(tile(128, 8, 4096, 256), "wgmma 128x128 2 slices");
  EXPECT_EQ(tile(128, 32, 4096, 256), "wgmma 64x64");
  EXPECT_EQ(tile(128, 8, 14336, 256), "wgmma 128x256");
  // 19.8 us, 128x256 18.3; but 47.7 and 50.5 at 11008 rows, 38.8 and 41.5 at 5120 x 5120.
  EXPECT_EQ(tile(64, 8, 4096, 512), "wgmma 64x128");
  EXPECT_EQ(tile(128, 8, 4096, 512), "wgmma 128x128");
  EXPECT_EQ(tile(64, 8, 14336, 512), "wgmma 64x512");
  EXPECT_EQ(selection_name(select_of(Family::wgmma, two_four(14336, 4096, 64), hopper())),
            "wgmma 64x64");
  EXPECT_EQ(selection_name(select_of(Family::wgmma, two_four(4096, 4096, 256), hopper())),
            "wgmma 128x128 2 slices");
  const auto expanded = [](std::int64_t tokens) {
    return selection_name(select_of(Family::expand, product(16, 8, 4096, 4096, tokens), hopper()));
  };
  EXPECT_EQ(expanded(64), "expand 64x64 in turns 2 slices");
  EXPECT_EQ(expanded(128), "expand 64x128 in turns 2 slices");
  EXPECT_EQ(expanded(256), "expand 128x128 2 slices");
}

// A cluster has one tile: its thread blocks must all run at once.
TEST(Select, SlicesNeedRoomStepsAndLeave) {
  const DeviceInfo device = hopper();
  const auto counts = [&](const ProductInfo& p) {
    return slice_counts(kWgmmaShapes[5], Family::wgmma, p, device);
  };
  ASSERT_EQ(kWgmmaShapes[5].slices, 4);
  ASSERT_EQ(kWgmmaShapes[5].thread_blocks, 2);
  const std::vector<int> one{1}, two{1, 2}, three{1, 2, 3}, four{1, 2, 3, 4};
  ProductInfo p = product(64, 8, 1024, 4096, 64);
  EXPECT_EQ(counts(p), four);
  p.batch_invariant = true;
  EXPECT_EQ(counts(p), one);
  EXPECT_EQ(counts(product(64, 8, 1024, 128, 64)), one) << "one step";
  EXPECT_EQ(counts(product(64, 8, 1024, 384, 64)), three) << "a step each";
  EXPECT_EQ(counts(product(64, 8, 4096, 4096, 64)), three);
  EXPECT_EQ(counts(product(64, 8, 4096, 4096, 128)), two);
  EXPECT_EQ(counts(product(64, 8, 4096, 4096, 192)), one);
  for (const WgmmaShape& shape : kWgmmaShapes)
    for (const Family family : {Family::wgmma, Family::expand})
      for (int rows = 64; rows <= 16384; rows += 448)
        for (const int tokens : {1, 64, 65, 300, 4096}) {
          const int most =
              slice_counts(shape, family, product(64, 8, rows, 4096, tokens), device).back();
          const int tiles =
              (rows + 63) / 64 * ((tokens + shape.tile_tokens() - 1) / shape.tile_tokens());
          const int blocks = family == Family::expand ? shape.blocks() : 1;
          EXPECT_LE((tiles + blocks - 1) / blocks * most,
                    std::max(132 * shape.thread_blocks, (tiles + blocks - 1) / blocks));
        }
}

TEST(Select, InOrderWeightsGetTilesCompiledForThem) {
  for (std::int64_t rows : {64, 128, 4096})
    for (std::int64_t tokens : {1, 64, 128, 512, 4096})
      for (bool token_major : {false, true}) {
        ProductInfo p = two_four(rows, 4096, tokens);
        p.token_major = token_major;
        const Selection s = select_of(Family::wgmma, p, hopper());
        EXPECT_TRUE(kWgmmaShapes[static_cast<std::size_t>(s.shape)].in_order);
      }
}

TEST(Select, WgmmaTilesFitTheMultiprocessor) {
  for (const WgmmaShape& s : kWgmmaShapes) {
    EXPECT_EQ(s.tokens / kStoredTokens % s.staging, 0) << "buffers are used in turn";
    EXPECT_LE(s.thread_blocks * s.shared_bytes(), 228 * 1024 - 1024 * s.thread_blocks);
    EXPECT_LE(s.shared_bytes(), hopper().shared_bytes);
  }
}

TEST(Select, RegularWeightsOfSmallGroupsCanBeExpandedOnHopper) {
  for (int vec_rows : {2, 16, 32, 64, 128})
    for (int group : {5, 6, 7, 8, 16})
      EXPECT_TRUE(can_run(Family::expand, product(vec_rows, group, 4096, 4096, 64), hopper()));
  EXPECT_FALSE(can_run(Family::expand, product(32, 9, 4096, 4096, 64), hopper()));
  EXPECT_FALSE(can_run(Family::expand, two_four(4096, 4096, 64), hopper()));
  EXPECT_FALSE(can_run(Family::expand, product(16, 8, 4096, 4096, 64), ampere()));
  ProductInfo p = product(16, 8, 14336, 4096, 4096);
  EXPECT_EQ(selection_name(select_of(Family::expand, p, hopper())), "expand 128x256");
  p.token_major = true;
  EXPECT_TRUE(select_of(Family::expand, p, hopper()).transpose);
  p.group = 16;  // is read in order
  EXPECT_FALSE(select_of(Family::expand, p, hopper()).transpose);
  EXPECT_TRUE(select_of(Family::expand, p, hopper()).token_major);
  p.aligned = false;
  EXPECT_TRUE(select_of(Family::expand, p, hopper()).transpose);
  p.regular = false;  // windows that are not side by side
  EXPECT_FALSE(can_run(Family::expand, p, hopper()));
}

TEST(Select, BatchInvariantFamiliesDoNotDependOnTheTokens) {
  const auto family = [](int vec_rows, int group, std::int64_t tokens) {
    ProductInfo p = product(vec_rows, group, 4096, 4096, tokens);
    p.batch_invariant = true;
    return select(p, hopper()).family;
  };
  for (int vec_rows : {16, 32, 64, 128})
    for (int group : {5, 8, 16})
      for (std::int64_t tokens : {64, 512, 4096})
        EXPECT_EQ(family(vec_rows, group, tokens), family(vec_rows, group, 1));
}

// Warpgroups that take turns at steps add up in another order than one.
TEST(Select, TurnsAreForExpandedWeightsAlone) {
  const auto turns = [](Family family, const ProductInfo& p) {
    return std::ranges::any_of(kWgmmaShapes, [&](const WgmmaShape& s) {
      return s.col_groups > 1 && has_tile(s, family, p);
    });
  };
  ProductInfo p = product(16, 8, 4096, 4096, 64);
  EXPECT_TRUE(turns(Family::expand, p));
  EXPECT_FALSE(turns(Family::wgmma, product(64, 8, 4096, 4096, 64)));
  EXPECT_FALSE(turns(Family::wgmma, two_four(4096, 4096, 64)));
  EXPECT_FALSE(turns(Family::expand, product(16, 5, 4096, 4096, 64)));
  p.batch_invariant = true;
  EXPECT_FALSE(turns(Family::expand, p));
}

TEST(Select, ExpandingTilesFitTheMultiprocessor) {
  for (const WgmmaShape& s : kWgmmaShapes) {
    if (!s.expands) continue;
    for (const auto form : {expand::Form::fives, expand::Form::eights, expand::Form::sixteens}) {
      EXPECT_GE(s.expand_stages(form), 3);
      EXPECT_EQ(s.expand_stages(form) % s.expand_turn_parts(form), 0) << "a stage is one's own";
      EXPECT_LE(s.thread_blocks * (s.expand_shared_bytes(form) + 1024), 228 * 1024);
    }
  }
}

TEST(Select, LowVectorsAndOtherDevicesUseThePortableFamily) {
  EXPECT_EQ(select(product(32, 8, 4096, 4096, 4096), hopper()).family, Family::expand);
  EXPECT_EQ(select(product(32, 16, 4096, 4096, 4096), hopper()).family, Family::expand);
  EXPECT_EQ(select(product(32, 12, 4096, 4096, 4096), hopper()).family, Family::mma);
  EXPECT_EQ(select(product(64, 5, 4096, 4096, 4096), hopper()).family, Family::wgmma);
  EXPECT_EQ(select(product(128, 8, 4096, 4096, 4096), ampere()).family, Family::mma);
  EXPECT_EQ(select(two_four(4096, 4096, 4096), ada()).family, Family::mma);
}

TEST(Select, WeightsWithoutColumnsUseThePortableFamily) {
  EXPECT_EQ(select(product(128, 8, 4096, 0, 4096), hopper()).family, Family::mma);
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

// What gathering saves is less than a transpose of many tokens of few columns, which 2:4 does
// without: 768 x 768 and 50688 tokens take 79 us instead of 126 (H200). Only where 2:4 reads them.
TEST(Select, GatheredWeightsAreExpandedWhereTransposesCostMore) {
  const auto of = [](int vec_rows, int group, std::int64_t rows, std::int64_t cols,
                     std::int64_t tokens, bool token_major) {
    ProductInfo p = product(vec_rows, group, rows, cols, tokens);
    p.rows = rows;
    p.token_major = token_major;
    return select(p, hopper());
  };
  for (const int vec_rows : {64, 128}) {
    const Selection few_columns = of(vec_rows, 8, 768, 768, 50688, true);
    EXPECT_EQ(few_columns.family, Family::two_four);
    EXPECT_TRUE(few_columns.token_major);
    EXPECT_EQ(of(vec_rows, 8, 768, 768, 50688, false).family, Family::wgmma);
    EXPECT_EQ(of(vec_rows, 8, 14336, 4096, 4096, true).family, Family::wgmma);
    EXPECT_EQ(of(vec_rows, 6, 768, 768, 50688, true).family, Family::wgmma);
  }
}

MmaRows rows_of(const ProductInfo& p, const DeviceInfo& device) {
  return mma_shape(p, device).config().rows;
}

TEST(Select, WindowsAreUsedWhereTheyNeedLess) {
  const MmaShape low = mma_shape(product(64, 8, 4096, 4096, 4096), ampere());
  EXPECT_EQ(low.config().rows, MmaRows::window);
  EXPECT_EQ(low.stage_rows, 8 * 8 * low.config().halves);
  EXPECT_EQ(rows_of(product(64, 32, 4096, 4096, 4096), ampere()), MmaRows::gathered);
  EXPECT_EQ(rows_of(product(256, 8, 4096, 4096, 4096), hopper()), MmaRows::gathered);
  EXPECT_EQ(rows_of(product(32, 8, 4096, 4096, 4096), hopper()), MmaRows::window);
  EXPECT_EQ(rows_of(two_four(4096, 4096, 4096), ampere()), MmaRows::in_order);
  const MmaShape far = mma_shape(product(64, 16, 14336, 4096, 4096), hopper());
  EXPECT_EQ(far.config().rows, MmaRows::gathered);
  EXPECT_EQ(far.config().tile_tokens(), 512) << "a gathered row is read by one vector only";
  EXPECT_GE(far.stages, 3);
  ProductInfo permuted = product(64, 8, 4096, 4096, 4096);
  permuted.regular = false;
  EXPECT_EQ(rows_of(permuted, ampere()), MmaRows::gathered);
}

TEST(Select, EmptyWeightsGetAKernel) {
  for (int vec_rows : {16, 64})
    for (std::int64_t rows : {0, 64}) {
      ProductInfo p = product(vec_rows, 5, rows, 0, 64);
      p.in_order = true;
      EXPECT_NO_THROW(select(p, ada()));
    }
}

TEST(Select, EveryProductGetsAKernelThatFits) {
  for (const DeviceInfo& device : {hopper(), ampere(), ada()})
    for (int vec_rows : {16, 32, 48, 64, 80, 128, 256})
      for (int group : {5, 8, 16, 32, 100, 256})
        for (std::int64_t tokens : {1, 64, 512, 4096}) {
          const ProductInfo p = product(vec_rows, group, 4096, 4096, tokens);
          const Selection s = select(p, device);
          EXPECT_GE(s.token_group, 1);
          for (const MmaShape& shape : mma_shapes(p, device)) {
            EXPECT_EQ(shape.config().vectors, p.block_vectors);
            EXPECT_GE(shape.stages, 2);
            EXPECT_GE(shape.resident, 1);
            EXPECT_LE(mma::shared_bytes(shape.config(), shape.stage_rows, shape.stages),
                      (device.shared_bytes + 1024) / shape.resident - 1024);
          }
        }
}

}  // namespace
}  // namespace coppice::cuda
