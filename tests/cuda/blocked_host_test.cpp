// Blocked kernels as far as they need no GPU: where things lie, and which kernel is chosen.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "coppice/grid.h"
#include "cpu/random_weight.h"
#include "cuda/blocked/blocked_select.h"
#include "cuda/candidates.h"
#include "cuda/describe.h"
#include "cuda/model/model.h"

namespace coppice::cuda {
namespace {

constexpr DeviceInfo kH200{132, 90, 60 << 20, 227 * 1024, true};

ProductInfo product(const char* pattern, std::int64_t rows, std::int64_t cols, std::int64_t tokens,
                    const std::vector<std::int64_t>& row_segments = {}, Dtype dtype = Dtype::f32) {
  const Grid grid(Pattern::parse(pattern), {rows, cols, row_segments, {}});
  ProductInfo p = describe(grid, dtype, false, kH200);
  p.tokens = tokens;
  return p;
}

TEST(Blocked, SumsAndSlotsDoNotOverlap) {
  for (const BlockedShape& s : kBlockedShapes) {
    std::set<int> tokens;
    for (int token = 0; token < s.tokens(); ++token) tokens.insert(blocked_sum_token(s, token));
    EXPECT_EQ(std::ssize(tokens), s.tokens());
    EXPECT_LT(*tokens.rbegin(), s.sum_stride());
    for (int slot = 0; slot < s.step_slots(); ++slot) {
      EXPECT_GE(s.slot_offset(slot + 1) - s.slot_offset(slot), s.tokens() * 4);
      EXPECT_EQ(s.slot_offset(slot) % 16, 0) << "copies of 16 bytes";
    }
    if (s.warpgroups()) continue;
    EXPECT_LE((s.fed() ? 2 : 1) * BlockedShape::kBarrier * s.stages, BlockedShape::kBarrierBytes);
  }
}

// The 32 lanes of a warp read four slots, four apart, of eight tokens.
TEST(Blocked, TensorCoresReadFromAllBanks) {
  for (const BlockedShape& s : kBlockedShapes) {
    if (s.math == BlockedMath::fp32 || s.warpgroups()) continue;
    std::set<int> banks;
    for (int lane = 0; lane < 32; ++lane)
      banks.insert((s.slot_offset(4 * (lane % 4)) / 4 + lane / 4) % 32);
    EXPECT_EQ(banks.size(), 32u);
  }
}

// Eight lanes at a time read 16 bytes of four slots that follow each other.
TEST(Blocked, WarpgroupsReadFromAllBanks) {
  for (const BlockedShape& s : kBlockedShapes) {
    if (!s.warpgroups()) continue;
    EXPECT_EQ(s.stage_bytes(1) % 512, 0) << "atoms of the swizzle";
    EXPECT_EQ(s.weight_bytes() % 512, 0);
    for (int first = 0; first < 32; first += 8) {
      std::set<int> banks;
      for (int lane = first; lane < first + 8; ++lane)
        banks.insert((s.slot_offset(lane % 4) / 16 + lane / 4) % 8);
      EXPECT_EQ(banks.size(), 8u);
    }
  }
}

TEST(Blocked, WarpsThatBringOperandsFit) {
  for (const BlockedShape& s : kBlockedShapes) {
    if (!s.warpgroups() && !s.fed()) continue;
    EXPECT_EQ(s.threads() % 128, 0) << "warpgroups";
    EXPECT_LE(s.loaders() + (s.fed() ? 0 : s.boxes() ? 1 : s.loaders()), s.producers());
    EXPECT_EQ(BlockedShape::kSlots % s.stage_loaders(), 0);
    EXPECT_EQ(s.loaders() % s.stage_loaders(), 0);
    EXPECT_EQ(s.stages % s.loaders(), 0) << "the same warp every time";
  }
}

// Registers are given out in eights, and all of them are when both kinds of warps have theirs.
TEST(Blocked, FedWarpsHaveTheRegistersOfAllThreads) {
  for (const BlockedShape& s : kBlockedShapes) {
    if (!s.fed()) continue;
    EXPECT_EQ(BlockedShape::kFedRegisters % 8, 0);
    EXPECT_EQ(BlockedShape::kFeederRegisters % 8, 0);
    EXPECT_EQ(s.warps() % 4, 0);
    EXPECT_LE(32 * s.thread_blocks *
                  (s.warps() * BlockedShape::kFedRegisters +
                   s.producers() * BlockedShape::kFeederRegisters),
              65536);
    EXPECT_EQ(s.stage_bytes(1) % 16, 0) << "copies of 16 bytes";
    EXPECT_LE(s.sum_bytes(), s.stages * s.stage_bytes(1));
  }
}

// Whether a product has kernels of a kind.
bool has_shape(const ProductInfo& p, const DeviceInfo& device, bool (BlockedShape::*kind)() const) {
  return std::ranges::any_of(blocked_selections(p, device), [&](const Selection& s) {
    return (kBlockedShapes[static_cast<std::size_t>(s.shape)].*kind)();
  });
}

TEST(Blocked, FedKernelsNeedHopperAndOneListAndAreBatchInvariant) {
  const auto has = [](const ProductInfo& p, const DeviceInfo& device) {
    return has_shape(p, device, &BlockedShape::fed);
  };
  ProductInfo p = product("vw32/8:32", 256, 256, 64);
  EXPECT_TRUE(has(p, kH200));
  p.batch_invariant = true;
  EXPECT_TRUE(has(p, kH200)) << "their sums are those of other kernels of CUDA cores";
  DeviceInfo older = kH200;
  older.has_wgmma = false;
  EXPECT_FALSE(has(p, older));
  p.f32_products = F32Products::tf32;
  EXPECT_FALSE(has(p, kH200));
  EXPECT_FALSE(has(product("vw16/8:32", 256, 256, 64), kH200));
  EXPECT_FALSE(has(product("vw32/8:32", 256, 256, 64, {40, 216}), kH200));
}

TEST(Blocked, WarpgroupsNeedHopperAndOneList) {
  const auto has = [](const ProductInfo& p, const DeviceInfo& device) {
    return has_shape(p, device, &BlockedShape::warpgroups);
  };
  ProductInfo p = product("vw32/8:32", 256, 256, 64);
  EXPECT_TRUE(has(p, kH200));
  DeviceInfo older = kH200;
  older.has_wgmma = false;
  EXPECT_FALSE(has(p, older));
  p.batch_invariant = true;
  EXPECT_FALSE(has(p, kH200)) << "by CUDA cores, whatever the tokens";
  p.f32_products = F32Products::tf32;
  EXPECT_FALSE(has(p, kH200));
  EXPECT_TRUE(has(product("vw8/8:32", 256, 256, 64), kH200));
  EXPECT_FALSE(has(product("vw12/8:32", 256, 256, 64), kH200));
  EXPECT_FALSE(has(product("vw32/8:32", 256, 256, 64, {41, 215}), kH200));
}

TEST(Blocked, ListsOfATile) {
  using Lists = std::array<int, 5>;
  EXPECT_EQ(product("vw32/8:32", 256, 256, 64).blocked.lists, (Lists{1, 1, 1, 2, 4}));
  EXPECT_EQ(product("vw128/8:32", 256, 256, 64).blocked.lists, (Lists{1, 1, 1, 1, 1}));
  EXPECT_EQ(product("vw8/8:32", 256, 256, 64).blocked.lists, (Lists{1, 2, 4, 8, 16}));
  EXPECT_EQ(product("vw24/8:32", 256, 256, 64).blocked.lists, (Lists{1, 2, 2, 4, 6}));
  EXPECT_EQ(product("vw24/8:32", 20, 256, 64).blocked.lists, (Lists{1, 1, 1, 1, 1}));
  EXPECT_EQ(product("vw32/8:32", 256, 256, 64, {40, 216}).blocked.lists, (Lists{1, 2, 2, 3, 5}));
  // A vector ends within eight rows; no lists; other types.
  EXPECT_EQ(product("vw32/8:32", 256, 256, 64, {41, 215}).blocked.lists, Lists{});
  EXPECT_EQ(product("vw12/8:32", 256, 256, 64).blocked.lists, Lists{});
  EXPECT_EQ(product("8:32", 256, 256, 64).blocked.lists, Lists{});
  EXPECT_EQ(product("vw32/8:32", 256, 256, 64, {}, Dtype::f16).blocked.lists, Lists{});
}

TEST(Blocked, ListsOfFourRows) {
  EXPECT_EQ(product("vw4/8:32", 256, 256, 64).blocked.row_lists, 1);
  EXPECT_EQ(product("vw4/8:32", 255, 256, 64).blocked.row_lists, 1);
  EXPECT_EQ(product("vw4/8:32", 256, 256, 64, {254, 2}).blocked.row_lists, 4);
  EXPECT_EQ(product("bw4x4/8:32", 256, 256, 64).blocked.row_lists, 1);
  EXPECT_EQ(product("vw32/8:32", 256, 256, 64).blocked.row_lists, 1);
  EXPECT_EQ(product("8:32", 256, 256, 64).blocked.row_lists, 4);
  EXPECT_EQ(product("vw6/8:32", 256, 256, 64).blocked.row_lists, 4);
  EXPECT_EQ(product("8:32", 256, 256, 64, {}, Dtype::f16).blocked.row_lists, 0);
}

TEST(Blocked, IsChosenForManyTokens) {
  const ProductInfo many = product("vw32/8:32", 4096, 4096, 4096);
  EXPECT_EQ(select(many, kH200).family, Family::blocked);
  ProductInfo few = many;
  few.tokens = 1;
  EXPECT_EQ(select(few, kH200).family, Family::lookup);
  few.batch_invariant = true;
  EXPECT_EQ(select(few, kH200).family, Family::blocked);
  for (const char* pattern : {"8:32", "vw4/16:32", "bw4x4/3:32", "vw12/8:32"}) {
    EXPECT_EQ(select(product(pattern, 4096, 4096, 4096), kH200).family, Family::blocked) << pattern;
    EXPECT_EQ(select(product(pattern, 4096, 4096, 4), kH200).family, Family::lookup) << pattern;
  }
  for (const bool token_major : {false, true})
    for (const bool aligned : {false, true}) {
      ProductInfo p = many;
      p.token_major = token_major;
      p.aligned = aligned;
      const Selection s = select(p, kH200);
      EXPECT_EQ(s.transpose, token_major);
      EXPECT_EQ(s.repack, !token_major && !aligned);
    }
}

TEST(Blocked, OnlyWhatIsAskedFor) {
  ProductInfo p = product("vw64/8:32", 4096, 4096, 4096);
  for (const Selection& s : candidates(p, kH200)) EXPECT_FALSE(is_tf32(s));
  p.f32_products = F32Products::tf32;
  EXPECT_TRUE(is_tf32(select(p, kH200)));
  p.f32_products = F32Products::cuda_cores;
  EXPECT_TRUE(selection_name(select(p, kH200)).starts_with("blocked fp32"));
  p.f32_products = F32Products::automatic;
  p.batch_invariant = true;
  for (const std::int64_t tokens : {1, 64, 256, 4096}) {
    p.tokens = tokens;
    EXPECT_TRUE(same_sums(select(p, kH200), blocked_selections(p, kH200).front())) << tokens;
  }
  for (const char* pattern : {"8:32", "vw4/8:32", "vw8/8:32", "vw16/3:16"}) {
    p = product(pattern, 4096, 4096, 1);
    p.batch_invariant = true;
    const Selection first = select(p, kH200);
    for (p.tokens = 2; p.tokens < 10000; p.tokens *= 2)
      EXPECT_TRUE(same_sums(select(p, kH200), first)) << pattern << " " << p.tokens;
  }
  // Look-ups are on CUDA cores, too.
  p = product("8:32", 4096, 4096, 1);
  p.f32_products = F32Products::cuda_cores;
  EXPECT_EQ(select(p, kH200).family, Family::lookup);
  // Vectors of 8 rows: none that tensor cores without warpgroups can use.
  p = product("vw8/8:32", 4096, 4096, 4096);
  p.f32_products = F32Products::tf32;
  EXPECT_TRUE(is_tf32(select(p, kH200)));
  DeviceInfo older = kH200;
  older.has_wgmma = false;
  EXPECT_NE(select(p, older).family, Family::blocked);
  p.tokens = 1;
  EXPECT_EQ(select(p, kH200).family, Family::lookup) << "a tile of 256 tokens takes longer";
}

// What was fastest on an H200 (docs/performance/fp32.md), and its time.
TEST(Blocked, TheFastestIsChosenAndItsTimeIsKnown) {
  struct Measured {
    const char* pattern;
    std::int64_t size, tokens;
    F32Products products;
    const char* kernel;
    double us;
  };
  for (const Measured& m : {
           Measured{"vw32/16:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    933},
           Measured{"vw32/8:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    477},
           Measured{"vw32/4:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    250},
           Measured{"vw32/8:32", 4096, 256, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    33.3},
           Measured{"vw32/8:32", 4096, 1024, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    122},
           Measured{"vw64/8:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 64x256 wgmma",
                    341},
           Measured{"vw128/8:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 64x256 wgmma",
                    338},
           Measured{"vw128/8:32", 4096, 256, F32Products::automatic, "blocked 3xtf32 32x256 wgmma",
                    33.1},
           Measured{"vw16/8:32", 4096, 4096, F32Products::automatic, "blocked 3xtf32 16x256 wgmma",
                    831},
           Measured{"vw8/8:32", 4096, 4096, F32Products::automatic, "blocked fp32 192x128 windows",
                    1218},
           Measured{"vw32/16:32", 4096, 4096, F32Products::cuda_cores, "blocked fp32 32x512", 1354},
           Measured{"vw32/8:32", 4096, 4096, F32Products::cuda_cores, "blocked fp32 32x512", 700},
           Measured{"vw32/4:32", 4096, 4096, F32Products::cuda_cores, "blocked fp32 32x512", 369},
           Measured{"vw32/8:32", 4096, 1024, F32Products::cuda_cores, "blocked fp32 32x512", 178},
           Measured{"vw32/8:32", 4096, 512, F32Products::cuda_cores, "blocked fp32 32x512", 105},
           Measured{"vw32/8:32", 4096, 256, F32Products::cuda_cores, "blocked fp32 32x64 4 slices",
                    78.2},
           Measured{"vw32/8:32", 1024, 2048, F32Products::cuda_cores, "blocked fp32 32x512", 33.5},
           Measured{"vw16/8:32", 4096, 4096, F32Products::cuda_cores, "blocked fp32 32x256", 1139},
           Measured{"vw32/8:32", 4096, 4096, F32Products::tf32, "blocked tf32 32x256 wgmma", 343},
           Measured{"vw64/8:32", 4096, 4096, F32Products::tf32, "blocked tf32 64x256 wgmma", 203},
           Measured{"vw128/8:32", 4096, 4096, F32Products::tf32, "blocked tf32 128x256 wgmma", 141},
           Measured{"vw128/8:32", 4096, 256, F32Products::tf32, "blocked tf32 32x256 wgmma", 26.1},
           Measured{"vw128/8:32", 4096, 64, F32Products::tf32, "blocked tf32 32x256 wgmma", 26.4},
           Measured{"vw128/8:32", 4096, 1024, F32Products::tf32, "blocked tf32 128x256 wgmma",
                    38.2},
           Measured{"vw16/8:32", 4096, 4096, F32Products::tf32, "blocked tf32 16x256 wgmma", 636},
           Measured{"vw4/16:32", 4096, 4096, F32Products::automatic, "blocked fp32 96x128 windows",
                    2582},
           Measured{"vw4/8:32", 4096, 4096, F32Products::automatic, "blocked fp32 192x128 windows",
                    1278},
           Measured{"vw4/3:32", 4096, 4096, F32Products::automatic, "blocked fp32 192x128 windows",
                    649},
           Measured{"bw4x4/16:32", 4096, 4096, F32Products::automatic,
                    "blocked fp32 192x128 windows", 2322},
           Measured{"bw4x4/8:32", 4096, 4096, F32Products::automatic,
                    "blocked fp32 192x128 windows", 1211},
           Measured{"bw4x4/3:32", 4096, 4096, F32Products::automatic,
                    "blocked fp32 192x128 windows", 637},
           Measured{"16:32", 4096, 4096, F32Products::automatic, "blocked fp32 96x128 windows",
                    5223},
           Measured{"8:32", 4096, 4096, F32Products::automatic, "blocked fp32 96x128 windows",
                    2770},
           Measured{"3:32", 4096, 4096, F32Products::automatic, "blocked fp32 192x128 windows",
                    1264},
           Measured{"vw32/16:32", 1024, 256, F32Products::cuda_cores, "blocked fp32 32x64 4 slices",
                    17.0},
           Measured{"vw32/12:32", 1024, 256, F32Products::cuda_cores, "blocked fp32 32x64 4 slices",
                    14.3},
           Measured{"vw32/8:32", 1024, 256, F32Products::cuda_cores, "blocked fp32 32x64 4 slices",
                    11.4},
           Measured{"vw32/4:32", 1024, 256, F32Products::cuda_cores, "blocked fp32 32x64 4 slices",
                    8.4},
       }) {
    ProductInfo p = product(m.pattern, m.size, m.size, m.tokens);
    p.f32_products = m.products;
    const Selection s = select(p, kH200);
    EXPECT_EQ(selection_name(s), m.kernel);
    const double us = 1e6 * model::predict(s, p, kH200).seconds;
    EXPECT_NEAR(us / m.us, 1, 0.2) << m.pattern << " " << m.kernel << ": " << us;
  }
}

TEST(Blocked, EveryKernelFitsAndHasATime) {
  cpu::Random random(3);
  for (int i = 0; i < 200; ++i) {
    const Pattern pattern = cpu::random_pattern(random);
    if (!is_element_pattern(pattern)) continue;
    const ProductInfo p =
        product(pattern.to_string().c_str(), cpu::random_int(random, 1, 600),
                cpu::random_int(random, 1, 600), cpu::random_int(random, 1, 5000));
    std::set<std::string> names;
    for (const Selection& s : blocked_selections(p, kH200)) {
      const BlockedShape& shape = kBlockedShapes[static_cast<std::size_t>(s.shape)];
      const int bytes = shape.windowed() ? blocked_window(shape, p, kH200).shared_bytes(shape)
                                         : shape.shared_bytes(blocked_lists(shape, p));
      EXPECT_LE(bytes, kH200.shared_bytes);
      EXPECT_GT(model::predict(s, p, kH200).seconds, 0);
      EXPECT_TRUE(names.insert(selection_name(s)).second) << selection_name(s);
    }
  }
}

}  // namespace
}  // namespace coppice::cuda
