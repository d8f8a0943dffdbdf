// What can be expanded to what, where it lies and when it is chosen, without a GPU.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/candidates.h"
#include "cuda/describe.h"
#include "cuda/model/gpu.h"
#include "cuda/model/model.h"
#include "cuda/unpack/unpack_places.h"

namespace coppice::cuda {
namespace {

const DeviceInfo kH200 = model::built_in_gpu().device;

ProductInfo product(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                    Dtype dtype = Dtype::f16, bool permuted = false) {
  WeightShape shape;
  shape.rows = rows;
  shape.cols = cols;
  ProductInfo p = describe(Grid(Pattern::parse(pattern), shape), dtype, permuted, kH200);
  p.tokens = tokens;
  return p;
}

TEST(Unpack, PatternsThatKeepTwoOfAlignedFour) {
  const auto fits = [](const char* pattern) { return product(pattern, 100, 776, 64).two_four; };
  for (const char* pattern : {"2:8", "2:12", "2:16", "2:256", "1:2", "1:3", "1:4", "1:7", "vw4/2:8",
                              "vw32/1:4", "bw1x2/1:2", "bw2x2/1:4", "bw64x2/1:2"})
    EXPECT_TRUE(fits(pattern)) << pattern;
  for (const char* pattern : {"2:5", "2:6", "2:7", "2:10", "3:8", "4:8", "3:32", "2:3", "bw1x2/2:4",
                              "bw1x4/1:2", "bw1x3/1:2", "vw4/8:32"})
    EXPECT_FALSE(fits(pattern)) << pattern;
  EXPECT_FALSE(product("2:8", 100, 777, 64, Dtype::f32).two_four);
  EXPECT_FALSE(product("2:8", 100, 777, 64, Dtype::f16, true).two_four) << "permuted";
  const auto segmented = [](std::vector<std::int64_t> rows, std::vector<std::int64_t> cols) {
    return describe(Grid(Pattern::parse("2:8"), {100, 64, std::move(rows), std::move(cols)}),
                    Dtype::f16, false, kH200)
        .two_four;
  };
  EXPECT_TRUE(segmented({30, 70}, {}));
  EXPECT_TRUE(segmented({}, {24, 40})) << "groups follow each other as without";
  EXPECT_FALSE(segmented({}, {30, 34}));
}

// What "at most two" means, counted for every choice of a small group.
TEST(Unpack, TheRuleHoldsForEveryChoice) {
  for (int group = 2; group <= 9; ++group)
    for (int kept = 1; kept < group; ++kept) {
      if (group == 4 && kept == 2) continue;
      constexpr int kCols = 72;
      // The most of any aligned four: of each group what it can keep there.
      bool holds = true;
      for (int first = 0; first < kCols; first += 4) {
        int most = 0;
        for (int g = 0; g * group < kCols; ++g) {
          const int begin = std::max(first, g * group), end = std::min(first + 4, (g + 1) * group);
          most += std::clamp(end - begin, 0, kept);
        }
        holds = holds && most <= 2;
      }
      const Pattern pattern = Pattern::make(1, 1, kept, group);
      EXPECT_EQ(product(pattern.to_string().c_str(), 16, kCols, 64).two_four, holds)
          << pattern.to_string();
    }
}

std::string chosen(const ProductInfo& p) { return selection_name(select(p, kH200)); }

TEST(Unpack, IsChosenWhereItIsFaster) {
  for (const char* pattern : {"4:8", "8:16", "16:32", "3:32", "vw4/8:32", "5:7"})
    for (const std::int64_t rows : {4096, 14336}) {
      EXPECT_EQ(chosen(product(pattern, rows, 4096, 4096)), "unpack dense") << pattern;
      EXPECT_FALSE(chosen(product(pattern, rows, 4096, 16)).starts_with("unpack")) << pattern;
    }
  for (const char* pattern : {"4:8", "8:16", "16:32", "5:7"})
    EXPECT_EQ(chosen(product(pattern, 4096, 4096, 4096, Dtype::f32)), "unpack dense") << pattern;
  for (const char* pattern : {"3:32", "vw4/8:32", "bw4x4/8:32"})
    EXPECT_TRUE(chosen(product(pattern, 4096, 4096, 4096, Dtype::f32)).starts_with("blocked"))
        << pattern;
  for (const char* pattern : {"2:8", "2:16", "1:4"})
    EXPECT_TRUE(chosen(product(pattern, 14336, 4096, 4096)).starts_with("unpack 2:4")) << pattern;
  EXPECT_FALSE(
      chosen(product("2:8", 14336, 4096, 4096, Dtype::bf16, true)).starts_with("unpack 2:4"))
      << "permuted";
  for (const char* pattern : {"2:8", "2:16", "1:4"})
    for (const std::int64_t tokens : {17, 64, 128, 256}) {
      EXPECT_TRUE(chosen(product(pattern, 14336, 4096, tokens)).starts_with("quads")) << pattern;
      EXPECT_FALSE(chosen(product(pattern, 14336, 4096, 16)).starts_with("quads")) << pattern;
    }
  EXPECT_TRUE(chosen(product("vw128/8:32", 14336, 4096, 4096)).starts_with("gather"));
  EXPECT_TRUE(chosen(product("vw32/8:32", 4096, 4096, 4096)).starts_with("window"));
  EXPECT_EQ(chosen(product("vw16/8:32", 4096, 4096, 4096)), "window ring 256x128");
  EXPECT_EQ(chosen(product("vw32/4:32", 4096, 4096, 4096)), "window ring 256x64");
  EXPECT_EQ(chosen(product("vw32/16:32", 4096, 4096, 4096)), "unpack dense");
  EXPECT_TRUE(chosen(product("vw32/8:32", 4096, 4096, 4096, Dtype::f32)).starts_with("blocked"));
  EXPECT_TRUE(chosen(product("2:4", 4096, 4096, 4096)).starts_with("wgmma"));
}

TEST(Unpack, OptionsAndWhatIsMissing) {
  ProductInfo p = product("4:8", 4096, 4096, 4096);
  p.batch_invariant = true;
  EXPECT_EQ(select(p, kH200).family, Family::fragments) << "the tokens beside must not matter";
  EXPECT_FALSE(can_run(Family::unpack, p, kH200));
  p.batch_invariant = false;
  DeviceInfo without = kH200;
  without.dense_library = false;
  EXPECT_EQ(select(p, without).family, Family::fragments);
  EXPECT_EQ(select(product("2:8", 4096, 4096, 4096), without).family, Family::two_four);
  without.has_wgmma = false;
  EXPECT_FALSE(can_run(Family::two_four, product("2:8", 4096, 4096, 4096), without));
  ProductInfo f32 = product("4:8", 4096, 4096, 4096, Dtype::f32);
  f32.f32_products = F32Products::tf32;
  EXPECT_EQ(chosen(f32), "unpack dense tf32");
  f32.f32_products = F32Products::cuda_cores;
  EXPECT_EQ(chosen(f32), "unpack dense");
  EXPECT_FALSE(can_run(Family::unpack, product("2:8", 4096, 4096, 0), kH200));
  EXPECT_FALSE(can_run(Family::unpack, product("2:8", 0, 4096, 64), kH200));
  EXPECT_FALSE(can_run(Family::unpack, product("2:8", 64, 0, 64), kH200));
  EXPECT_FALSE(can_run(Family::unpack, product("2:4", 64, 64, 64), kH200));
}

TEST(Unpack, ActivationsOfTwoFour) {
  ProductInfo p = product("2:8", 4096, 4096, 4096);
  p.token_major = true;
  EXPECT_TRUE(select(p, kH200).token_major);
  EXPECT_FALSE(select(p, kH200).transpose);
  p.aligned = false;
  EXPECT_TRUE(select_of(Family::two_four, p, kH200).transpose);
  p.token_major = false;
  EXPECT_TRUE(select_of(Family::two_four, p, kH200).repack);
}

// V:2:M: of columns where M is a multiple of 4, else in slots.
TEST(Unpack, VectorsOfTwoOfMany) {
  const auto can = [](const ProductInfo& p) { return can_run(Family::two_four, p, kH200); };
  for (const char* pattern : {"16:2:8", "2:2:16", "128:2:100", "64:2:5", "16:2:7"})
    EXPECT_TRUE(can(product(pattern, 100, 776, 64))) << pattern;
  EXPECT_FALSE(can(product("32:2:9", 100, 776, 64)));
  EXPECT_FALSE(can(product("2:4", 100, 776, 64)));
  EXPECT_FALSE(can(product("16:2:8", 100, 776, 64, Dtype::f16, true))) << "permuted";
  EXPECT_FALSE(can(product("16:2:8", 100, 776, 0)));
  EXPECT_FALSE(can(product("16:2:8", 0, 776, 64)));
  EXPECT_FALSE(can(product("16:2:8", 64, 0, 64)));
  const auto segmented = [&](std::vector<std::int64_t> rows, std::vector<std::int64_t> cols) {
    ProductInfo p =
        describe(Grid(Pattern::parse("16:2:8"), {100, 64, std::move(rows), std::move(cols)}),
                 Dtype::f16, false, kH200);
    p.tokens = 64;
    return can(p);
  };
  EXPECT_TRUE(segmented({30, 70}, {}));
  EXPECT_TRUE(segmented({}, {24, 40})) << "groups follow each other as without";
  EXPECT_FALSE(segmented({}, {30, 34}));

  ProductInfo p = product("16:2:8", 4096, 4096, 4096);
  EXPECT_EQ(as_two_four(p).steps, 64);
  EXPECT_FALSE(as_two_four(p).slots);
  p.token_major = true;
  EXPECT_TRUE(select_of(Family::two_four, p, kH200).token_major);
  p.batch_invariant = true;
  EXPECT_FALSE(can(p));
  p = product("64:2:5", 4096, 4096, 4096);
  EXPECT_EQ(as_two_four(p).steps, 82) << "of 50 columns";
  EXPECT_TRUE(as_two_four(p).slots);
  p.token_major = true;
  EXPECT_TRUE(select_of(Family::two_four, p, kH200).transpose) << "slots are feature-major";
  p.token_major = false;
  EXPECT_FALSE(select_of(Family::two_four, p, kH200).transpose);
  const WorkspacePlaces at = workspace_places(select_of(Family::two_four, p, kH200), p);
  EXPECT_EQ(at.tiles - at.weight, 64 * 82 * kRecordBytes);
}

TEST(Unpack, VectorsAreSpreadWhereItIsFaster) {
  for (const char* pattern : {"16:2:5", "16:2:6", "16:2:8", "32:2:8", "16:2:16"})
    for (const std::int64_t rows : {4096, 14336}) {
      EXPECT_TRUE(chosen(product(pattern, rows, 4096, 4096)).starts_with("unpack 2:4")) << pattern;
      EXPECT_FALSE(chosen(product(pattern, rows, 4096, 16)).starts_with("unpack")) << pattern;
    }
  for (const char* pattern : {"64:2:6", "64:2:7", "64:2:8", "128:2:8", "64:2:16", "128:2:5"})
    for (const std::int64_t tokens : {64, 512, 4096})
      EXPECT_TRUE(chosen(product(pattern, 14336, 4096, tokens)).starts_with("wgmma")) << pattern;
  EXPECT_TRUE(chosen(product("64:2:5", 14336, 4096, 4096)).starts_with("unpack 2:4"));
  EXPECT_TRUE(chosen(product("64:2:5", 14336, 4096, 1024)).starts_with("wgmma"));
  EXPECT_TRUE(chosen(product("16:2:8", 14336, 4096, 256)).starts_with("expand"));
  EXPECT_TRUE(chosen(product("16:2:8", 4096, 4096, 1024)).starts_with("expand"));
  for (const std::int64_t tokens : {256, 1024, 4096})
    EXPECT_TRUE(chosen(product("32:2:100", 14336, 4096, tokens)).starts_with("mma"));
  DeviceInfo portable = kH200;
  portable.has_wgmma = false;
  EXPECT_EQ(select(product("16:2:8", 4096, 4096, 4096), portable).family, Family::mma);
}

TEST(Unpack, CandidatesAreToldApart) {
  for (const char* pattern : {"16:2:8", "64:2:5", "16:2:16", "128:2:12"}) {
    const ProductInfo p = product(pattern, 4096, 4096, 4096);
    std::vector<std::string> names;
    for (const Selection& s : candidates(p, kH200)) names.push_back(tile_name(s));
    std::ranges::sort(names);
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end()) << pattern;
    EXPECT_TRUE(std::ranges::any_of(names, [](const auto& n) {
      return n.starts_with("unpack 2:4");
    })) << pattern;
  }
  for (const char* pattern : {"2:8", "4:8", "vw128/2:8"}) {
    const ProductInfo p = product(pattern, 4096, 4096, 4096);
    std::vector<std::string> names;
    for (const Selection& s : candidates(p, kH200)) names.push_back(tile_name(s));
    std::ranges::sort(names);
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end()) << pattern;
    EXPECT_EQ(std::ranges::count(names, "unpack dense"), 1) << pattern;
    EXPECT_EQ(std::ranges::any_of(names, [](const auto& n) { return n.starts_with("unpack 2:4"); }),
              p.two_four)
        << pattern;
  }
}

// Nothing lies upon another, all starts are aligned, and a part of the tokens has room.
TEST(Unpack, PlacesInTheWorkspace) {
  for (const Dtype dtype : {Dtype::f16, Dtype::f32})
    for (const std::int64_t rows : {1, 100, 14336, 200000})
      for (const std::int64_t cols : {1, 33, 4096})
        for (const std::int64_t tokens : {1, 65, 4096, 100000}) {
          const ProductInfo p = product("2:8", rows, cols, tokens, dtype);
          const WorkspacePlaces dense = workspace_places(select_of(Family::unpack, p, kH200), p);
          EXPECT_EQ(dense.weight, 0);
          EXPECT_GE(dense.library, rows * cols * dtype_bytes(dtype));
          EXPECT_GE(dense.sums, dense.library + dense.library_bytes);
          EXPECT_GE(dense.bytes, dense.sums + dense.sum_bytes);
          EXPECT_GE(dense.sum_bytes, 4 * rows * std::min<std::int64_t>(tokens, 8));
          for (const std::int64_t at : {dense.weight, dense.library, dense.sums, dense.bytes})
            EXPECT_EQ(at % 256, 0);
          if (dtype == Dtype::f32) continue;
          ProductInfo loose = p;
          loose.token_major = true;
          loose.aligned = false;
          const WorkspacePlaces records =
              workspace_places(select_of(Family::two_four, loose, kH200), loose);
          EXPECT_GE(records.weight, copy_stride(tokens) * cols * 2);
          EXPECT_GE(records.tiles, records.weight + (rows + 63) / 64 * ((cols + 63) / 64) * 4608);
          EXPECT_EQ(records.weight % 256 + records.tiles % 256, 0);
        }
}

}  // namespace
}  // namespace coppice::cuda
