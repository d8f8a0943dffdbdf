// Products of many tokens by element-wise, vector-wise and block-wise weights: the kernels that
// gather activations, of 32-bit weights and by windows.
#include <gtest/gtest.h>

#include "cuda/element/element_plan.h"
#include "cuda/element/gather_lists.h"
#include "cuda/element_problems.h"
#include "cuda/multiply.h"
#include "cuda/weight.h"

namespace coppice::cuda {
namespace {

using cpu::Random;
using cpu::random_int;

// Many tokens, 32 bits: vectors of all heights and starts, blocks of columns, tails of everything.
TEST(CudaElement, EveryBlockedKernel) {
  COPPICE_NEEDS_GPU();
  Random random(20261134);
  const int count = case_count(30);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern :
         {"vw32/8:32", "vw64/3:16", "vw128/5:7", "vw16/2:8", "vw8/16:32", "vw24/40:100",
          "bw32x4/4:16", "bw64x6/2:8", "bw8x32/1:4", "vw4/16:32", "vw4/3:32", "vw12/5:7",
          "bw4x4/8:32", "bw4x2/1:3", "16:32", "3:32", "2:8", "vw2/7:12", "bw2x2/2:4"}) {
      Problem p = random_problem(random, Pattern::parse(pattern));
      p.dtype = Dtype::f32;
      p.f32_out = true;
      // Whole tiles of 256 tokens come by the copy engine, which racecheck (10 cases) cannot
      // follow.
      const bool followed = count <= 10;
      p.tokens = random_int(random, 1, followed ? 255 : is_thin() ? 300 : 700);
      if (!followed && random_int(random, 0, 2) == 0) p.tokens = (p.tokens + 255) / 256 * 256;
      p.every_kernel_of = Family::blocked;
      check_problem(p, static_cast<std::uint64_t>(i));
    }
}

// Patterns that Family::gather multiplies: every kind of run, vectors that do not fill tiles.
constexpr const char* kGathered[] = {"vw64/8:32",   "vw128/16:32", "vw128/3:32",  "vw256/4:16",
                                     "vw72/3:8",    "vw200/5:7",   "bw64x2/2:8",  "bw128x4/3:8",
                                     "bw64x8/3:8",  "bw64x12/2:4", "bw96x16/2:4", "bw64x32/3:8",
                                     "bw64x64/3:8", "bw128x24/2:5"};

// On a GPU without wgmma nothing is run.
TEST(CudaElement, EveryGatheringKernel) {
  COPPICE_NEEDS_GPU();
  Random random(20261141);
  const int count = case_count(5);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : kGathered) {
      Problem p = random_problem(random, Pattern::parse(pattern));
      p.every_kernel_of = Family::gather;
      p.dtype = kTypes[random_int(random, 0, 1)];
      p.rows = random_int(random, 1, 500);
      p.cols = random_int(random, 1, is_thin() ? 700 : 2500);
      p.tokens = random_int(random, 1, random_int(random, 0, 2) == 0 ? 700 : 150);
      p.row_segments.clear();
      if (!p.col_segments.empty()) p.col_segments = random_segments(random, p.cols);
      p.f32_out = p.f32_out && random_int(random, 0, 1) == 0;
      if (random_int(random, 0, 3) != 0) align_x(p);
      check_problem(p, static_cast<std::uint64_t>(i));
    }
}

// Needs no GPU.
TEST(CudaGather, WhatTheFamilyTakes) {
  const auto describe = [](const char* pattern, Dtype dtype, std::vector<std::int64_t> rows,
                           std::vector<std::int64_t> cols, bool permuted = false) {
    const Grid grid(Pattern::parse(pattern), {600, 2048, std::move(rows), std::move(cols)});
    ProductInfo p;
    describe_gathered(plan_element(grid, dtype, permuted), p);
    return p;
  };
  EXPECT_TRUE(describe("vw64/8:32", Dtype::f16, {}, {}).gathers);
  EXPECT_TRUE(describe("vw64/8:32", Dtype::bf16, {128, 472}, {}).gathers) << "whole vectors";
  EXPECT_FALSE(describe("vw64/8:32", Dtype::bf16, {100, 500}, {}).gathers);
  EXPECT_FALSE(describe("vw64/8:32", Dtype::f32, {}, {}).gathers);
  EXPECT_FALSE(describe("vw32/8:32", Dtype::f16, {}, {}).gathers);
  EXPECT_FALSE(describe("vw68/8:32", Dtype::f16, {}, {}).gathers);
  const ProductInfo p = describe("vw72/8:32", Dtype::f16, {}, {});
  EXPECT_EQ(p.vector_blocks, 2);
  EXPECT_EQ(p.blocks, 18);
  EXPECT_EQ(p.steps, 8);
  EXPECT_FALSE(p.runs);
  EXPECT_TRUE(describe("bw64x32/1:2", Dtype::f16, {}, {}).runs);
  EXPECT_TRUE(describe("bw64x32/1:2", Dtype::f16, {}, {1000, 1048}).runs);
  EXPECT_FALSE(describe("bw64x32/1:2", Dtype::f16, {}, {1001, 1047}).runs)
      << "boxes begin at multiples of 16 bytes";
  EXPECT_FALSE(describe("bw64x32/1:2", Dtype::f16, {}, {}, true).runs);
  EXPECT_FALSE(describe("bw64x16/1:2", Dtype::f16, {}, {}).runs);
}

// Whole tiles, few of them with slices.
TEST(CudaElement, GatheredWholeTiles) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* pattern : kGathered)
    for (const std::int64_t tokens : {64, 512})
      for (const Layout layout : {Layout::feature_major, Layout::token_major}) {
        Problem p{.pattern = Pattern::parse(pattern),
                  .rows = 512,
                  .cols = 1024,
                  .tokens = is_thin() ? 64 : tokens,
                  .dtype = kTypes[seed % 2],
                  .x_layout = layout,
                  .y_layout = seed / 2 % 2 == 0 ? Layout::token_major : Layout::feature_major};
        p.every_kernel_of = Family::gather;
        check_problem(p, seed++);
      }
}

// More tiles than thread blocks.
TEST(CudaElement, GatheredTilesFollowEachOther) {
  COPPICE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const char* pattern : {"vw128/2:16", "vw64/2:16", "bw64x64/1:4", "bw64x8/1:8"}) {
    Problem p{.pattern = Pattern::parse(pattern),
              .rows = is_thin() ? 512 : 3072,
              .cols = 320,
              .tokens = 2900,
              .dtype = kTypes[seed % 2],
              .x_layout = seed > 2 ? Layout::token_major : Layout::feature_major,
              .y_layout = seed % 2 == 0 ? Layout::token_major : Layout::feature_major};
    align_x(p);
    p.every_kernel_of = Family::gather;
    check_problem(p, seed++);
  }
}

// That none of them takes a slow way by mistake.
TEST(CudaElement, HighVectorsAreGatheredForOnHopper) {
  COPPICE_NEEDS_GPU();
  int device = 0;
  ASSERT_EQ(cudaGetDevice(&device), cudaSuccess);
  if (!device_info(device).has_wgmma) GTEST_SKIP() << "needs compute capability 9.0";
  for (const char* pattern : kGathered)
    for (const bool permuted : {false, true})
      for (const Dtype dtype : {Dtype::f16, Dtype::bf16}) {
        Random random(3);
        const SparseMatrix weight = cpu::random_weight(random, Pattern::parse(pattern), 600, 2048,
                                                       dtype, {{}, {}, permuted});
        const PackedWeight packed(weight.view());
        for (const Layout layout : {Layout::feature_major, Layout::token_major}) {
          const std::string name = kernel_name(packed, 1024, layout);
          // So few rows may be expanded sooner than activations are transposed.
          if (name.starts_with("unpack")) continue;
          EXPECT_TRUE(name.starts_with("gather")) << pattern << ": " << name;
          const bool runs = packed.impl().product.runs;
          EXPECT_EQ(runs, weight.grid->pattern().block_cols % 32 == 0 && !permuted) << pattern;
          EXPECT_EQ(name.ends_with("transpose"), layout == Layout::token_major && !runs) << name;
        }
      }
}

// Tiles of all sizes, with tails of rows, tokens and chunks, and activations that are copied by the
// copy engine, by all threads (permuted, runs of 8 columns), and turned over before. Rings as well.
TEST(CudaElement, EveryWindow) {
  COPPICE_NEEDS_GPU();
  Random random(20261134);
  const int count = case_count(40);
  for (int i = 0; i < count && !HasFailure(); ++i)
    for (const char* pattern : {"vw16/4:16", "vw32/8:32", "vw64/3:32", "vw48/5:16", "vw128/16:32",
                                "bw16x2/4:8", "bw32x4/2:8", "bw64x8/2:8", "bw64x64/2:4"}) {
      Problem p = random_problem(random, Pattern::parse(pattern));
      p.dtype = kTypes[random_int(random, 0, 1)];
      p.f32_out = random_int(random, 0, 3) == 0;
      p.rows = random_int(random, 1, 700);
      p.tokens = random_int(random, 1, 300);
      p.row_segments.clear();
      if (random_int(random, 0, 1) == 0) align_x(p);
      if (random_int(random, 0, 1) == 0) {  // whole windows, for rings
        p.cols = (p.cols + 127) / 128 * 128;
        p.col_segments.clear();
        p.permuted = random_int(random, 0, 3) == 0;
      }
      p.every_kernel_of = Family::window;
      check_problem(p, static_cast<std::uint64_t>(i));
    }
}

// More tiles than thread blocks, whole chunks.
TEST(CudaElement, LargeWindows) {
  COPPICE_NEEDS_GPU();
  for (const char* pattern : {"vw16/8:32", "vw32/8:32", "vw32/16:32", "vw64/4:32"})
    check_problem({.pattern = Pattern::parse(pattern),
                   .rows = is_thin() ? 128 : 2048,
                   .cols = is_thin() ? 512 : 1024,
                   .tokens = is_thin() ? 64 : 2048,
                   .every_kernel_of = Family::window},
                  1);
}

}  // namespace
}  // namespace coppice::cuda
